"""Data that changed since a file was written: classes and images are known by name (A4)."""

import json
import pickle
import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ancor.checkpoints import checkpoint
from ancor.checkpoints.classes import class_rows, match_classes
from ancor.cli import eval, train, tsne
from ancor.data.config import DataConfig
from ancor.data.hierarchy import Hierarchy
from ancor.evaluation.models import read_models
from ancor.fewshot.classifier import Classifier
from ancor.fewshot.image_encoder import ImageEncoder
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime import distributed
from ancor.runtime.devices import Runtime
from ancor.training.pictures import pictures_of
from ancor.training.resolve import resolve
from tests import made
from tests.refusals import refused, tells

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
    assert tells(out, "36 images", "18")
    assert tells(out, "epoch", "begins again")
    assert torch.load(run / "last.pth.tar", weights_only=True)["epoch"] == 3


def test_other_images_of_the_same_names_are_told(run, photos, capsys):
    """A4: exchanged in silence."""
    made.write(photos / "train" / "cat" / "cat0" / "0.png", 7, size=(20, 20))
    assert resumed(run) == 0
    assert tells(capsys.readouterr().out, "36 images", "36 now")


def test_classes_that_become_unequal_or_equal_begin_the_epoch_again(run, photos, capsys):
    """Its figures are counted by class where classes are unequal, and a resume was refused."""
    for name, flags in (("cat", ["--max-steps", "7"]), ("dog owl", [])):
        for each in name.split():
            (photos / "train" / each / f"{each}0" / "0.png").unlink()
        capsys.readouterr()
        assert resumed(run, *flags) == 0
        assert tells(capsys.readouterr().out, "epoch", "begins again")
    assert torch.load(run / "last.pth.tar", weights_only=True)["epoch"] == 3


def test_another_number_of_nodes_begins_the_epoch_again(run, capsys, monkeypatch):
    """Two of its four steps were done: of the two that it has on two nodes, none was left."""
    monkeypatch.setattr(distributed, "nodes", lambda: 2)
    assert resumed(run) == 0
    out = capsys.readouterr().out
    assert tells(out, "16 images now", "8 in")
    assert tells(out, "epoch", "begins again", "batches")
    content = torch.load(run / "last.pth.tar", weights_only=True)
    assert (content["epoch"], content["progress"]["step"]) == (3, 6 + 2 * 2)


def test_the_same_images_elsewhere_are_the_same(run, photos, tmp_path, capsys):
    moved = photos.rename(tmp_path / "moved")
    assert resumed(run, "--data", str(moved)) == 0
    assert not tells(capsys.readouterr().out, "36 images", "36 now")


