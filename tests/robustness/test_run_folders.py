"""One folder, several runs: finished, damaged, and at the same time."""

import os

import pytest
import torch

from ancor.checkpoints import checkpoint
from ancor.cli.train import main
from tests.refusals import refused
from tests.robustness.runs import BASE, content, start, wait_for
from tests.robustness.test_full_disk import files_of_at_most

PLAIN = [flag for flag in BASE if flag not in ("--resume", "auto")]


def damage(path) -> None:
    """Change a byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def test_a_finished_run_is_replaced_again_and_again(tmp_path):
    """A1: --overwrite on a finished run deleted it and failed, as the second `make demo` did."""
    folder = tmp_path / "run"
    for steps in (3, 2, 1):
        command = [*PLAIN, "--max-steps", str(steps), "-p", "1", "--output-dir", str(folder)]
        assert main([*command, "--overwrite"]) == 0
        assert content(folder)["progress"]["step"] == steps
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        assert sum('"kind": "step"' in line for line in lines) == steps  # none of the run before
        assert len(list(folder.glob("events.*"))) == 1


def test_what_a_killed_save_left_is_replaced_too(tmp_path):
    """A1, another case: a folder that holds no whole file, only what was begun."""
    (tmp_path / "metrics.jsonl").write_text('{"kind": "st')
    (tmp_path / "last.pth.tar.tmp").write_bytes(b"x")
    command = [*PLAIN, "--max-steps", "1", "--output-dir", str(tmp_path), "--overwrite"]
    assert main(command) == 0
    assert not list(tmp_path.glob("*.tmp"))
    assert '{"kind": "st{' not in (tmp_path / "metrics.jsonl").read_text()


def test_what_killed_saves_left_goes_when_a_run_is_resumed(tmp_path):
    """Each has a name of its own: they would pile up."""
    command = [*PLAIN, "--output-dir", str(tmp_path)]
    assert main([*command, "--max-steps", "1"]) == 0
    for name in ("last.pth.tar.0a1b2c3d.tmp", "previous.pth.tar.tmp"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "mine.tmp").write_bytes(b"x")
    assert main([*command, "--max-steps", "2", "--resume", "auto"]) == 0
    assert [path.name for path in tmp_path.glob("*.tmp")] == ["mine.tmp"]


def kept_out(folder, capsys, *flags: str) -> None:
    """Assert that a run of this process is refused: the lock is another process's."""
    command = [*BASE, "--max-steps", "1", "--output-dir", str(folder), *flags]
    refused(main, command, capsys, repr(str(folder)))


def test_a_resumed_run_keeps_others_out(tmp_path, capsys):
    """A2: its own look at metrics.jsonl released the lock of a run that was resumed."""
    folder = tmp_path / "run"
    assert main([*BASE, "--max-steps", "2", "--output-dir", str(folder)]) == 0
    before = (folder / "last.pth.tar").stat().st_mtime_ns
    first = start(folder, "--save-minutes", "0.005", "-p", "1", "--epochs", "500")
    wait_for(lambda: (folder / "last.pth.tar").stat().st_mtime_ns != before, first)
    try:
        kept_out(folder, capsys)
        kept_out(folder, capsys, "--overwrite")
    finally:
        first.kill()
        first.wait()
    assert main([*BASE, "--max-steps", "1", "--output-dir", str(folder)]) == 0


def test_an_overwriting_run_keeps_others_out(tmp_path, capsys):
    """A2, another case: a run that replaced one."""
    folder = tmp_path / "run"
    assert main([*PLAIN, "--max-steps", "1", "--output-dir", str(folder)]) == 0
    before = (folder / "last.pth.tar").stat().st_ino
    flags = ["--overwrite", "--save-minutes", "0.005", "-p", "1", "--epochs", "500"]
    first = start(folder, *flags)

    def saved() -> bool:
        last = folder / "last.pth.tar"
        return (
            last.exists()
            and last.stat().st_ino != before
            and (folder / "previous.pth.tar").exists()
        )

    wait_for(saved, first)
    try:
        kept_out(folder, capsys)
    finally:
        first.kill()
        first.wait()


@pytest.fixture
def half_damaged(tmp_path):
    """A run's folder whose `previous` is whole and whose `last` is not."""
    folder = tmp_path / "run"
    for steps in ("2", "4"):
        assert main([*BASE, "--max-steps", steps, "--output-dir", str(folder)]) == 0
    damage(folder / "last.pth.tar")
    return folder


def test_a_damaged_file_does_not_replace_the_whole_one(half_damaged):
    """A3: the save after a resume from `previous` fails, and one whole file is still there."""
    with files_of_at_most(1000):
        assert main([*BASE, "--max-steps", "3", "--output-dir", str(half_damaged)]) == 1
    path, found = checkpoint.newest(half_damaged)
    assert (path.name, found["progress"]["step"]) == ("previous.pth.tar", 2)
    assert main([*BASE, "--max-steps", "3", "--output-dir", str(half_damaged)]) == 0
    assert checkpoint.read(half_damaged / "previous.pth.tar")["progress"]["step"] == 2
    assert content(half_damaged)["progress"]["step"] == 3


def test_a_file_that_is_damaged_while_its_run_goes_on(tmp_path):
    """A3, another case: damage to the very file that this process wrote."""
    config = {"encoder": {}, "data": {}, "training": {}, "format": 2}
    last, previous = tmp_path / "last.pth.tar", tmp_path / "previous.pth.tar"

    def save(epoch: int) -> checkpoint.Stamp:
        state = {"x": torch.full((1000,), epoch)}
        checkpoint.save({"epoch": epoch, "config": config, "state_dict": state}, last)
        return checkpoint.stamp(last)

    save(0)
    checkpoint.keep_as_previous(tmp_path, None)
    written = save(1)
    damage(last)
    checkpoint.keep_as_previous(tmp_path, written)
    assert checkpoint.read(previous)["epoch"] == 0
    written = save(2)
    checkpoint.keep_as_previous(tmp_path, written)
    assert checkpoint.read(previous)["epoch"] == 2
    assert os.path.samefile(last, previous)
