"""E25: windows of figures, images/s, the time left, and how a run ends."""

import errno
import json
import os
import re
import shlex
import signal
import sys
from types import SimpleNamespace

import pytest
import torch

from ancor.checkpoints import checkpoint
from ancor.cli import eval as evaluation
from ancor.cli import inspect, train
from ancor.methods.base import Batch
from ancor.methods.losses import LossTerm
from ancor.runtime import text
from ancor.training import metrics, progress, trainer
from ancor.training.metrics import Meter
from ancor.training.run_folder import RunSaver
from ancor.training.validation import Validator
from tests import made
from tests.cases import slow
from tests.conftest import SMALL
from tests.refusals import one_line, refused, tells
from tests.robustness.runs import ROOT
from tests.training.steps import at_each_step

FLAGS = [*SMALL, "--val-episodes", "0"]  # 16 steps an epoch
LOUD = [flag for flag in FLAGS if flag != "--quiet"]
TIME = r"\d+:\d\d:\d\d"


def records(folder, kind: str = "step") -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def train_in(folder, *flags: str) -> list[int]:
    """Train quietly and return the steps of all windows' ends."""
    assert train.main([*FLAGS, *flags, "--output-dir", str(folder)]) == 0
    return [record["step"] for record in records(folder)]


def resumed(folder, *flags: str) -> list[int]:
    return train_in(folder, "--resume", "auto", *flags)


@pytest.fixture
def windows(monkeypatch):
    """The lengths of the windows whose figures are read."""
    lengths, real = [], Meter.read

    def read(self):
        lengths.append(len(self))
        return real(self)

    monkeypatch.setattr(Meter, "read", read)
    return lengths


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--max-steps", "11", "-p", "5"], [5, 6]),
        (["--max-steps", "17", "-p", "5"], [5, 5, 6, 5]),  # the last repeats four steps
        slow(["--epochs", "2", "-p", "50"], [16, 16]),
        slow(["--max-steps", "18", "-p", "50"], [16, 16]),
        slow(["--max-steps", "10", "-p", "5"], [5, 5]),
        slow(["--max-steps", "3", "-p", "5"], [3]),
        (["--start-epoch", "1", "--epochs", "2", "-p", "5"], [5, 5, 6]),
        slow(["--start-epoch", "1", "--max-steps", "6", "-p", "5"], [6]),
    ],
)
def test_no_window_is_short_beside_others(flags, expected, windows, tmp_path):
    """E25: --max-steps 11 ended in a window of one step beside means over five."""
    train_in(tmp_path / "run", *flags)
    assert windows == expected


def test_windows_of_a_resume_within_an_epoch_are_whole(windows, tmp_path):
    """E25: stopped at step 13 and resumed, the windows were 2 and 1 steps long."""
    folder = tmp_path / "run"
    assert train_in(folder, "--max-steps", "13", "-p", "5", "--epochs", "2") == [5, 13]
    assert windows == [5, 8]
    steps = resumed(folder, "-p", "5", "--epochs", "2")
    assert steps == [5, 13, 16, 21, 26, 32]
    assert windows == [5, 8, 5, 5, 5, 6]  # the third repeats two steps that were printed before


def test_figures_of_an_epoch_that_begins_again_are_dropped(windows, tmp_path, monkeypatch):
    """E25, --start-epoch: what the cut-off epoch had not printed was counted to the next."""
    stop_at(monkeypatch, 3)
    folder = tmp_path / "run"
    assert train.main([*FLAGS, "-p", "5", "--output-dir", str(folder)]) == 143
    resumed(folder, "-p", "5", "--start-epoch", "1", "--epochs", "2")
    assert windows == [5, 5, 6]


def test_repeated_steps_are_those_that_were_taken():
    """E25: an undone step is told once, whatever windows it is in."""
    meter, term = Meter(), LossTerm(*(torch.tensor(1.0),) * 3)
    for good in (True, False, True, True):
        meter.add([{"cls": term}], [1.0], torch.tensor(good), [torch.zeros(4)])
    rest = meter.rest(3)
    assert len(rest) == 2
    assert rest.read()[1] == []
    assert len(meter.rest(0)) == 0


