"""What every method of the table owes: resume, processes, parts of a batch, a frozen backbone."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import ancor
from ancor.checkpoints import checkpoint
from ancor.cli import methods, train
from ancor.data.registry import DATASETS
from ancor.methods.base import Method
from ancor.methods.registry import METHODS, own_defaults
from ancor.models.backbones import BACKBONES
from ancor.runtime import distributed
from ancor.runtime.devices import Runtime
from ancor.runtime.launch import launch
from ancor.runtime.settings import settings_of
from ancor.training import run as training
from ancor.training.resolve import mode_of, paper_defaults, resolve
from tests.cases import slow
from tests.pages import ROOT
from tests.refusals import refused, refuses, tells
from tests.training.steps import at_each_step
from tests.training.test_distributed import free_group
from tests.training.test_hooks import BATCH, assert_same, register, two_as_one

SMALL = {"queue_length": 24}  # less than the 60 images, and no multiple of their batches
NAMES = sorted(METHODS)
TABLES = METHODS, BACKBONES, DATASETS


class Killed(BaseException):
    """What a test ends a run by, wherever it stands."""


def restored() -> Iterator[None]:
    before = [(table, dict(table)) for table in TABLES]
    register()
    yield
    for table, entries in before:
        table.clear()
        table.update(entries)


tables = pytest.fixture(autouse=True)(restored)


def run(folder: Path, method: str, precision: str = "fp32", **given) -> dict:
    """Train, or go on where the folder holds a run; return what last.pth.tar holds."""
    last = folder / "last.pth.tar"
    content = checkpoint.read(str(last)) if last.exists() else None
    known = settings_of(METHODS[method].config)
    settings = {name: value for name, value in SMALL.items() if name in known}
    settings |= {"dataset": "few", "mode": mode_of(method)}
    settings |= {"name": method, "arch": "small", "epochs": 3, "batch_size": BATCH, "dim": 6}
    settings |= {"val_episodes": 0, "print_freq": 1, "workers": 0, "warmup_epochs": 1.0}
    config, _ = resolve(settings | given)
    training.train(config, training.Launch(folder, Runtime.named("cpu", precision), content, last))
    return torch.load(last, weights_only=True) if distributed.is_main_process() else {}


def steps(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "step"]


@pytest.mark.parametrize("precision", ["fp32", slow("bf16")])
@pytest.mark.parametrize(
    "method", [name if name in ("ancor", "scgm-g", "snca") else slow(name) for name in NAMES]
)
def test_a_killed_run_goes_on_to_the_same_bits(method, precision, tmp_path, monkeypatch):
    """In the middle of the second epoch, and again in the third, of nine steps in all."""
    whole = run(tmp_path / "whole", method, precision)
    for kill in (4, 7):
        with monkeypatch.context() as patched:

            def act(step: int, batch: object, last: int = kill) -> None:
                if step == last:
                    raise Killed

            at_each_step(patched, act)
            with pytest.raises(Killed):
                run(tmp_path / "parts", method, precision, save_minutes=1e-9)
    parts = run(tmp_path / "parts", method, precision)
    for section in ("state_dict", "optimizer"):
        assert_same(parts[section], whole[section])
    assert parts["progress"]["step"] == whole["progress"]["step"] == 9
    losses = [
        [{k: v for k, v in r.items() if k.startswith("loss/")} for r in steps(tmp_path / name)]
        for name in ("parts", "whole")
    ]
    assert losses[0] == losses[1]
    assert all(losses[0])


@pytest.mark.parametrize("method", NAMES)
def test_a_batch_in_parts_is_the_batch_or_is_refused(method, tmp_path):
    whole = run(tmp_path / "whole", method)
    if not METHODS[method].load().accumulates:
        with refuses("`accumulate` 2", method):
            run(tmp_path / "parts", method, accumulate=2)
        return
    parts = run(tmp_path / "parts", method, accumulate=2)
    for name, tensor in whole["state_dict"].items():
        torch.testing.assert_close(
            parts["state_dict"][name], tensor, rtol=1e-4, atol=1e-5, msg=name
        )


@pytest.mark.parametrize("method", NAMES)
def test_a_frozen_backbone_stays_and_the_rest_trains(method, tmp_path):
    begun = run(tmp_path / "begun", method, max_steps=1, freeze="all")["state_dict"]
    ended = run(tmp_path / "ended", method, freeze="all")["state_dict"]
    backbone = [name for name in begun if ".layer." in name]
    assert backbone
    for name in backbone:
        assert torch.equal(begun[name], ended[name]), name
    assert any(not torch.equal(begun[name], ended[name]) for name in begun)


# Every method; and shares of unequal size, of which a mean over a process's own would be wrong.
TOGETHER = {name: {} for name in NAMES} | {
    f"{name} odd": {"batch_size": 19} for name in ("supcon", "maskcon", "coins")
}


def train_all(folder: str) -> None:
    """Train with each method in this group of processes."""
    register()
    for case, given in TOGETHER.items():
        method, _, _ = case.partition(" ")
        run(Path(folder) / f"{distributed.world_size()} {case}", method, **{"epochs": 2, **given})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    tables = restored()
    next(tables)
    train_all(str(folder))
    next(tables, None)
    launch(train_all, free_group(), str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", TOGETHER)
def test_two_processes_do_what_one_does(case, folders):
    """The same samples in a step, and a backbone without batch norm."""
    two_as_one(folders, case)


def test_the_table_lists_all_with_what_they_are(capsys):
    assert methods.main([]) == 0
    shown = capsys.readouterr().out
    for name in NAMES:
        spec = METHODS[name]
        assert spec.source, name
        assert spec.keeps, name
        assert tells(shown, name, spec.labels, spec.source, spec.keeps)
    assert tells(shown, "--cst-dim 256", "--lr 0.02", "--wd 0.0005", "--warmup-epochs 5.0")
    assert methods.main(["--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table.keys() >= set(NAMES)
    assert table["maskcon"]["defaults"]["queue_length"] == 8192


@pytest.mark.parametrize("method", NAMES)
def test_a_methods_own_defaults_are_taken_and_told(method):
    """They go before the dataset's, and what is given before both."""
    mode = mode_of(method)
    given = {"dataset": "digits", "mode": mode, "name": method}
    config, taken = resolve(given)
    own = own_defaults(method, paper_defaults())
    assert taken.get(f"{method}'s own defaults", {}).keys() == own.keys() - {"name", "mode"}
    sections = {**vars(config.encoder), **vars(config.method), **vars(config.training)}
    assert {name: sections[name] for name in own} == own
    config, taken = resolve({**given, "lr": 0.123})
    assert config.training.lr == 0.123
    assert "lr" not in taken[f"{method}'s own defaults"]
    config, _ = resolve({**given, "dataset": "fashion-mnist"})  # which weighs two losses
    METHODS[method].load().check(config.encoder.head, config.method)


