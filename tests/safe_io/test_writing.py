"""Files are whole or as before, whatever writes them; tables have one printer."""

import errno
import json
import os
import re
import threading
from pathlib import Path

import pytest

from ancor.cli import eval as evaluation
from ancor.runtime.text import columns, write_csv
from ancor.safe_io.writing import atomic_write, output_path, replacing, write_result
from tests.refusals import refuses

ROOT = Path(__file__).parents[2]
# What appends, is written into a name that `replacing` gave, or (pack.py) names a file at its end
# that several starts may have written.
OTHERS = {"export.py": 1, "formats.py": 1, "pack.py": 1, "thumbnails.py": 1}


def _write_half(path, error):
    with atomic_write(path) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, ValueError])
def test_an_error_leaves_the_file_as_it_was(tmp_path, error):
    path = tmp_path / "x"
    path.write_bytes(b"before")
    with pytest.raises(error):
        _write_half(path, error)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["x"]


def test_a_csv_whose_rows_fail_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError):
        write_csv(path, ["a"], ([1 / n] for n in (1, 0)))
    assert path.read_text() == "before"


def test_a_table_is_on_the_disk_line_by_line(tmp_path):
    """Features of a dataset as CSV filled the memory with their whole text."""
    sizes = []

    def rows():
        for number in range(5):
            sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
            yield [number, "x" * 100_000]

    write_csv(tmp_path / "table.csv", ["number", "text"], rows())
    assert sizes[-1] >= 300_000
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 6


@pytest.mark.parametrize("name", ["results.json", "x" * 255, "\u4e2d" * 85])
def test_a_full_disk_leaves_a_result_as_it_was(tmp_path, monkeypatch, name):
    path = tmp_path / name
    write_result(path, "before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write_result(path, "after" * 1000)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == [name]


def test_evaluation_writes_its_results_whole(quick_run, tmp_path, monkeypatch, capsys):
    replaced, real = [], os.replace
    monkeypatch.setattr("os.replace", lambda a, b: (replaced.append(Path(b).name), real(a, b)))
    files = [str(tmp_path / name) for name in ("x.json", "x.csv")]
    command = ["--model-path", str(quick_run / "model_best.pth.tar"), "--n-test-runs", "3"]
    assert evaluation.main([*command, "--json", files[0], "--csv", files[1]]) == 0
    assert sorted(replaced) == ["x.csv", "x.json"]
    assert len(json.loads(Path(files[0]).read_text())["results"]) == 2


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("before")
    link.symlink_to("target")
    write_result(link, "after")
    assert link.is_symlink()
    assert target.read_text() == "after"


def test_a_checkpoints_name_that_is_a_link_is_replaced(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("before")
    link.symlink_to("target")
    with atomic_write(link) as file:
        file.write(b"after")
    assert not link.is_symlink()
    assert target.read_text() == "before"


def test_pipes_and_devices_are_written_into(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_result(pipe, "a line")
    reader.join()
    assert found == [b"a line"]
    assert pipe.is_fifo()
    write_result("/dev/null", "nothing")
    assert Path("/dev/null").is_char_device()


def test_a_file_that_may_not_be_written_to_stays(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_text("before")
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write to everything
    with pytest.raises(PermissionError):
        write_result(path, "after")
    assert path.read_text() == "before"


def test_writers_at_once_have_names_of_their_own(tmp_path):
    path = tmp_path / "x"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"


def test_nothing_else_in_the_package_writes_or_renames_a_file():
    writes = r"os\.replace|\.write_text\(|\.write_bytes\(|mkstemp|open\([^)\n]*\"[wx]b?\""
    found = {}
    for path in (ROOT / "ancor").rglob("*.py"):
        count = len(re.findall(writes, path.read_text(encoding="utf-8")))
        if count and path.name != "writing.py":
            found[path.name] = count
    assert found == OTHERS


def test_columns_lie_below_each_other():
    rows = [["name", "n", "m"], ["a", "10", ""], ["long name", "5", "x"]]
    assert list(columns(rows)) == ["name       n   m", "a          10", "long name  5   x"]
    right = ["name        n  m", "a          10", "long name   5  x"]
    assert list(columns(rows, right=2)) == right
    assert list(columns([])) == []


def test_a_pipe_that_a_result_goes_to_is_not_opened_before(tmp_path):
    """Its reader ended at the check, and the command waited for another at the end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert output_path(str(pipe)) == pipe
    reader.join(0.2)
    assert reader.is_alive()
    write_result(pipe, "a line")
    reader.join(10)
    assert found == [b"a line"]


def test_a_file_whose_folder_cannot_be_written_into_is_refused_before_the_work(
    tmp_path, monkeypatch
):
    path = tmp_path / "results.json"
    path.write_text("before")
    link = tmp_path / "link"
    link.symlink_to(path)
    able = os.access
    monkeypatch.setattr("os.access", lambda of, how: str(of) != str(tmp_path) and able(of, how))
    for name in (path, link):
        with refuses(str(name)):
            output_path(str(name))
    with refuses("x" * 300):
        output_path(str(tmp_path / ("x" * 300)))
    assert output_path("/dev/null") == Path("/dev/null")
    assert path.read_text() == "before"