@pytest.fixture
def clock(monkeypatch):
    """The clock of images/s, which stands still but for what a test does to it."""
    now = [0.0]
    monkeypatch.setattr(metrics, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


@pytest.mark.parametrize("flags", [["--val-episodes", "2"], ["--save-minutes", "1e-9"]])
def test_images_a_second_leave_validation_and_saves_out(flags, clock, tmp_path, monkeypatch):
    """E25: what a validation and a save took was the next window's, as curves like saws showed.

    The other case are saves amid a window.
    """

    def taking(seconds, real):
        def timed(self, *what):
            clock[0] += seconds
            return real(self, *what)

        return timed

    for kind, name, seconds in (
        (trainer.Trainer, "step", 1),
        (trainer.Trainer, "_validation", 40),
        (RunSaver, "_write", 50),
    ):
        monkeypatch.setattr(kind, name, taking(seconds, getattr(kind, name)))
    folder = tmp_path / "run"
    train_in(folder, "--epochs", "2", "-s", "1", "-p", "4", "-b", "128", *flags)
    speeds = [record["images_per_s"] for record in records(folder)]
    assert speeds == pytest.approx([128.0] * 4)  # two windows of each epoch's 8 steps
    assert clock[0] > 16 + 2 * 50


def test_the_clock_runs_while_steps_are_done(clock):
    """E25, the other way: the time of steps and of waiting for data is not left out."""
    meter, term = Meter(), LossTerm(*(torch.tensor(1.0),) * 3)
    clock[0] = 100.0  # before training
    meter.start()
    for seconds in (1.0, 2.0):
        clock[0] += seconds
        meter.waited(0.25)
        meter.add([{"cls": term}], [1.0], torch.tensor(True), [torch.zeros(30)])
        meter.stop()
        clock[0] += 50.0  # a save
        meter.start()
    figures, _ = meter.read()
    assert figures["images_per_s"] == pytest.approx(60 / 3)
    assert figures["data_wait"] == pytest.approx(0.5 / 3)


def told_left(text: str) -> list[int]:
    """Return the seconds of all estimates of a log."""
    found = re.findall(rf"\[\d+/\d+\].*waiting for data, ({TIME}) left$", text, re.M)
    parts = [list(map(int, time_left.split(":"))) for time_left in found]
    return [h * 3600 + m * 60 + s for h, m, s in parts]


@pytest.fixture
def a_second_a_step(monkeypatch):
    """A clock by which each step takes a second, and nothing else any time."""
    steps = []
    at_each_step(monkeypatch, lambda step, _: steps.append(step))
    monkeypatch.setattr("time.monotonic", lambda: float(len(steps)))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        slow(["--epochs", "2"], [24, 16, 8, 0]),
        (["--epochs", "3", "--start-epoch", "1"], [24, 16, 8, 0]),
        slow(["--epochs", "9", "--start-epoch", "8", "--max-steps", "12"], [0]),
        slow(["--epochs", "9", "--max-steps", "24"], [16, 8, 0]),
    ],
)
def test_the_time_left_is_of_the_steps_that_are_left(flags, expected, a_second_a_step, tmp_path):
    """E25: with --start-epoch the epochs before it were counted as still to be done."""
    train_in(tmp_path / "run", *flags, "-p", "8")
    assert told_left((tmp_path / "run" / "log.txt").read_text()) == expected


@pytest.mark.slow
def test_the_time_left_of_a_resumed_run_knows_the_epochs_before(a_second_a_step, tmp_path):
    """E25, other cases: a resume within an epoch, and one that is told to begin at another."""
    folder = tmp_path / "run"
    train_in(folder, "--epochs", "3", "--max-steps", "24", "-p", "8")
    resumed(folder, "--epochs", "3", "-p", "8")
    assert told_left((folder / "log.txt").read_text()) == [16, 8, 0, 16, 8, 0]
    resumed(folder, "--epochs", "3", "-p", "8", "--start-epoch", "2")
    assert told_left((folder / "log.txt").read_text())[-2:] == [8, 0]


def test_the_bar_tells_the_time_left_of_the_whole_run(tmp_path, monkeypatch, a_second_a_step):
    """E25: it told of the epoch only."""
    told = []
    monkeypatch.setattr("tqdm.tqdm.set_postfix_str", lambda bar, text, **_: told.append(text))
    train_in(tmp_path / "run", "--epochs", "2")
    assert told[0] == "run: 0:00:31 left"
    assert told[-1] == "run: 0:00:00 left"
    assert len(told) == 32


def test_a_resumed_run_tells_its_best_epoch_and_all_its_time(
    a_second_a_step, tmp_path, capsys, monkeypatch
):
    """E25: at its end the best epoch of an earlier start and its time were not told."""
    scores = iter([0.9, 0.5])
    monkeypatch.setattr(Validator, "__call__", lambda _: {"5-way": (next(scores), 0.1)})
    folder = tmp_path / "run"
    command = [*LOUD[:-2], "--output-dir", str(folder), "--val-episodes", "2", "--resume", "auto"]
    assert train.main([*command, "--epochs", "1"]) == 0
    said = capsys.readouterr().out
    assert tells(said, "Done", "16 steps", "0:00:16")
    assert tells(said, "90.00", "epoch 1")
    assert train.main([*command, "--epochs", "2"]) == 0
    said = capsys.readouterr().out
    assert tells(said, "Done", "32 steps", "0:00:32", "16", "0:00:16")
    assert tells(said, "90.00", "epoch 1")


