"""Figures where people look: offline files of wandb and MLflow hold what metrics.jsonl does."""

import errno
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ancor
from ancor.cli.train import main
from ancor.runtime.logging import RunLog
from ancor.runtime.trackers import Tracker, check_tracker, open_tracker
from tests.conftest import SMALL
from tests.refusals import one_line, refused, refuses

BLOCK, HEAD = 2**15, 7  # of wandb's files: a log of records as LevelDB keeps it


def numbers(folder: Path) -> dict[tuple[str, int], float]:
    """Return what metrics.jsonl holds, by name and step, as a tracker names it."""
    found = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        kind, step = record.pop("kind"), record.pop("step")
        for name, value in record.items():
            if isinstance(value, int | float):
                found[name if "/" in name else f"{kind}/{name}", step] = float(value)
    return found


def records(file: Path) -> Iterator[bytes]:
    """Yield the records of an offline run's file."""
    data, place, whole = file.read_bytes(), HEAD, b""
    while place + HEAD <= len(data):
        if BLOCK - place % BLOCK < HEAD:  # no head fits: the rest of the block is empty
            place += BLOCK - place % BLOCK
            continue
        _, size, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + HEAD : place + HEAD + size]
        place += HEAD + size
        if kind in (1, 4):  # a whole record, or a record's last part
            yield whole
            whole = b""


def wandb_history(folder: Path) -> dict[tuple[str, int], float]:
    """Return the figures of all offline runs of a folder, which have to be of one id."""
    proto = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    found, ids = {}, set()
    files = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
    for file in files:
        for data in records(file):
            record = proto.Record.FromString(data)
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
            items = {"/".join(i.nested_key): i.value_json for i in record.history.item}
            step = items.pop("step", None)
            for name, value in items.items():
                if not name.startswith(("_", "augmented batch/")):
                    found[name, int(step)] = json.loads(value)
    assert len(ids) == 1, ids
    return found


def mlflow_history(folder: Path) -> dict[tuple[str, int], float]:
    """Return the figures of a folder's one run."""
    tracking = pytest.importorskip("mlflow.tracking")
    client = tracking.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "ancor"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["training.batch_size"] == "64"
    names = [each.path for each in client.list_artifacts(run.info.run_id)]
    assert "augmented-batch-0.png" in names
    return {
        (name, each.step): each.value
        for name in run.data.metrics
        for each in client.get_metric_history(run.info.run_id, name)
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "history"), [("wandb", wandb_history), ("mlflow", mlflow_history)]
)
def test_a_run_and_its_second_part_are_one_run_of_the_same_figures(
    name, history, tmp_path, monkeypatch
):
    pytest.importorskip(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "run"
    flags = ["--log", name, "--quiet", "--val-episodes", "2", "--output-dir", str(folder)]
    assert main([*SMALL, "--epochs", "1", *flags]) == 0
    again = ["--resume", "auto", "--epochs", "2"]
    assert main([*SMALL, *again, *flags]) == 0
    expected = numbers(folder)
    assert len(expected) > 20
    for _ in range(100):  # wandb's own process writes when it comes to it
        shown = history(folder)
        if len(shown) >= len(expected):
            break
        time.sleep(0.2)
    assert shown.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(shown[key], value, rtol=1e-9, equal_nan=True)
    assert list(folder.glob("events.out.tfevents.*"))  # TensorBoard is what it was


@pytest.mark.slow
def test_a_tracker_changes_no_weight(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    data = ancor.load_dataset("digits")
    about = {"max_steps": 3, "val_episodes": 0, "device": "cpu"}
    plain = ancor.train(data, output_dir=tmp_path / "plain", **about)
    shown = ancor.train(data, output_dir=tmp_path / "shown", log="wandb", **about)
    for one, other in zip(plain.network.parameters(), shown.network.parameters(), strict=True):
        assert one.equal(other)


def test_a_tracker_that_fails_stops_nothing(tmp_path):
    class Broken(Tracker):
        failures = (OSError, RuntimeError)
        closed = 0

        def scalars(self, step, values) -> None:
            raise RuntimeError("server has gone")

        def close(self) -> None:
            self.closed += 1
            raise RuntimeError("server has gone")

    broken = Broken()
    file = (tmp_path / "metrics.jsonl").open("a")
    with file as metrics, RunLog(tmp_path, metrics, tracker=broken) as run_log:
        for step in (1, 2):
            run_log.record("step", step, {"loss": 0.5})
            run_log.picture("p", np.zeros((3, 2, 2), np.uint8), step)
    assert numbers(tmp_path) == {("step/loss", 1): 0.5, ("step/loss", 2): 0.5}
    assert broken.closed == 1
    assert (tmp_path / "log.txt").read_text().count("server has gone") == 1


def test_a_disk_that_is_full_at_the_end_is_told_and_ends_no_run(tmp_path, monkeypatch):
    class Full(Tracker):
        def __init__(self, folder: Path, first_step: int) -> None:
            """Nothing is written, so that nothing fails before the end."""

        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ancor.runtime.logging.TensorBoard", Full)
    with (tmp_path / "metrics.jsonl").open("a") as metrics, RunLog(tmp_path, metrics) as run_log:
        run_log.record("step", 1, {"loss": 0.5})
    assert "No space left on device" in (tmp_path / "log.txt").read_text()


def test_what_cannot_be_shown_is_refused_and_the_folder_stays_free(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    train = [*SMALL, "--epochs", "1", "--output-dir", str(folder)]
    refused(main, [*train, "--log", "wandbb"], capsys, "--log", "'wandbb'", "mlflow")
    with refuses("`log`", "wandb", "`output_dir`"):
        ancor.train(ancor.load_dataset("digits"), log="wandb")
    with monkeypatch.context() as patch:
        patch.setattr("ancor.runtime.trackers.find_spec", lambda name: None)
        words = ["--log", "mlflow", "pip install 'ancor-toolkit[mlflow]'"]
        refused(main, [*train, "--log", "mlflow"], capsys, *words)
    assert not folder.exists()
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://here")
    refused(main, [*train, "--log", "mlflow"], capsys, "--log", "nowhere://here")
    assert not (folder / "metrics.jsonl").exists()


@pytest.mark.slow
def test_who_is_not_logged_in_is_told_how(tmp_path):
    """In a process of its own: wandb reads its environment once."""
    pytest.importorskip("wandb")
    away = ("WANDB_MODE", "WANDB_API_KEY")
    environment = {name: value for name, value in os.environ.items() if name not in away}
    environment |= dict.fromkeys(("HOME", "WANDB_CONFIG_DIR"), str(tmp_path))
    environment["NETRC"] = str(tmp_path / "none")
    command = [sys.executable, "-m", "ancor", "train", *SMALL, "--log", "wandb", "--max-steps", "1"]
    command += ["--output-dir", str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 2
    one_line(ended.stderr, "--log", "wandb", "WANDB_MODE=offline", "'wandb login'")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_tensorboard_needs_nothing_more(tmp_path):
    check_tracker("tensorboard", None)
    assert open_tracker("tensorboard", tmp_path, {}, goes_on=False) is None