def test_one_process_looks_at_the_images(photos, tmp_path, monkeypatch):
    """A4: each of several processes asked the disk for every file's size."""
    monkeypatch.setattr(distributed, "text_from_main", lambda make: "told by the first")
    command = ["--dataset", "folder", "--data", str(photos), *SMALL, "--max-steps", "1"]
    assert train.main([*command, "--output-dir", str(tmp_path / "run")]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["fingerprint"] == "told by the first"


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
    words = {"renamed": ["'cat'", "'dog'"], "added": ["'bear'", "4"], "removed": ["'owl'", "2"]}
    refused(lambda _: resumed(run), [], capsys, "last.pth.tar'", *words[change])
    assert (run / "last.pth.tar").read_bytes() == before


@pytest.mark.parametrize("position", [5, 10**12])
def test_a_position_beyond_the_epoch_is_refused(position, run, capsys):
    """A4: a file with a huge position made a run that never ends."""
    path = run / "last.pth.tar"
    content = torch.load(path, weights_only=True)
    content["progress"]["position"] = position
    checkpoint.save({k: v for k, v in content.items() if k != "checksum"}, path)
    refused(lambda _: resumed(run), [], capsys, repr(str(path)), str(position), "4")


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
    assert tells(out, f"'{photos}'", "model_best.pth.tar'")
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
    assert tells(out, "Notice", "by name", "3") == (change == "subset")
    assert tells(out, "Notice", "'cat'") == (change == "other")
    assert ("No stars" in out) == (change == "other")
    assert bool(re.search("Coarse accuracy", out)) == (change == "subset")


def test_a_model_keeps_the_classes_of_its_file(run, photos, tmp_path):
    """A classifier that was saved with such a model's network could not be read again."""
    for partition in ("train", "test"):
        (photos / partition / "cat").rename(photos.parent / f"cat of {partition}")
    path, runtime = str(run / "model_best.pth.tar"), Runtime(torch.device("cpu"))
    (model,), partition = read_models([path], {}, "test", runtime)
    whole, _ = checkpoint.load_encoder(path)
    assert torch.equal(model.network.class_weight, whole.class_weight[1:])
    assert torch.equal(model.saved.class_weight, whole.class_weight)
    assert model.saved.backbone is model.network.backbone
    encoder = ImageEncoder(model.saved, model.transforms, runtime, content=model.content)
    assert encoder.coarse_names == tuple(COUNTS)
    images = list(partition.images)
    classifier = Classifier(encoder, "Proto", 0).fit(images, partition.fine_labels)
    classifier.save(tmp_path / "classifier.ancor")
    again = Classifier.load(tmp_path / "classifier.ancor", device="cpu")
    assert (again.predict(images) == classifier.predict(images)).all()


def renamed(run, names, name="other.pth.tar"):
    """Write the run's file once more, as if its classes had other names."""
    content = torch.load(run / "last.pth.tar", weights_only=True)
    content["config"]["classes"] = names
    checkpoint.save({k: v for k, v in content.items() if k != "checksum"}, run / name)
    return str(run / name)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["owl", "cat", "dog"], ["by name", "3"]),
        (["cat", "cat", "owl"], ["'cat'", "'dog'"]),
        (["cat", "dog", "owl", "owl"], ["No stars"]),
        (["cat", "dog", "owl", "bee"], ["No stars"]),  # more names than the classifier has rows
    ],
)
def test_names_in_another_order_twice_or_too_many(names, told, run, photos, capsys):
    """A4: of a name that was there twice the first row was taken."""
    flags = ["--model-path", renamed(run, names), "--partition", "test", "--n_queries", "3"]
    assert tsne.main(flags) == 0
    out = capsys.readouterr().out
    assert tells(out, *told)
    assert ("No stars" in out) == ("by name" not in told)


def test_rows_go_by_name():
    assert class_rows(["a", "b", "c"], ("c", "a")) == [2, 0]
    assert class_rows(("a", "a"), ["a", "a"]) == [0, 1]
    for known, wanted in (("aab", "ab"), ("ab", "aa"), ("ab", "ac"), ("", "a")):
        assert class_rows(known, wanted) is None


def test_a_file_without_names_is_of_its_own_dataset(run, photos, caplog):
    """A4: the weights of an older file went by number to any data of as many classes."""
    path = renamed(run, [])
    encoder, content = checkpoint.load_encoder(path)
    partition = DataConfig("folder", str(photos)).load("test")
    assert match_classes(path, encoder, content, partition) is encoder
    with caplog.at_level("INFO"):
        matched = match_classes(path, encoder, content, replace(partition, dataset="digits"))
    assert len(matched.class_weight) == 0
    assert len(encoder.class_weight) == 3
    assert tells(caplog.text, repr(path), "'folder'", "'cat'")


@pytest.mark.parametrize("script", ["ensemble", "concat", "cascade"])
def test_several_files_are_of_the_same_classes(script, run, capsys):
    """A4: only the numbers of classes of several files were compared."""
    flags = ["--partition", "test", "--cls", "Proto", "--n-test-runs", "2", "--n-queries", "2"]
    mine = str(run / "last.pth.tar")
    for names, lacking in ((["bee", "cat", "dog"], "bee"), (["cat", "cat", "owl"], "dog")):
        both = ["--model-path", mine, renamed(run, names), *flags]
        refused(partial(eval.main, name=script), both, capsys, repr(mine), repr(lacking))
    paths = [renamed(run, ["owl", "cat", "dog"]), mine]
    assert eval.main(["--model-path", *paths, *flags], script) == 0


