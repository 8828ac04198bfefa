"""E25: what nearly matches is suggested, for whatever is named; no value is echoed at length."""

import re
import subprocess
import sys
import time

import pytest

from ancor import __main__ as toolkit
from ancor.checkpoints import checkpoint
from ancor.cli import compare, export, inspect, train
from ancor.cli.arguments import Parser
from ancor.cli.ending import run
from ancor.errors import InputError, capped, choose, did_you_mean
from ancor.runtime.from_dict import from_dict
from ancor.training.config import TrainConfig
from tests.refusals import holds, one_line, refused, refuses
from tests.robustness.runs import ROOT

LONG = "x" * 2**20


def suggested(value: str, meant: str) -> re.Pattern:
    """The form of a line in which a name is told for a value, before anything else is."""
    return re.compile(rf"(?<!\S){re.escape(value)}[^;]* {re.escape(meant)}(?![\w-])")


@pytest.mark.parametrize(
    ("flags", "meant"),
    [
        (["-lr", "0.1"], {"-lr": "--lr"}),
        (["--epocs", "3", "--lr", "1", "--batchsize=3"], {"--epocs": "--epochs"}),
        (["--epocs", "3", "--lr", "1", "--batchsize=3"], {"--batchsize": "--batch-size"}),
        (["-lr", "1", "--momentun", "1", "-wd", "1"], {"-wd": "--wd", "--momentun": "--momentum"}),
        (["--batch", "3"], {"--batch": "--batch-size"}),
        (["-arch", "conv4"], {"-arch": "--arch"}),
        (["--Epochs", "3"], {"--Epochs": "--epochs"}),
        (["--num-epochs", "3", "--print_frq", "2"], {"--print_frq": "--print-freq"}),
    ],
)
def test_every_unknown_flag_is_compared(flags, meant, capsys):
    """E25: only the first long one was."""
    words = [suggested(flag, known) for flag, known in meant.items()]
    refused(train.main, ["--dataset", "digits", "--mode", "coarse", *flags], capsys, *words)


@pytest.mark.parametrize("flag", ["--model-pth", "--model_pth", "--modelpath", "-model-path"])
def test_a_misspelt_flag_is_told_where_another_is_missing(flag, capsys):
    """E25: only `--model-path` was told, as missing."""
    line = refused(export.main, [flag, "x"], capsys, suggested(flag, "--model-path"))
    assert line.count(" --model-path") == 2  # what is missing, and what was meant


def test_a_misspelt_flag_is_told_where_another_has_no_value(capsys):
    """E25, another case: an error of any other flag hid it."""
    words = ["--lr", "'fast'", suggested("--epocs", "--epochs")]
    refused(train.main, ["--epocs", "3", "--lr", "fast"], capsys, *words)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["-b64", "--lr", "0"], "--lr 0.0"),
        (["-p", "-5"], "--print-freq -5"),
        (["--lr", "-0.1"], "--lr -0.1"),
    ],
)
def test_values_are_no_flags(flags, told, capsys):
    """E25, the other way: a value behind a short flag, or below 0, is not compared."""
    line = refused(train.main, ["--dataset", "digits", "--mode", "coarse", *flags], capsys, told)
    assert "?" not in line


@pytest.mark.parametrize(
    ("value", "accepted", "meant"),
    [
        ("val", ["train", "validation", "test"], ["validation"]),
        ("valid", ["train", "validation", "test"], ["validation"]),
        ("tst", ["train", "validation", "test"], ["test"]),
        ("t", ["train", "validation", "test"], ["train", "test"]),
        ("fashion", ["fashion-mnist", "digits"], ["fashion-mnist"]),
        ("mnist", ["fashion-mnist", "digits"], ["fashion-mnist"]),
        ("CIFAR_100", ["cifar100", "digits"], ["cifar100"]),
        ("lr", ["LR", "KNN", "Proto", "NN", "Cosine"], ["LR"]),
        ("cosin", ["LR", "KNN", "Proto", "NN", "Cosine"], ["Cosine"]),
        ("neighbors", list(toolkit.COMMANDS), ["neighbors"]),
        ("check", list(toolkit.COMMANDS), ["check-data"]),
        ("a", ["ab", "ac", "ad", "ae"], []),  # too many to be of use
        ("", ["train", "test"], []),
        ("--", ["--lr"], []),
        ("nothing", ["train", "test"], []),
    ],
)
def test_what_begins_with_a_value_or_is_like_it_is_suggested(value, accepted, meant):
    """E25: `val` got no suggestion; it is too short to be like `validation`."""
    found = did_you_mean(value, accepted)
    assert [name for name in accepted if holds(found, name)] == meant
    assert bool(found) == bool(meant)


