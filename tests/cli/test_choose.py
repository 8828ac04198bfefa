"""ancor choose as a user meets it: its table, its report, its refusals."""

import json

import numpy as np
import pytest
from PIL import Image

from ancor.cli import choose
from ancor.data.config import DataConfig
from tests.refusals import refused, tells


@pytest.fixture
def command(quick_run, tmp_path):
    """The flags that every use needs: three digits of 4 images each."""
    partition = DataConfig("digits").load("train")
    for label in (1, 4, 6):
        (tmp_path / "images" / str(label)).mkdir(parents=True)
        for n, index in enumerate(np.flatnonzero(partition.fine_labels == label)[:4].tolist()):
            pixels = partition.images[index].numpy().transpose(1, 2, 0)
            Image.fromarray(pixels).save(tmp_path / f"images/{label}/{n}.png")
    model = str(quick_run / "model_best.pth.tar")
    return ["--model-path", model, "--support", str(tmp_path / "images"), "--device", "cpu"]


def test_a_table_of_encoders_and_classifiers_and_what_to_take(command, capsys, tmp_path):
    path = tmp_path / "choice.json"
    names = ["LR", "Ridge", "Proto"]
    assert choose.main([*command, "--cls", *names, "--json", str(path)]) == 0
    shown = capsys.readouterr().out
    report = json.loads(path.read_text())
    assert report["images"] == 12
    assert sorted(each["classifier"] for each in report["candidates"]) == sorted(names)
    assert tells(shown, "Take", report["take"]["classifier"])
    for each in report["candidates"]:
        low, high = each["ci95"]
        assert low <= each["accuracy"] <= high
        assert tells(shown, each["classifier"], f"{each['accuracy']:.1f}", f"{low:.1f}-{high:.1f}")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--cls", "BD-CSPN"], ["BD-CSPN", "Ridge"]),
        (["--cls", "LR", "LR"], ["LR"]),
        (["--C", "nan"], ["--C", "nan", "auto"]),
        (["--C", "10", "--cls", "Proto", "NN"], ["--C", "10", "Proto NN", "LR"]),
        (["--n-augmentations", "-1"], ["--n-augmentations", "-1"]),
        (["--support", "/nowhere"], ["/nowhere"]),
    ],
)
def test_bad_settings_are_refused_in_one_line(command, capsys, flags, words):
    refused(choose.main, [*command, *flags], capsys, *words)


def test_encoders_have_to_be_named(command, capsys):
    refused(choose.main, command[2:], capsys, "--model-path", "--arch")
