"""Disks that fill up, and files that vanish."""

import errno
import os
import resource
from contextlib import contextmanager, nullcontext

import pytest
import torch

from ancor.checkpoints import checkpoint
from ancor.cli.train import main
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