def test_a_preset_is_what_its_flags_are():
    table = {
        "ce": {"head": "cls", "queue": "none", "calculators": ("cls",)},
        "moco": {"head": "none", "queue": "single", "calculators": ("cst_all",), "mlp": True},
        "fork": {"head": "fork", "metric": "norm"},
        "ancor-norm": {"metric": "norm"},
    }
    for method, flags in table.items():
        preset, _ = resolve({"dataset": "digits", "mode": "coarse", "name": method})
        spelled, _ = resolve({"dataset": "digits", "mode": "coarse", **flags})
        ours, theirs = vars(preset.method), vars(spelled.method)
        assert {**ours, "name": "ancor"} == theirs
        assert (preset.encoder, preset.training) == (spelled.encoder, spelled.training)
    fine, _ = resolve({"dataset": "digits", "name": "fine"})
    assert fine.training.mode == "fine"


def test_labels_that_are_not_the_methods_are_refused(capsys):
    command = ["--dataset", "digits", "--method", "fine", "--mode", "coarse"]
    refused(train.main, command, capsys, "--mode coarse", "fine", "--method")


def overridden(path: Path) -> set[str]:
    """Return the names of `Method` that the classes of a file define."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    found = set()
    for node in (each for kind in classes for each in kind.body):
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            targets = [t.elts if isinstance(t, ast.Tuple) else [t] for t in node.targets]
            found |= {each.id for target in targets for each in target}
    public = {name for name in vars(Method) if not name.startswith("_")}
    return found & public


def test_the_page_tells_of_every_method_and_how_long_it_is():
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    headings = {name for line in re.findall(r"^## (.+)$", page, re.M) for name in line.split(", ")}
    assert set(NAMES) <= headings
    rows = re.findall(r"^\| (`.+?) \| .+ \| `(\w+)\.py`, (\d+) \| (.+) \|$", page, re.M)
    rows += re.findall(r"(share) `(\w+)\.py` \((\d+) lines\), which overrides ([^.]+)\.", page)
    assert len(rows) >= 5
    for _, module, lines, names in rows:
        path = ROOT / "ancor" / "methods" / f"{module}.py"
        assert path.read_text(encoding="utf-8").count("\n") == int(lines), module
        assert overridden(path) == set(re.findall(r"`(\w+)`", names)), module


def test_views_that_are_to_differ_and_do_not_are_told(tmp_path, caplog):
    with caplog.at_level("INFO"):
        run(tmp_path / "alike", "maskcon", max_steps=1, augment="crops")
        assert tells(caplog.text, "maskcon", "strong", "weak", "`augment` auto")
        caplog.clear()
        run(tmp_path / "differ", "maskcon", max_steps=1, augment="auto")
    assert not tells(caplog.text, "`augment` auto")


def test_python_takes_a_methods_own_labels():
    data = ancor.load_dataset("digits")
    encoder = ancor.train(data, name="fine", epochs=1, max_steps=1, val_episodes=0)
    assert encoder.content["config"]["training"]["mode"] == "fine"