@pytest.mark.parametrize("told", [None, "never", -1.0, float("nan"), True])
def test_files_that_tell_no_time_are_resumed(told, quick_run, tmp_path, capsys):
    """E25: files of earlier versions tell neither the time nor the best epoch."""
    content = dict(checkpoint.read(quick_run / "last.pth.tar"))
    content["progress"] = {k: v for k, v in content["progress"].items() if k != "best_epochs"}
    content |= {"seconds": told}
    (tmp_path / "run").mkdir()
    checkpoint.save(content, tmp_path / "run" / "last.pth.tar")
    command = ["--resume", str(tmp_path / "run" / "last.pth.tar"), "--epochs", "3"]
    assert train.main([*command, "--max-steps", "33", "--val-episodes", "0"]) == 0
    said = capsys.readouterr().out
    assert tells(said, "Done", "33 steps", "1", re.compile(TIME))


def test_a_best_that_could_not_be_saved_is_forgotten_with_its_epoch():
    """E25: the epoch that was told belongs to the accuracy that was told."""
    done = progress.Progress()
    assert done.improves(50.0, 1)
    assert done.improves(60.0, 2)
    done.forget_best()
    assert (done.best_accs, done.best_epochs) == ([0.0, 50.0], [None, 1])
    done.forget_best()
    done.forget_best()
    assert (done.best_accs, done.best_epochs) == ([0.0], [None])


def command_after(word: str, said: str) -> list[str]:
    """Return the arguments of the command that a message gives."""
    (line,) = re.findall(rf"{word}: python (.*)$", said, re.M)
    script, *arguments = shlex.split(line)
    assert script in ("train.py", "eval.py", "-m"), line
    return arguments


def stop_at(monkeypatch, step: int) -> None:
    def signaled(before: int, _: Batch) -> None:
        if before + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)

    at_each_step(monkeypatch, signaled)


def test_a_stopped_run_says_the_command_that_goes_on(tmp_path, capsys, monkeypatch):
    """E25: after a signal it named a flag; the command has to be put together by hand."""
    stop_at(monkeypatch, 5)
    folder = tmp_path / "a run"
    flags = ["--overwrite", "--device", "cpu", "--max-steps", "20", "--lr", "0.07", "--epochs", "2"]
    flags = [*FLAGS, *flags, "--output-dir", str(folder)]
    said = refused(train.main, flags, capsys, "SIGTERM", "step 5", status=143)
    arguments = command_after("go on", said)
    assert "--overwrite" not in arguments
    assert "--lr" not in arguments  # the file has it
    assert train.main(arguments) == 0
    content = checkpoint.read(folder / "last.pth.tar")
    assert (content["progress"]["step"], content["config"]["training"]["lr"]) == (20, 0.07)
    assert {"--precision", "--device", "--quiet", "--max-steps"} <= set(arguments)


