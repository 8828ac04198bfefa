"""The examples of docs/extending.md: each is put into its table, and trained with for two steps."""

import ast
import json
import re
import sys
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path

import pytest

from ancor.cli import eval as evaluate
from ancor.cli import train
from ancor.data.config import DataConfig
from ancor.data.registry import DATASETS, DatasetSpec
from ancor.data.transform_spec import TransformSpec
from ancor.methods.ancor import Ancor
from ancor.methods.config import AncorConfig
from ancor.methods.registry import METHODS, MethodSpec
from ancor.models.backbones import BACKBONES
from ancor.models.config import EncoderConfig
from ancor.runtime.settings import setting
from ancor.training.config import TrainConfig
from ancor.training.trainer import Trainer
from tests.pages import commands
from tests.refusals import refused, tells

BLOCKS = [block for block in commands(Path("docs/extending.md")) if block.language == "python"]


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
    assert tells((tmp_path / "run" / "log.txt").read_text(), "bars", "192")
    assert "All-Way" in capsys.readouterr().out


def test_a_backbone(tmp_path, monkeypatch):
    monkeypatch.setitem(BACKBONES, "tiny", example("class Tiny")["Tiny"])
    figures = run(tmp_path, "--dataset digits --arch tiny")
    assert figures["loss/cst_by_class"] > 0
    assert tells((tmp_path / "run" / "log.txt").read_text(), "tiny", "seq")


def test_a_method(tmp_path, monkeypatch, capsys):
    names = example("class Plain")
    spec = MethodSpec(names["Plain"], names["PlainConfig"], {"head": "none"})
    monkeypatch.setitem(METHODS, "plain", spec)
    figures = run(tmp_path, "--dataset digits --method plain")
    assert figures["loss/plain"] > 0
    assert "top1/plain" not in figures
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["method"] == {"name": "plain", "temperature": 0.07}  # not what suits ANCOR
    command = ["--dataset", "digits", "--mode", "coarse", "--method", "plain"]
    refused(train.main, [*command, "--head", "seq"], capsys, "plain", "--head seq", "--head none")
    refused(train.main, [*command, "--accumulate", "2"], capsys, "--accumulate 2", "plain")


def test_a_method_is_30_lines():
    (block,) = [block for block in BLOCKS if "class Plain" in block.text]
    assert sum(bool(line.strip()) for line in block.text.splitlines()) <= 30


def lines_to_read(path: Path, names: list[str]) -> int:
    """Count the lines of a file, or of parts of it: of a dataclass those before its methods."""
    text = path.read_text(encoding="utf-8")
    parts = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            methods = {f"{node.name}.{n.name}": n for n in node.body if hasattr(n, "args")}
            parts |= {name: n.end_lineno - first(n) + 1 for name, n in methods.items()}
            last = node.end_lineno
            if node.decorator_list and methods:
                last = min(map(first, methods.values())) - 1
            parts[node.name] = last - first(node) + 1
    return sum(parts[name] for name in names) if names else len(text.splitlines())


def first(node: ast.AST) -> int:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


def test_what_is_read_for_a_dataset_is_230_lines():
    page = Path("docs/extending.md").read_text(encoding="utf-8")
    section = page.partition("## Add a dataset")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(ancor/\S+)` \| (.+) \|$", section, re.M)
    read = {path: re.findall(r"`([\w.]+)`", what) for path, what in rows}
    assert len(read) == 6
    assert sum(lines_to_read(Path(path), names) for path, names in read.items()) <= 230


def with_a_field(monkeypatch, kind: type, line: str) -> None:
    """Add a line to a dataclass of settings, everywhere that it is known."""
    from ancor.runtime import settings

    names = dict(vars(settings)) | {kind.__name__: kind, "dataclass": dataclass}
    text = f"@dataclass(frozen=True)\nclass More({kind.__name__}):\n    {line}\n"
    exec(text, names)
    for module in list(sys.modules.values()):
        if getattr(module, kind.__name__, None) is kind:
            monkeypatch.setattr(module, kind.__name__, names["More"])
    for name, spec in METHODS.items():
        if spec.config is kind:
            monkeypatch.setitem(METHODS, name, replace(spec, config=names["More"]))


KINDS = {
    "training": TrainConfig,
    "encoder": EncoderConfig,
    "data": DataConfig,
    "method": AncorConfig,
}


@pytest.mark.parametrize("section", KINDS)
def test_a_flag_is_one_line(section, tmp_path, monkeypatch, capsys):
    """The page's line, in each dataclass of settings: help, check, files, resume follow."""
    page = Path("docs/extending.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ +(noise: float = setting.*)$", page, re.M)
    with_a_field(monkeypatch, KINDS[section], line)
    seen = []
    fit = Trainer.fit

    def noted(trainer) -> None:
        seen.append(trainer.save.config[section]["noise"])
        fit(trainer)

    monkeypatch.setattr(Trainer, "fit", noted)
    run(tmp_path, "--dataset digits --noise 0.25")
    folder = tmp_path / "run"
    assert json.loads((folder / "config.json").read_text())[section]["noise"] == 0.25
    command = ["--resume", f"{folder}/last.pth.tar", "--max-steps", "3", "--quiet"]
    assert train.main(command) == 0
    assert seen == [0.25] * 2
    with pytest.raises(SystemExit):
        train.main(["--help"])
    assert "deviation of noise" in capsys.readouterr().out
    command = ["--dataset", "digits", "--mode", "coarse", "--noise=-1"]
    refused(train.main, command, capsys, "--noise -1.0")


@pytest.mark.slow
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
    known = {"--dataset": "digits", "--arch": "conv4", "--method": "ancor"}[flag]
    flags = ["--mode", "coarse", "--dataset", "digits", flag, "unheard-of"]
    refused(train.main, flags, capsys, "'unheard-of'", known)


def test_help_says_where_the_defaults_of_methods_differ(monkeypatch, capsys):
    """The first method's default stood for all, of settings that methods share."""
    config = make_dataclass(
        "OtherConfig",
        [("temperature", float, setting(0.1, "temperature", flags=("--cst-t",)))],
        bases=(AncorConfig,),
        frozen=True,
    )
    other = {"lr": 0.3, "schedule": (5, 6)}
    for name in METHODS.keys() - {"ancor"}:
        monkeypatch.delitem(METHODS, name)
    for name in ("other", "like"):
        monkeypatch.setitem(METHODS, name, MethodSpec("nowhere:Other", config, other))
    with pytest.raises(SystemExit):
        train.main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "(default: 0.2; other, like: 0.1)" in shown
    assert "(default: 0.03; other, like: 0.3)" in shown
    assert "(default: 120 160; other, like: 5 6)" in shown
    assert shown.count("like:") == 3
