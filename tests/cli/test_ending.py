"""How commands end where their output goes nowhere, and what is told of an OSError."""

import argparse
import errno
import os
import subprocess
import sys

import pytest

from ancor.cli.arguments import Parser
from ancor.cli.ending import ENVIRONMENT, run
from ancor.errors import Interrupted
from tests.refusals import one_line, refused
from tests.robustness.runs import BASE, ROOT, content


def unread(*command: str, **streams: object) -> subprocess.CompletedProcess:
    """Run a command whose standard output nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [sys.executable, *command],
            stdout=writer,
            cwd=ROOT,
            timeout=120,
            **{"stderr": subprocess.PIPE, **streams},
        )
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "ancor"],
        ["-m", "ancor", "--help"],
        ["-m", "ancor", "completion", "bash"],
        ["-m", "ancor", "check-data", "--dataset", "digits"],
        ["eval.py", "--help"],
    ],
    ids=" ".join,
)
def test_a_reader_that_goes_away_is_no_error(command):
    """A8: `| head` printed "Broken pipe: None; mend it and try again"."""
    ended = unread(*command)
    assert ended.returncode in (0, 141)  # argparse of Python 3.11 passes over some of it itself
    assert ended.stderr == b""


def test_errors_keep_their_status_where_nobody_reads_them():
    """A8, another case: standard error is the pipe that is closed."""
    ended = unread("-m", "ancor", "inspect", "nothing", stderr=subprocess.STDOUT)
    assert ended.returncode == 2


def test_a_full_disk_under_the_output_is_one_line():
    """A8, another case: the output is a file, and its disk is full."""
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "ancor", "completion", "bash"],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
    assert ended.returncode == 1
    one_line(ended.stderr.decode(), os.strerror(errno.ENOSPC))


@pytest.mark.slow
def test_training_that_nobody_reads_saves_and_ends(tmp_path):
    """A8: each line that it could not print was a traceback."""
    folder = tmp_path / "run"
    loud = [flag for flag in BASE if flag != "--quiet"]
    ended = unread("train.py", *loud, "-p", "1", "--epochs", "500", "--output-dir", str(folder))
    assert (ended.returncode, ended.stderr) == (141, b"")
    assert content(folder)["progress"]["step"] >= 1


def ends(error: Exception) -> int:
    def command(args: argparse.Namespace) -> None:
        raise error

    return run(Parser(prog="x"), command, [])


def test_an_environments_error_without_a_file_is_told_without_one(capsys):
    """A8: no message prints None for a file."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "None" not in refused(ends, full, capsys, full.strerror, status=1)
    for number, name in ((errno.EACCES, "a"), (errno.EINVAL, "a:b")):  # a name the disk refuses
        error = OSError(number, os.strerror(number), name)
        refused(ends, error, capsys, error.strerror, repr(name), status=1)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ESPIPE, None])
def test_a_programming_error_keeps_its_traceback(number):
    """A8: an append handle that was truncated ended in "Invalid argument: None"."""
    error = OSError("odd") if number is None else OSError(number, os.strerror(number))
    assert number not in ENVIRONMENT
    with pytest.raises(OSError, match=r"odd|\w"):
        ends(error)


def test_no_line_of_the_package_prints_a_missing_file_name():
    """A8: an error's file is told where it has one; elsewhere only its text."""
    named = [
        path
        for path in (ROOT / "ancor").rglob("*.py")
        if "error.filename!r" in path.read_text(encoding="utf-8")
    ]
    assert [path.name for path in named] == ["ending.py"]


def test_what_a_signal_left_names_flags(capsys):
    """A message names settings, also one that is no error; the command shows its flags."""
    assert ends(Interrupted(15, "stopped; go on by `debug`, not by `resume`")) == 143
    assert capsys.readouterr().err == "x: stopped; go on by --debug, not by `resume`\n"
