"""One folder, several runs: finished, damaged, and at the same time."""

import os

import pytest
import torch

from ancor.checkpoints import checkpoint
from ancor.cli.train import main
from ancor.errors import InputError
from ancor.training.validation import Validator
from tests.refusals import refused, tells
from tests.robustness.runs import BASE, content, start, wait_for
from tests.robustness.test_full_disk import files_of_at_most
from tests.training.steps import at_each_step

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


@pytest.mark.slow
def test_an_overwriting_run_keeps_others_out(tmp_path, capsys):
    """A2, another case: a run that replaced one, of which nothing could be resumed."""
    folder = tmp_path / "run"
    assert main([*PLAIN, "--max-steps", "1", "--output-dir", str(folder)]) == 0
    (folder / "last.pth.tar").unlink()
    flags = ["--overwrite", "--save-minutes", "0.005", "-p", "1", "--epochs", "500"]
    first = start(folder, *flags)

    wait_for((folder / "previous.pth.tar").exists, first)
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


def files(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("how", ["auto", "file", "link"])
def test_overwrite_removes_nothing_of_a_run_that_goes_on(how, tmp_path, monkeypatch):
    """The checkpoint was read, and its folder emptied: a kill before the next save lost the run."""
    folder, link = tmp_path / "run", tmp_path / "link.pth.tar"
    command = [*PLAIN, "--epochs", "2", "--output-dir", str(folder)]
    assert main([*command, "--max-steps", "16", "--keep-epochs", "0"]) == 0
    link.symlink_to(folder / "last.pth.tar")
    before, seen = files(folder), []
    assert {"last.pth.tar", "model_best.pth.tar", "checkpoint_0000.pth.tar"} <= before.keys()
    at_each_step(monkeypatch, lambda *_: seen.append(files(folder)))
    resume = {"auto": "auto", "file": str(folder / "last.pth.tar"), "link": str(link)}[how]
    assert main([*command, "--max-steps", "17", "--overwrite", "--resume", resume]) == 0
    (at_first_step,) = seen
    for name, data in before.items():
        if name not in ("config.json", "command.txt"):
            assert at_first_step[name].startswith(data), name
    assert tells((folder / "log.txt").read_text(), "--overwrite", "goes on")


def test_a_run_that_cannot_start_leaves_the_one_that_it_was_to_replace(
    tmp_path, monkeypatch, capsys
):
    """Where nobody was logged in at a tracker, the earlier run was gone before that was told."""
    command = [*PLAIN, "--max-steps", "1", "--output-dir", str(tmp_path / "run")]
    assert main(command) == 0
    before = files(tmp_path / "run")

    def refuse(*_: object) -> None:
        raise InputError("`log` wandb: nobody is logged in")

    monkeypatch.setattr("ancor.training.run.open_tracker", refuse)
    refused(main, [*command, "--overwrite"], capsys, "--log", "wandb")
    assert files(tmp_path / "run") == before


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """A run whose one validation came to 90%; the next one comes to 50%."""
    scores = iter([0.9, 0.5])
    monkeypatch.setattr(Validator, "__call__", lambda _: {"5-way": (next(scores), 0.1)})
    folder = tmp_path / "chosen"
    command = [*PLAIN, "--epochs", "2", "--max-steps", "1", "--output-dir", str(folder)]
    assert main(command) == 0
    return folder


def elsewhere(chosen, folder, *flags: str) -> list[str]:
    """Return a command that takes a step more of a run in another folder."""
    resume = ["--resume", str(chosen / "last.pth.tar"), "--output-dir", str(folder)]
    return [*resume, "--max-steps", "2", "--precision", "fp32", *flags]


@pytest.mark.parametrize("best", ["its own", "missing", "of another accuracy", "the last epoch"])
def test_a_run_that_goes_on_elsewhere_has_the_best_encoder_that_it_tells_of(best, chosen, tmp_path):
    """The accuracy went along and its encoder did not: no file held what the end reported."""
    path, folder = chosen / "model_best.pth.tar", tmp_path / "run"
    content = {k: v for k, v in checkpoint.read(path).items() if k != "checksum"}
    if best == "missing":
        path.unlink()
    elif best == "of another accuracy":
        checkpoint.save({**content, "best_accs": [0.0, 95.0]}, path)
    elif best == "the last epoch":
        content["config"] = {**content["config"], "selected_on": "last"}
        checkpoint.save(content, path)
    assert main(elsewhere(chosen, folder)) == 0
    kept, said = best == "its own", (folder / "log.txt").read_text()
    found = checkpoint.read(folder / "model_best.pth.tar")
    assert found["best_accs"] == [0.0, 90.0 if kept else 50.0]
    assert checkpoint.read(folder / "last.pth.tar")["best_accs"] == found["best_accs"]
    assert tells(said, "Best validation accuracy", "90.00" if kept else "50.00")
    assert tells(said, "90.00", repr(str(chosen)), "begin anew") != kept
    if kept:
        assert (folder / "model_best.pth.tar").read_bytes() == path.read_bytes()


def test_a_run_does_not_go_on_in_the_folder_of_another(chosen, tmp_path, capsys):
    """Its figures were appended to the other's, whose model_best stayed and was advertised."""
    folder = tmp_path / "run"
    own = ["--val-episodes", "0", "--max-steps", "1", "--output-dir", str(folder)]
    assert main([*PLAIN, *own]) == 0
    before = files(folder)
    words = [repr(str(folder)), "--resume auto", "--overwrite"]
    refused(main, elsewhere(chosen, folder, "--quiet"), capsys, *words)
    assert files(folder) == before
    assert main(elsewhere(chosen, folder, "--overwrite", "-p", "1")) == 0
    assert content(folder)["progress"]["step"] == 2
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert sum('"kind": "step"' in line for line in lines) == 1  # none of the run before
