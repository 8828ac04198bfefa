"""A9, D21: names in reports and tables."""

import csv
import io
import json
import logging
import os
import subprocess
import sys

import pytest

from ancor.cli import board, export, predict
from ancor.cli.train import main as train
from ancor.fewshot.search import table
from ancor.runtime.logging import configure_console
from ancor.runtime.text import check_utf8, printable, shortened, write_csv
from ancor.safe_io.own_files import recognized
from tests import made
from tests.refusals import refused, refuses, tells

BYTES = os.fsdecode(b"d\xff\xfe")  # what no UTF-8 has


def test_what_steers_a_terminal_is_escaped_and_other_scripts_are_not():
    assert printable("a\x1b[31m\n\u202e\udcff\x85\u2028") == r"a\x1b[31m\n\u202e\udcff\x85\u2028"
    for name in ("Äpfel und 漢字", "a\u3000b\xa0c", "مرحبا"):
        assert printable(name) == name
    stream = io.StringIO()
    configure_console(stream=stream)
    logging.getLogger("ancor").warning("%s\nb", "\x1b[2J")
    assert stream.getvalue() == "\\x1b[2J\nb\n"


def test_long_names_keep_their_ends():
    assert shortened("abc", 3) == "abc"
    assert shortened("abcdefghij1", 9) == "abcde…ij1"
    assert len(shortened("x" * 500, 40)) == 40


def test_cells_that_a_spreadsheet_would_compute_are_quoted(tmp_path):
    evil = ["=1+2", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "＝1+2"]
    table = tmp_path / "t.csv"
    write_csv(table, ["name", "number"], [[name, -1.5] for name in [*evil, 'a"b,c\nd', "\udcff"]])
    content = table.read_bytes().decode("utf-8")
    assert len(content.splitlines()) == 10
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    assert [row[0] for row in rows[:7]] == ["'" + printable(name) for name in evil]
    assert [row[0] for row in rows[7:]] == ['a"b,c\\nd', r"\udcff"]
    assert {row[1] for row in rows} == {"-1.5"}  # numbers stay numbers


def test_negative_numbers_of_so_many_decimals_are_read_as_numbers(tmp_path):
    """Similarities go from -1 to 1, and those below 0 were text."""
    row = {"path": "a.png", "matches": [{"path": "b.png", "similarity": -0.25, "class": None}]}
    write_csv(tmp_path / "t.csv", *table([row]))
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        (line,) = csv.DictReader(file)
    assert line["similarity"] == "-0.250000"
    for text in ("-0.25-1", "-1e9", "--1", "-.5", "-1,5"):
        write_csv(tmp_path / "t.csv", ["name"], [[text]])
        with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
            assert list(csv.reader(file))[1] == ["'" + text]


def test_the_package_writes_tables_in_one_place():
    from tests.test_architecture import modules

    texts = {path.name: path.read_text(encoding="utf-8") for path in modules().values()}
    assert [name for name, text in texts.items() if "csv.writer" in text] == ["text.py"]


def tree(root, classes=("a", "b", BYTES), images=4):
    for number, name in enumerate(classes):
        for k in range(images):
            folder = root / name
            folder.mkdir(parents=True, exist_ok=True)
            made.picture(10 * number + k, (32, 32)).save(folder / f"{k}{BYTES}.png", "PNG")
    return root


FLAGS = ["--dataset", "folder", "--mode", "coarse", "--image-size", "32", "--arch", "conv4"]
FLAGS += ["-b", "8", "--queue-k", "8", "--max-steps", "1", "--workers", "0", "--quiet"]
FLAGS += ["--device", "cpu"]


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory):
    """A run on data in a folder whose name is no UTF-8."""
    root = tmp_path_factory.mktemp("odd")
    data = tree(root / BYTES / "train").parent
    assert train([*FLAGS, "--data", str(data), "--output-dir", str(root / "run")]) == 0
    return root


def test_data_in_a_folder_of_bytes_trains_and_its_command_can_be_repeated(odd_run):
    """A9: a traceback came after config.json was written."""
    run = odd_run / "run"
    assert (run / "model_best.pth.tar").is_file()
    assert tells(str(recognized(run / "config.json")), "config.json")
    again = [*FLAGS[-3:], "--config", str(run / "config.json"), "--output-dir", str(odd_run / "2")]
    assert train(again) == 0  # JSON's escapes read back to the same path
    assert json.loads((run / "config.json").read_text())["data"]["root"] == str(odd_run / BYTES)
    assert (run / "command.txt").is_file()


def test_an_output_folder_of_bytes_is_refused_before_anything_is_written(odd_run, capsys):
    """A9: TensorBoard has no such names."""
    data, out = str(odd_run / BYTES), odd_run / f"out{BYTES}"
    words = [r"/outd\udcff\udcfe'", "UTF-8", "TensorBoard"]
    flags = [*FLAGS, "--data", data, "--output-dir", str(out)]
    refused(train, flags, capsys, "--output-dir", *words)
    assert not out.exists()
    model = str(odd_run / "run" / "model_best.pth.tar")
    assert board.main(["--model-path", model, "--output-dir", str(out)]) == 2
    assert not out.exists()
    with refuses(*words):
        check_utf8("--output-dir", out)


@pytest.mark.parametrize("to", ["safetensors", "onnx", "pt2"])
def test_exports_go_into_folders_of_bytes(to, odd_run):
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    folder = odd_run / BYTES
    source = folder / "model.pth.tar"
    source.write_bytes((odd_run / "run" / "model_best.pth.tar").read_bytes())
    assert export.main(["--model-path", str(source), "--to", to]) == 0
    assert (folder / f"model.{to}").is_file()
    assert recognized(folder / f"model.{to}") is not None


def test_predictions_of_files_of_bytes_print_where_the_console_is_ascii(odd_run):
    model = odd_run / "run" / "model_best.pth.tar"
    code = "import sys; from ancor.cli.predict import main; sys.exit(main(sys.argv[1:]))"
    support = tree(odd_run / "support")
    command = [sys.executable, "-c", code, "--model-path", model, "--support", support]
    command += ["--query", support, "--device", "cpu", "--csv", odd_run / BYTES / "t.csv"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=env)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 13
    (odd_run / BYTES / "t.csv").read_text(encoding="utf-8")
    assert predict.main([*map(str, command[3:-1]), str(odd_run / BYTES / "no" / "t.csv")]) == 0
