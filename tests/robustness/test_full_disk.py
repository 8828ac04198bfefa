"""Disks that fill up, and files that vanish."""

import errno
import os
import resource
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch

from ancor.checkpoints import checkpoint
from ancor.cli.train import main
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.training.progress import Progress
from ancor.training.run_folder import RunSaver
from ancor.training.validation import Validator
from tests.refusals import one_line
from tests.robustness.runs import BASE, content, same_weights


@contextmanager
def files_of_at_most(size: int):
    """Have every write beyond so many bytes of a file fail, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_wherever_a_save_stops_the_file_before_it_is_whole(tmp_path):
    path = tmp_path / "last.pth.tar"
    config = {"encoder": {}, "data": {}, "training": {}, "format": 2}
    old = {"epoch": 0, "config": config, "state_dict": {"x": torch.zeros(50_000)}}
    checkpoint.save(old, path)
    new = {**old, "state_dict": {"x": torch.ones(50_000), "y": torch.ones(3, 4)}}
    size = path.stat().st_size
    for limit in [*range(0, size, size // 50), size - 1]:
        with files_of_at_most(limit), pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            checkpoint.save(new, path)
        assert checkpoint.read(path)["state_dict"]["x"].sum() == 0
        assert [p.name for p in tmp_path.iterdir()] == ["last.pth.tar"]
    checkpoint.save(new, path)
    assert checkpoint.read(path)["state_dict"]["x"].sum() == 50_000


@pytest.mark.slow
def test_training_goes_on_and_the_next_save_tries_again(tmp_path, monkeypatch, capsys):
    """The save of the second of three epochs fails."""
    whole = tmp_path / "whole"
    assert main([*BASE, "-s", "1", "--epochs", "3", "--output-dir", str(whole)]) == 0
    real = checkpoint.save

    def limited(content, path):
        with files_of_at_most(40_000) if content["epoch"] == 2 else nullcontext():
            return real(content, path)

    monkeypatch.setattr(checkpoint, "save", limited)
    folder = tmp_path / "run"
    plain = [flag for flag in BASE if flag != "--quiet"]
    assert main([*plain, "-s", "1", "--epochs", "3", "--output-dir", str(folder)]) == 0
    said = capsys.readouterr().out
    assert said.count(os.strerror(errno.EFBIG)) == 1
    assert same_weights(folder, whole)
    assert content(folder)["epoch"] == 3
    assert checkpoint.read(folder / "previous.pth.tar")["epoch"] == 1


def test_a_run_whose_last_save_fails_says_so(tmp_path, monkeypatch, capsys):
    real = checkpoint.save

    def limited(content, path):
        with files_of_at_most(1000):
            return real(content, path)

    monkeypatch.setattr(checkpoint, "save", limited)
    flags = ["--max-steps", "1", "--output-dir", str(tmp_path / "run")]
    assert main([*BASE, *flags]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    one_line(last, repr(str(tmp_path / "run")), os.strerror(errno.EFBIG))
    assert not list((tmp_path / "run").glob("*.pth.tar*"))


@pytest.mark.parametrize(("fails", "best"), [("last", 2), ("model_best", 3)])
def test_a_best_accuracy_is_forgotten_where_its_encoder_is_in_no_file(
    fails, best, tmp_path, monkeypatch
):
    """Where `last` alone failed, a model_best that was written was replaced by a worse one."""
    scores = iter([0.5, 0.9, 0.6])
    monkeypatch.setattr(Validator, "__call__", lambda _: {"5-way": (next(scores), 0.1)})
    real = checkpoint.save

    def limited(content, path):
        if content["epoch"] == 2 and path.name == f"{fails}.pth.tar":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(content, path)

    monkeypatch.setattr(checkpoint, "save", limited)
    flags = ["-b", "256", "-s", "1", "--epochs", "3", "--output-dir", str(tmp_path / "run")]
    assert main([*BASE, *flags]) == 0
    found = checkpoint.read(tmp_path / "run" / "model_best.pth.tar")
    assert (found["epoch"], found["best_accs"][-1]) == (best, {2: 90.0, 3: 60.0}[best])
    assert content(tmp_path / "run")["best_accs"] == found["best_accs"]


@pytest.mark.parametrize(("selected", "kept"), [("last", 2), ("validation", 1)])
def test_the_last_epoch_is_no_best_accuracy(selected, kept, tmp_path, monkeypatch):
    """With --select last, a model_best that failed took the accuracy of another epoch along."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "save", full)
    plain = {"selected_on": selected, "encoder": {"arch": "conv4"}}
    saver = RunSaver(tmp_path, SimpleNamespace(plain=lambda: plain))
    progress = Progress(best_accs=[0.0, 70.0], best_epochs=[None, 1])
    encoder = Encoder(EncoderConfig("conv4", "seq", dim=4, num_classes=3))
    saver(SimpleNamespace(progress=progress, method=SimpleNamespace(encoder=encoder)), True, True)
    assert saver.failed
    assert len(progress.best_accs) == kept