def test_a_cascade_of_other_classes_is_refused(run, photos, capsys):
    """A4: the coarse model's answers were taken for the data's classes of the same numbers."""
    for partition in ("train", "test"):
        (photos / partition / "cat").rename(photos / partition / "zebra")
    mine = str(run / "last.pth.tar")
    flags = ["--partition", "test", "--cls", "Proto", "--n-test-runs", "2"]
    words = [repr(mine), "classifier", "3 coarse", "'folder'"]
    main = partial(eval.main, name="cascade")
    refused(main, ["--model-path", mine, mine, *flags], capsys, *words)


@pytest.mark.parametrize("names", [("dog", "owl", "cat"), ("owl", "cat")])
def test_pictures_of_a_run_place_stars_by_name(names, photos, monkeypatch):
    """A4: a permutation of the classes, or fewer of them, had no stars."""
    encoder = Encoder(EncoderConfig("conv4", "seq", dim=4, num_classes=3)).eval()
    partition = DataConfig("folder", str(photos)).load("test")
    order = np.array(
        [names.index(n) if n in names else -1 for n in partition.hierarchy.coarse_names]
    )
    kept = np.flatnonzero(order[partition.coarse_labels] >= 0)
    partition = partition.subset(kept)
    hierarchy = Hierarchy(names, partition.hierarchy.fine_names, (0,) * 6)
    partition = replace(
        partition, hierarchy=hierarchy, coarse_labels=order[partition.coarse_labels]
    )
    config = resolve({"dataset": "folder", "mode": "coarse", "image_size": 16})[0]
    config = replace(config, classes=tuple(COUNTS))
    drawn = pictures_of(config, encoder, partition, Runtime(torch.device("cpu")))
    seen = []

    def project(points, weights, **_):
        seen.append(weights)
        return np.zeros((len(points), 2)), np.zeros((0, 2))

    monkeypatch.setattr("ancor.training.pictures.project", project)
    monkeypatch.setattr("ancor.training.pictures.figure", lambda layout: layout)
    monkeypatch.setattr("ancor.training.pictures.pixels", lambda _: np.zeros((1, 1, 3), np.uint8))
    drawn(SimpleNamespace(picture=lambda *_: None), 0)
    expected = encoder.class_weight[[list(COUNTS).index(name) for name in names]]
    assert np.array_equal(seen[0], expected.detach().numpy())


def test_pictures_of_a_run_say_that_they_have_no_stars(photos, caplog):
    encoder = Encoder(EncoderConfig("conv4", "seq", dim=4, num_classes=3)).eval()
    partition = DataConfig("folder", str(photos)).load("test")
    config = resolve({"dataset": "folder", "mode": "coarse", "image_size": 16})[0]
    with caplog.at_level("INFO"):
        pictures_of(
            replace(config, classes=("bee", "cat", "dog")),
            encoder,
            partition,
            Runtime(torch.device("cpu")),
        )
    assert tells(caplog.text, "t-SNE", "no stars", "'test'")


def test_classes_of_tiered_without_names_are_of_one_partition(tmp_path):
    """A4: 'class 0' of training and of validation are different classes."""
    made.tiered(tmp_path)
    for path in tmp_path.rglob("*_labels.pkl"):
        content = pickle.loads(path.read_bytes())
        named = {k: v for k, v in content.items() if not k.endswith("_str")}
        path.write_bytes(pickle.dumps(named))
    data = DataConfig("tiered", str(tmp_path))
    train, validation = (data.load(name).hierarchy for name in ("train", "validation"))
    for mode in ("coarse", "fine"):
        assert not set(train.names(mode)) & set(validation.names(mode))


def test_a_classifier_keeps_the_rows_it_is_told():
    encoder = Encoder(EncoderConfig("conv4", "seq", dim=4, num_classes=3)).eval()
    images = torch.randn(2, 3, 16, 16)
    before = encoder(images).logits
    assert torch.equal(encoder.with_classes([2, 0])(images).logits, before[:, [2, 0]])
    assert encoder.with_classes([])(images).logits.shape == (2, 0)
    assert torch.equal(encoder(images).logits, before)
