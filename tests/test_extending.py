"""CONTRIBUTING's examples: each is put into its table, and trained with for two steps."""

import json
from pathlib import Path

import pytest

from ancor.cli import eval as evaluate
from ancor.cli import train
from ancor.data.catalog import DATASETS, DatasetSpec
from ancor.data.transforms import TransformSpec
from ancor.methods.registry import METHODS
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
        load=example("def load")["load"],
        transforms=TransformSpec(size=32, native_size=32, mean=(0.2,) * 3, std=(0.3,) * 3),
        training_defaults={"arch": "conv4", "batch_size": 64, "queue_k": 64, "encoder_m": 0.99},
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
    monkeypatch.setitem(METHODS, "supcon", example("class SupCon")["SupCon"])
    figures = run(tmp_path, "--dataset digits --method supcon --head none --queue none")
    assert figures["loss/supcon"] > 0
    assert 0 <= figures["top1/supcon"] <= figures["top5/supcon"] <= 100
    assert train.main(["--dataset", "digits", "--mode", "coarse", "--method", "supcon"]) == 2
    assert "use --head none" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--dataset", "--arch", "--method"])
def test_what_is_in_no_table_is_refused(flag, capsys):
    assert train.main(["--mode", "coarse", "--dataset", "digits", flag, "unheard-of"]) == 2
    said = capsys.readouterr().err
    assert "unheard-of" in said
    assert "accepted: " in said