def test_a_run_that_was_stopped_in_its_last_step_gets_its_end_from_a_resume(tmp_path, monkeypatch):
    """All steps were done: no resume validated, or wrote model_best and the last epoch's file."""
    flags = [*SMALL, "--epochs", "1", "--resume", "auto", "--output-dir"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train.main([*flags, str(whole)]) == 0
    stop_at(monkeypatch, 16)
    assert train.main([*flags, str(parts)]) == 143
    assert not (parts / "model_best.pth.tar").exists()
    assert train.main([*flags, str(parts)]) == 0
    for name in ("model_best", "checkpoint_0000", "last"):
        ours, theirs = (checkpoint.read(each / f"{name}.pth.tar") for each in (parts, whole))
        for about in ("epoch", "best_accs"):
            assert ours[about] == theirs[about]
        for tensor in ours["state_dict"]:
            assert torch.equal(ours["state_dict"][tensor], theirs["state_dict"][tensor])
    (ours,), (theirs,) = (records(each, "epoch") for each in (parts, whole))
    assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    before = (parts / "last.pth.tar").stat().st_mtime_ns
    assert train.main([*flags, str(parts)]) == 0  # now there is nothing left
    assert (parts / "last.pth.tar").stat().st_mtime_ns == before
    assert not tells((parts / "log.txt").read_text(), "Stopped before")


def test_a_run_at_max_steps_says_the_command_that_goes_on(tmp_path, capsys):
    """E25, another case: a run that --max-steps ended; its limit is not repeated."""
    folder = tmp_path / "run"
    command = [*LOUD, "--epochs", "1", "--max-steps", "9", "--output-dir", str(folder)]
    assert train.main([*command, "--start-epoch", "0"]) == 0
    arguments = command_after("go on", capsys.readouterr().out)
    assert not {"--max-steps", "--start-epoch"} & set(arguments)
    assert train.main(arguments) == 0
    assert checkpoint.read(folder / "last.pth.tar")["epoch"] == 1


def test_a_stop_whose_save_failed_does_not_say_that_all_is_saved(tmp_path, capsys, monkeypatch):
    """E25: the disk was full, and the last line said that all of it was saved."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "save", full)
    stop_at(monkeypatch, 2)
    assert train.main([*FLAGS, "--output-dir", str(tmp_path / "run")]) == 143
    said = one_line(capsys.readouterr().err.splitlines()[-1], "step 2", os.strerror(errno.ENOSPC))
    assert "go on" not in said


def test_commands_are_those_of_the_program_that_was_called(monkeypatch, tmp_path):
    """E25: an installed `ancor` names commands that are installed; a script its neighbors."""
    for called, expected in (
        ("/opt/bin/ancor", "ancor eval 'a b'"),
        ("/opt/ancor/__main__.py", "python -m ancor eval 'a b'"),
        ("train.py", "python eval.py 'a b'"),
        (str(ROOT / "train.py"), f"python {ROOT / 'eval.py'} 'a b'"),
        ("", "python eval.py 'a b'"),
    ):
        monkeypatch.setattr(sys, "argv", [called])
        assert text.command_line("eval", "a b") == expected


def photos(root, **parts: tuple[str, int]):
    """Write a folder dataset: for each partition `coarse` or `fine`, and the images a class."""
    for part, (level, count) in parts.items():
        for number, name in enumerate(("cat", "dog")):
            for image in range(count):
                inside = [f"{name}{image % 2}"] if level == "fine" else []
                path = root.joinpath(part, name, *inside, f"{image}.png")
                made.write(path, 100 * number + image + len(part))
    return root


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"train": ("coarse", 8), "val": ("fine", 8)}, "--partition validation"),
        ({"train": ("fine", 8)}, "--partition train"),
        ({"train": ("coarse", 8)}, "--partition train --mode coarse"),
        ({"train": ("fine", 8), "test": ("coarse", 8)}, "--partition train"),
        ({"train": ("coarse", 8), "test": ("coarse", 8)}, "--partition test --mode coarse"),
        ({"train": ("fine", 8), "val": ("fine", 8), "test": ("fine", 8)}, "--partition test"),
        ({"train": ("coarse", 8), "test": ("fine", 1)}, "--partition train --mode coarse"),
        ({"train": ("coarse", 1)}, "inspect"),
    ],
    ids=str,
)
def test_the_next_command_works_with_the_data_that_are_there(parts, expected, tmp_path, capsys):
    """E25: without a test partition, eval.py --partition test was named and failed."""
    small = ["--arch", "conv4", "--image-size", "16", "-b", "4", "--queue-k", "8", "-j", "0"]
    small += ["--mode", "coarse", "--max-steps", "1", "--val-episodes", "0", "--cst-dim", "8"]
    root = photos(tmp_path / "photos", **parts)
    command = ["--dataset", "folder", "--data", str(root), *small]
    assert train.main([*command, "--output-dir", str(tmp_path / "run")]) == 0
    arguments = command_after("Next", capsys.readouterr().out)
    assert " ".join(arguments).find(expected) > 0 or arguments[1] == expected
    if arguments[0] == "ancor":
        assert inspect.main(arguments[2:]) == 0
    else:
        assert evaluation.main([*arguments, "--n-test-runs", "2"]) == 0


def test_the_next_command_has_the_flags_that_no_file_may_allow(tmp_path, capsys):
    """E25, another case: it lacked --allow-outside-root, and was refused."""
    root = photos(tmp_path / "photos", train=("coarse", 8))
    rows = [f"../photos/train/{name}/{n}.png,{name}" for name in ("cat", "dog") for n in range(8)]
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "labels.csv").write_text("\n".join(["path,coarse", *rows]) + "\n")
    assert root.is_dir()
    small = ["--arch", "conv4", "--image-size", "16", "-b", "4", "--queue-k", "8", "-j", "0"]
    small += ["--mode", "coarse", "--max-steps", "1", "--val-episodes", "0", "--cst-dim", "8"]
    command = ["--dataset", "folder", "--data", str(tmp_path / "table"), *small]
    command += ["--allow-outside-root", "--output-dir", str(tmp_path / "run")]
    assert train.main(command) == 0
    said = capsys.readouterr().out
    assert "--allow-outside-root" in command_after("go on", said)
    assert evaluation.main([*command_after("Next", said), "--n-test-runs", "2"]) == 0
