"""Data that changed since a file was written: classes and images are known by name (A4)."""

import json
import re

import pytest
import torch

from ancor.checkpoints import checkpoint
from ancor.cli import train, tsne
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from tests import made

COUNTS = {"cat": 12, "dog": 12, "owl": 12}
SMALL = ["--arch", "conv4", "--image-size", "16", "-b", "8", "--queue-k", "8", "--cst-dim", "8"]
SMALL += ["--mode", "coarse", "--precision", "fp32", "-j", "0", "--val-episodes", "0", "--quiet"]


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for number, (name, count) in enumerate(COUNTS.items()):
        for image in range(count):
            fine = f"{name}{image % 2}"
            made.write(root / "train" / name / fine / f"{image}.png", 100 * number + image)
            made.write(root / "test" / name / fine / f"{image}.png", 500 + 100 * number + image)
    return root


@pytest.fixture
def run(photos, tmp_path):
    """A run that was cut off within its second epoch of four steps."""
    folder = tmp_path / "run"
    command = ["--dataset", "folder", "--data", str(photos), *SMALL, "--epochs", "3"]
    assert train.main([*command, "--max-steps", "6", "--output-dir", str(folder)]) == 0
    return folder


def resumed(run, *flags):
    return train.main(["--resume", str(run / "last.pth.tar"), "--precision", "fp32", *flags])


def test_fewer_images_are_told_and_training_ends(run, photos, capsys):
    """A4: the position was beyond the end of the epoch, which never came."""
    for path in list((photos / "train").rglob("*.png"))[::2]:
        path.unlink()
    assert resumed(run) == 0
    out = capsys.readouterr().out
    assert "36 images then, 18 now" in out
    assert "begins again" in out
    assert torch.load(run / "last.pth.tar", weights_only=True)["epoch"] == 3


def test_other_images_of_the_same_names_are_told(run, photos, capsys):
    """A4: exchanged in silence."""
    made.write(photos / "train" / "cat" / "cat0" / "0.png", 7, size=(20, 20))
    assert resumed(run) == 0
    assert "36 images then, 36 now" in capsys.readouterr().out


def test_the_same_images_elsewhere_are_the_same(run, photos, tmp_path, capsys):
    moved = photos.rename(tmp_path / "moved")
    assert resumed(run, "--data", str(moved)) == 0
    assert "training images are not" not in capsys.readouterr().out


@pytest.mark.parametrize("change", ["renamed", "added", "removed"])
def test_other_classes_are_refused_and_nothing_is_lost(change, run, photos, capsys):
    """A4: a renamed folder moves the numbers of all classes behind it."""
    before = (run / "last.pth.tar").read_bytes()
    for partition in ("train", "test"):
        if change == "renamed":
            (photos / partition / "cat").rename(photos / partition / "zebra")
        elif change == "added":
            made.write(photos / partition / "bear" / "bear0" / "0.png")
        else:
            for path in (photos / partition / "owl").rglob("*.png"):
                path.unlink()
            for folder in sorted((photos / partition / "owl").iterdir()):
                folder.rmdir()
            (photos / partition / "owl").rmdir()
    assert resumed(run) == 2
    err = capsys.readouterr().err
    named = {"renamed": "'cat' then and 'dog' now", "added": "'bear' now", "removed": "'owl' then"}
    assert err.count("\n") == 1
    assert named[change] in err
    assert (run / "last.pth.tar").read_bytes() == before


@pytest.mark.parametrize("position", [5, 10**12])
def test_a_position_beyond_the_epoch_is_refused(position, run, capsys):
    """A4: a file with a huge position made a run that never ends."""
    path = run / "last.pth.tar"
    content = torch.load(path, weights_only=True)
    content["progress"]["position"] = position
    checkpoint.save({k: v for k, v in content.items() if k != "checksum"}, path)
    assert resumed(run) == 2
    assert f"after {position} batches of an epoch, which has 4" in capsys.readouterr().err


def test_files_tell_names_and_where_images_are(photos, tmp_path, monkeypatch, capsys):
    """A4: the folder of the images was kept as it was typed."""
    monkeypatch.chdir(photos.parent)
    command = ["--dataset", "folder", "--data", "photos", *SMALL, "--max-steps", "1"]
    assert train.main([*command, "--output-dir", "run"]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["root"] == str(photos)
    assert config["classes"] == list(COUNTS)
    monkeypatch.chdir("/")
    capsys.readouterr()
    flags = ["--model-path", str(tmp_path / "run" / "model_best.pth.tar"), "--partition", "test"]
    assert tsne.main([*flags, "--n_queries", "3"]) == 0
    out = capsys.readouterr().out
    assert f"Images are read from '{photos}'" in out
    assert "Coarse accuracy" in out


@pytest.mark.parametrize("change", ["subset", "other"])
def test_class_weights_go_by_name(change, run, photos, capsys):
    """A4: stars and the coarse accuracy were those of the classes of the same numbers."""
    if change == "subset":
        for partition in ("train", "test"):
            (photos / partition / "cat").rename(photos.parent / f"cat of {partition}")
    else:
        for partition in ("train", "test"):
            (photos / partition / "cat").rename(photos / partition / "zebra")
    flags = ["--model-path", str(run / "model_best.pth.tar"), "--partition", "test"]
    assert tsne.main([*flags, "--n_queries", "3"]) == 0
    out = capsys.readouterr().out
    assert ("taken by name from the 3" in out) == (change == "subset")
    assert ("trained on other classes ('cat' where" in out) == (change == "other")
    assert ("No stars are drawn" in out) == (change == "other")
    assert bool(re.search("Coarse accuracy", out)) == (change == "subset")


def test_a_classifier_keeps_the_rows_it_is_told():
    encoder = Encoder(EncoderConfig("conv4", "seq", dim=4, num_classes=3)).eval()
    images = torch.randn(2, 3, 16, 16)
    before = encoder(images).logits
    encoder.keep_classes([2, 0])
    assert torch.equal(encoder(images).logits, before[:, [2, 0]])
    encoder.keep_classes([])
    assert encoder(images).logits.shape == (2, 0)