def test_settings_of_files_are_suggested_too():
    """E25, another case: a setting's name in config.json."""
    with refuses(suggested("'epocs'", "epochs")):
        from_dict(TrainConfig, {"epocs": 3}, "x")


@pytest.mark.parametrize("value", [LONG, "train" * 2**18, "\n" * 2**20])
def test_a_long_value_is_neither_compared_nor_echoed(value):
    """E25: a value of a megabyte came back on the terminal."""
    started = time.perf_counter()
    with refuses("partition", "test") as refusal:
        choose("partition", value, ("train", "validation", "test", "y" * 2**20))
    assert len(str(refusal.value)) < 500
    assert time.perf_counter() - started < 1


def test_no_message_of_a_command_is_long(capsys):
    """E25, another case: any message, whatever names are in it, keeps its begin and its end."""

    def command(_):
        raise InputError(f"class {LONG!r} is odd; rename it")

    assert run(Parser(prog="x"), command, []) == 2
    said = capsys.readouterr().err
    assert len(said) < 5000
    assert said.startswith("x: error: class 'xxx")
    assert said.endswith("xxx' is odd; rename it\n")


def test_command_lines_of_any_length_are_refused_in_a_line(capsys):
    """E25, other cases: flags and commands as long as the system lets them be."""
    started = time.perf_counter()
    for flags in (["--" + LONG], ["--epochs", LONG], [f"--x{n}" for n in range(2000)]):
        assert len(refused(train.main, flags, capsys)) < 5000
    assert toolkit.main([LONG]) == 2
    assert len(capsys.readouterr().err) < 5000
    assert time.perf_counter() - started < 5


def test_a_wrong_command_is_suggested_by_its_begin():
    """E25: `ancor neigh` and the like, as a user types it."""
    for typed, meant in (("neigh", "neighbors"), ("evl", "eval"), ("comp", "compare")):
        ended = subprocess.run(
            [sys.executable, "-m", "ancor", typed], capture_output=True, text=True, cwd=ROOT
        )
        assert ended.returncode == 2
        one_line(ended.stderr, suggested(repr(typed), meant))


def test_lists_of_names_are_capped_wherever_they_are_told(tmp_path, quick_run, capsys):
    """C20: `inspect` printed all class names, cut without a word; other cases beside it."""
    content = dict(checkpoint.read(quick_run / "model_best.pth.tar"))
    names = [f"class {number}" for number in range(3)]
    content["config"] = {**content["config"], "classes": ["z" * 9999, *names[1:]]}
    path = tmp_path / "model.pth.tar"
    checkpoint.save(content, path)
    assert inspect.main([str(path)]) == 0
    (named,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("named")]
    assert named.endswith("z..., class 1, class 2")
    assert len(named) < 300
    refused(compare.main, [str(quick_run)] * 900, capsys, "895")
    flags = ["--mode", "coarse", "--loss-types", *map(str, range(900))]
    refused(train.main, flags, capsys, "895")
    flags = ["--mode", "coarse", "--crop-scale", "1" * 300, "2"]
    assert len(refused(train.main, flags, capsys)) < 300


def test_capped_lists_say_how_many_more_there_are():
    """C20: the one helper caps the number of names and the length of each."""
    assert capped(["a", "b"]) == "a, b"
    assert capped(map(str, range(9000)), most=3) == "0, 1, 2 and 8997 more"
    assert len(capped([LONG] * 100)) < 1200
