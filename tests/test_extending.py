"""CONTRIBUTING's examples: each is put into its table, and trained with for two steps."""

import json
from pathlib import Path

import pytest

from ancor.cli import eval as evaluate
from ancor.cli import train
from ancor.data.registry import DATASETS, DatasetSpec
from ancor.data.transform_spec import TransformSpec
from ancor.methods.ancor import Ancor
from ancor.methods.config import AncorConfig
from ancor.methods.registry import METHODS, MethodSpec
from ancor.models.backbones import BACKBONES
from tests.pages import commands

BLOCKS = [block for block in commands(Path("CONTRIBUTING.md")) if block.language == "python"]


def example(definition: str) -> dict:
    """Run the page's one block that holds a definition, and return its names."""
    (block,) = [block for block in BLOCKS if definition in block.text]
    names: dict = {}
    exec(block.text, names)
    return names


def run(tmp_path, flags: str) -> dict:
    """Train two steps and evaluate; return the last print's figures."""
    folder = tmp_path / "run"
    command = f"--mode coarse {flags} --max-steps 2 --val-episodes 2 --quiet --output-dir {folder}"
    assert train.main(command.split()) == 0
    command = f"--model_path {folder}/model_best.pth.tar --n_test_runs 2 --cls Cosine"
    assert evaluate.main(command.split()) == 0
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == "step"][-1]


def test_a_dataset(tmp_path, monkeypatch, capsys):
    spec = DatasetSpec(
        reader=example("def load")["load"],
        transforms=TransformSpec(size=32, native_size=32, mean=(0.2,) * 3, std=(0.3,) * 3),
        training_defaults={
            "arch": "conv4",
            "batch_size": 64,
            "queue_length": 64,
            "encoder_momentum": 0.99,
        },
    )
    monkeypatch.setitem(DATASETS, "bars", spec)
    figures = run(tmp_path, "--dataset bars")
    assert figures["step"] == 2
    assert "192 training images" in (tmp_path / "run" / "log.txt").read_text()
    assert "All-Way" in capsys.readouterr().out


def test_a_backbone(tmp_path, monkeypatch):
    monkeypatch.setitem(BACKBONES, "tiny", example("class Tiny")["Tiny"])
    figures = run(tmp_path, "--dataset digits --arch tiny")
    assert figures["loss/cst_by_class"] > 0
    assert "tiny, head seq" in (tmp_path / "run" / "log.txt").read_text()


def test_a_method(tmp_path, monkeypatch, capsys):
    names = example("class SupCon")
    monkeypatch.setitem(METHODS, "supcon", MethodSpec(names["SupCon"], names["SupConConfig"]))
    figures = run(tmp_path, "--dataset digits --method supcon --head none")
    assert figures["loss/supcon"] > 0
    assert "top1/supcon" not in figures
    assert train.main(["--dataset", "digits", "--mode", "coarse", "--method", "supcon"]) == 2
    assert "use --head none" in capsys.readouterr().err
    command = ["--dataset", "digits", "--mode", "coarse", "--method", "supcon", "--head", "none"]
    assert train.main([*command, "--accumulate", "2"]) == 2
    assert "--accumulate 2" in capsys.readouterr().err


def test_a_method_is_told_of_training_and_of_epochs(tmp_path, monkeypatch):
    told = []

    class Told(Ancor):
        def before_training(self, batches):
            told.append(len(batches))

        def before_epoch(self, epoch, batches):
            told.append(epoch)

    monkeypatch.setitem(METHODS, "told", MethodSpec(Told, AncorConfig))
    command = "--dataset digits --mode coarse --method told --epochs 2 --val-episodes 0 --quiet"
    folder = str(tmp_path / "run")
    assert train.main([*command.split(), "--max-steps", "12", "--output-dir", folder]) == 0
    assert train.main(["--resume", f"{folder}/last.pth.tar", "--epochs", "3", "--quiet"]) == 0
    assert told == [8, 0, 1, 2]  # once each, whatever was resumed in mid-epoch


@pytest.mark.parametrize("flag", ["--dataset", "--arch", "--method"])
def test_what_is_in_no_table_is_refused(flag, capsys):
    assert train.main(["--mode", "coarse", "--dataset", "digits", flag, "unheard-of"]) == 2
    said = capsys.readouterr().err
    assert "unheard-of" in said
    assert "accepted: " in said
