"""What versions before wrote is read, gone on with, and gives the numbers recorded with it."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

from ancor.checkpoints import checkpoint
from ancor.cli import compare, inspect, predict, train
from ancor.cli import eval as evaluation
from ancor.fewshot.estimator import FewShotClassifier
from ancor.training.read_run import read_run
from tests.checkpoints.old_files.make import BEST, EVAL, PREDICT, TRAIN

ARCHIVES = sorted(Path(__file__).parent.glob("*.tar.xz"))
# Of a resumed run: what does not depend on how many steps a record averages over, as losses do.
COMPARED = ("lr", "health/", "validation/")
NEAR = 0.02  # processors sum in different orders, and training in single precision is chaotic


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def unpacked(request, tmp_path_factory):
    """A folder with the files of one version."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(request.param) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def old(unpacked, monkeypatch):
    """The same, as the folder that commands run in."""
    monkeypatch.chdir(unpacked)
    return unpacked


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_evaluation_gives_the_recorded_accuracies(old, tmp_path):
    assert evaluation.main(["--model-path", BEST, *EVAL, "--json", str(tmp_path / "now.json")]) == 0
    recorded, now = (
        read(path)["results"] for path in (old / "evaluation.json", tmp_path / "now.json")
    )
    assert len(recorded) == len(now) == 4
    for before, after in zip(recorded, now, strict=True):
        before["n_augmentations"] = before.pop("n_copies")  # its name then
        same = before.keys() - {"seconds"}
        floats = {name for name in same if isinstance(before[name], float)}
        # Processors round features in their own ways: a query of 6,000 or two are at a tie.
        close = pytest.approx({n: before[n] for n in floats}, abs=0.04)
        assert {n: after[n] for n in floats} == close
        assert {n: after[n] for n in same - floats} == {n: before[n] for n in same - floats}


def test_resume_goes_on_as_the_old_version_did(old, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(old / "run", run)
    begun = (run / "metrics.jsonl").read_bytes()
    going_on = ["--init-from", "thin.pth.tar", "--epochs", "4", "--resume", "auto"]
    assert train.main([*TRAIN, *going_on, "--output-dir", str(run)]) == 0
    assert (run / "metrics.jsonl").read_bytes().startswith(begun)
    shutil.copytree(old / "run", tmp_path / "expected")
    shutil.copyfile(old / "resumed.jsonl", tmp_path / "expected" / "metrics.jsonl")
    recorded, now = read_run(tmp_path / "expected").curves, read_run(run).curves
    assert recorded.keys() <= now.keys()
    assert recorded["validation/5-way"][0][-1] == 64  # the step after a fourth epoch
    for name in (name for name in recorded if name.startswith(COMPARED)):
        last = now[name][0].index(64)
        assert now[name][1][last] == pytest.approx(recorded[name][1][-1], rel=NEAR), name


def test_a_checkpoint_and_its_export_hold_the_same_encoder(old):
    content = checkpoint.read(BEST)
    assert content["config"]["format"] == checkpoint.FORMAT
    ours, _ = checkpoint.load_encoder(BEST)
    exported, about = checkpoint.load_encoder("e.safetensors")
    assert about["config"]["data"]["dataset"] == "digits"
    for name, tensor in ours.state_dict().items():
        assert torch.equal(exported.state_dict()[name], tensor), name


def test_reading_commands_take_the_run(old, tmp_path, capsys):
    assert compare.main(["run", "--output", str(tmp_path / "curves.png")]) == 0
    assert "61.333" in capsys.readouterr().out
    assert inspect.main(["run/last.pth.tar"]) == 0
    assert "conv4" in capsys.readouterr().out


def test_the_saved_classifier_predicts_the_recorded_labels(old, tmp_path):
    target = tmp_path / "now.json"
    recorded = read(old / "predictions.json")["predictions"]
    command = ["--classifier", "classifier.ancor", "--json", str(target), *PREDICT]
    assert predict.main(command) == 0
    now = read(target)["predictions"]
    assert [p["path"] for p in now] == [p["path"] for p in recorded]
    assert [p["class"] for p in now] == [p["class"] for p in recorded]
    for before, after in zip(recorded, now, strict=True):
        assert after["probability"] == pytest.approx(before["probability"], abs=1e-5)
    classifier = FewShotClassifier.load("classifier.ancor")
    labels = classifier.predict([p["path"] for p in recorded])
    assert list(labels) == [p["class"] for p in recorded]
