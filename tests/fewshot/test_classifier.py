"""FewShotClassifier against evaluation's classifiers, scikit-learn, and plain loops."""

import copy
import errno
import inspect
import io
import json
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

import ancor
from ancor.data.config import DataConfig
from ancor.evaluation.classifiers import build_classifier
from ancor.evaluation.config import INDUCTIVE, TRANSDUCTIVE
from ancor.evaluation.episode_batch import EpisodeBatch
from ancor.evaluation.feature_bank import FeatureBank
from ancor.evaluation.predictors import cascade
from ancor.fewshot import image_encoder, inputs
from ancor.fewshot.classifier import Classifier
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime.devices import Runtime, usable_cpus
from tests import made
from tests.checkpoints.test_state_dicts import paper_file
from tests.refusals import refuses

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits():
    """Positions of 6 images of each of the classes 0, 3, 5 and 8 of digits, class by class."""
    partition = DataConfig("digits").load("train")
    kept = np.concatenate([np.flatnonzero(partition.fine_labels == c)[:6] for c in (0, 3, 5, 8)])
    return partition.subset(kept)


@pytest.fixture(scope="module")
def queries():
    return DataConfig("digits").load("test").subset(np.arange(60))


@pytest.fixture(scope="module")
def images(digits):
    return list(digits.images)


@pytest.fixture(scope="module")
def paths(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    for number, image in enumerate(images):
        Image.fromarray(image.numpy().transpose(1, 2, 0)).save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(len(images))]


def model(encoder, **settings) -> ancor.FewShotClassifier:
    return ancor.FewShotClassifier(encoder, **settings)


def test_an_image_is_the_same_in_every_form(encoder, images, paths, digits, queries):
    """Catches axes in another order, another scale, and views drawn by position or by file."""
    images, paths, labels = images[::3], paths[::3], digits.fine_labels[::3]
    arrays = [image.numpy().transpose(1, 2, 0) for image in images]
    forms = {
        "tensors": images,
        "floats": [image.float() / 255 for image in images],
        "arrays": arrays,
        "one array": np.stack(arrays),
        "gray arrays": [array[:, :, 0] for array in arrays],
        "paths": [Path(path) for path in paths],
        "array of paths": np.array(paths),
        "PIL": [Image.open(path) for path in paths],
        "gray PIL": [Image.open(path).convert("L") for path in paths],
        "mixed": [paths[0], *arrays[1:4], *images[4:]],
    }
    expected = model(encoder).fit(images, labels).predict_proba(list(queries.images))
    for name, form in forms.items():
        found = model(encoder).fit(form, labels)
        probabilities = found.predict_proba(list(queries.images))
        np.testing.assert_array_equal(probabilities, expected, err_msg=name)


def test_files_and_open_images_are_turned_upright(encoder, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    made.picture(0, (40, 30)).save(tmp_path / "turned.png", exif=exif)
    upright = made.picture(0, (40, 30)).transpose(Image.Transpose.ROTATE_270)
    forms = [tmp_path / "turned.png", Image.open(tmp_path / "turned.png"), upright]
    vectors = encoder.features(forms).vectors
    assert vectors[0].equal(vectors[1])
    assert vectors[0].equal(vectors[2])


@pytest.mark.parametrize("classifier", INDUCTIVE)
def test_answers_are_those_of_evaluation(classifier, encoder, digits, queries, images):
    """Evaluation's own bank and classifiers, on the images themselves, are the oracle."""
    transforms = DataConfig("digits").transforms

    def features(partition):
        pairs = np.stack([np.arange(len(partition)), np.full(len(partition), -1)], axis=1)
        return FeatureBank(encoder.network, partition.images, transforms, Runtime(CPU)).features(
            pairs
        )

    classes, labels = np.unique(digits.fine_labels, return_inverse=True)
    support, ids = features(digits), torch.arange(len(labels))
    batch = EpisodeBatch(
        support[None], torch.from_numpy(labels)[None], ids[None], features(queries)[None], 4
    )
    expected = classes[build_classifier(classifier)(batch)[0].numpy()]
    found = model(encoder, classifier=classifier, n_augmentations=0)
    found.fit(images, digits.fine_labels)
    np.testing.assert_array_equal(found.predict(list(queries.images)), expected)
    probabilities = found.predict_proba(list(queries.images))
    np.testing.assert_allclose(probabilities.sum(1), 1)
    if classifier != "KNN":  # whose votes tie
        np.testing.assert_array_equal(classes[probabilities.argmax(1)], expected)


@pytest.mark.parametrize("classifier", TRANSDUCTIVE)
def test_a_classifier_that_learns_from_the_queries_is_refused(classifier, encoder, images, digits):
    with refuses("`classifier`", classifier, "Ridge"):
        model(encoder, classifier=classifier).fit(images, digits.fine_labels)


def test_probabilities_are_scikit_learns_on_the_views(encoder, images, digits, queries):
    labels = digits.fine_labels
    some = [0, 6, 12, 18]
    found = model(encoder).fit([images[n] for n in some], labels[some])
    assert found.temperature_ == 1  # one image a class tells nothing of it
    views = found.support_.views
    assert views.shape == (4, 5, 64)
    assert len(views[0].unique(dim=0)) > 1
    other = LogisticRegression(max_iter=10_000, tol=1e-10)
    other.fit(views.flatten(0, 1), np.repeat(labels[some], 5))
    expected = other.predict_proba(encoder.features(list(queries.images)).vectors)
    np.testing.assert_allclose(found.predict_proba(list(queries.images)), expected, atol=1e-5)


@pytest.mark.parametrize(("classifier", "best"), [("NN", "distance"), ("Cosine", "cosine")])
def test_nearest_neighbors_have_defined_probabilities(classifier, best, encoder, images, digits):
    found = model(encoder, classifier=classifier, n_augmentations=0)
    found.fit(images[::4], digits.fine_labels[::4])
    query, support = encoder.features(images).vectors.double(), found.support_.vectors.double()
    similar = query @ support.T if best == "cosine" else -torch.cdist(query, support).square()
    per_class = [similar[:, found.labels_ == n].amax(1) for n in range(4)]
    expected = torch.stack(per_class, 1).softmax(1)
    np.testing.assert_allclose(found.predict_proba(images), expected, atol=1e-6)


def test_views_follow_from_seed_and_content_alone(encoder, images, quick_run):
    small = ancor.load_encoder(quick_run / "model_best.pth.tar", device="cpu", batch_size=3)
    whole = encoder.features(images, 5)
    backwards = small.features(images[::-1], 5)[list(range(len(images)))[::-1]]
    torch.testing.assert_close(whole.views, backwards.views, atol=1e-5, rtol=0)
    assert not torch.allclose(whole.views, encoder.features(images, 5, seed=1).views, atol=1e-3)


@pytest.mark.parametrize("settings", [{}, {"coarse_first": True}, {"classifier": "Cosine"}])
def test_adding_equals_fitting_all(settings, encoder, images, digits, queries):
    """Class 3 comes later, and so do more images of class 8; catches labels left unsorted."""
    labels = np.array(["zero", "three", "five", "eight"])[np.repeat(np.arange(4), 6)]
    late = (labels == "three") | (np.arange(24) == 23)
    early, later = np.flatnonzero(~late), np.flatnonzero(late)
    grown = model(encoder, **settings).fit([images[n] for n in early], labels[early])
    assert "three" not in grown.classes_
    grown.add([images[n] for n in later], labels[later])
    order = np.append(early, later)
    whole = model(encoder, **settings).fit([images[n] for n in order], labels[order])
    assert grown.classes_.tolist() == ["eight", "five", "three", "zero"]
    assert grown.temperature_ == pytest.approx(whole.temperature_, rel=1e-3)
    pairs = [m.predict_proba(list(queries.images)) for m in (grown, whole)]
    np.testing.assert_allclose(*pairs, atol=1e-4)


def test_what_is_added_has_as_many_copies(encoder, images, digits):
    found = model(encoder, n_augmentations=2).fit(images[:12], digits.fine_labels[:12])
    with refuses("`n_augmentations`", "0", "2"):
        found.set_params(n_augmentations=0).add(images[12:], digits.fine_labels[12:])
    found.set_params(n_augmentations=2).add(images[12:], digits.fine_labels[12:])
    assert len(found.labels_) == len(images)


def left_out_scores(encoder, features, labels, **settings):
    """Leave each image out in a plain loop; return log-probabilities (N, n) at temperature 1."""
    rows = []
    for number in range(len(labels)):
        others = np.flatnonzero(np.arange(len(labels)) != number)
        found = model(encoder, **settings).fit(features[others], labels[others])
        found.temperature_ = 1.0
        rows.append(np.log(found.predict_proba(features[number])[0]))
    return np.array(rows)


@pytest.mark.parametrize("classifier", ["LR", "NN"])
def test_the_temperature_explains_left_out_images_best(classifier, encoder, digits):
    some = np.concatenate([np.arange(n, n + 5) for n in (0, 6, 12, 18)])
    features = encoder.features(list(digits.images), 2)[some]
    settings = {"classifier": classifier, "n_augmentations": 2}
    labels = digits.fine_labels[some]
    found = model(encoder, **settings).fit(features, labels)
    scores = left_out_scores(encoder, features, labels, **settings)
    smooth = np.full((20, 4), 1 / 22 / 4)
    smooth[np.arange(20), np.searchsorted(found.classes_, labels)] += 1 - 1 / 22

    def loss(temperature):
        logs = torch.from_numpy(scores / temperature).log_softmax(1).numpy()
        return -(smooth * logs).sum()

    best = found.temperature_
    assert best != 1
    assert loss(best) < min(loss(1), loss(1.02 * best), loss(best / 1.02))
    fewer = np.flatnonzero(np.arange(20) != 7)  # one class has 4
    assert model(encoder, **settings).fit(features[fewer], labels[fewer]).temperature_ == 1


@pytest.mark.parametrize("classifier", INDUCTIVE)
def test_the_temperature_never_changes_an_answer(classifier, encoder, images, digits, queries):
    found = model(encoder, classifier=classifier).fit(images, digits.fine_labels)
    answers = found.predict(list(queries.images))
    sure = found.predict_proba(list(queries.images)).max(1)
    found.temperature_ = 3 * found.temperature_
    assert (found.predict(list(queries.images)) == answers).all()
    assert found.predict_proba(list(queries.images)).max(1).mean() < sure.mean()


def test_many_images_are_left_out_by_tenths(encoder, digits, monkeypatch):
    features, labels = encoder.features(list(digits.images), 1), digits.fine_labels
    one_by_one = model(encoder, n_augmentations=1).fit(features, labels).temperature_
    monkeypatch.setattr("ancor.fewshot.support_set.MOST_FITS", 23)
    tenths = model(encoder, n_augmentations=1).fit(features, labels).temperature_
    assert one_by_one != tenths
    assert 0.5 < one_by_one / tenths < 2


@pytest.mark.parametrize("classifier", INDUCTIVE)
def test_the_coarse_gate_is_the_cascade(classifier, encoder, digits, queries, images):
    found = model(encoder, classifier=classifier, coarse_first=True)
    found.fit(images, digits.fine_labels)
    query, support = encoder.features(list(queries.images)), found.support_
    labels = torch.from_numpy(found.labels_).repeat(5)[None]
    ids = torch.arange(labels.shape[1])[None]
    coarse_views = support.coarse_views.T.reshape(1, -1, 1).float()
    vectors = support.views.transpose(0, 1).reshape(1, -1, 64)
    coarse = EpisodeBatch(coarse_views, labels, ids, query.coarse[None, :, None].float(), 4)
    numbers = torch.arange(len(found.labels_)).repeat(5)[None]
    fine = EpisodeBatch(vectors, labels, ids, query.vectors[None], 4, images=numbers)
    expected = found.classes_[cascade(classifier)([coarse, fine])[0].numpy()]
    np.testing.assert_array_equal(found.predict(list(queries.images)), expected)
    assert len(query.coarse.unique()) > 1
    plain = model(encoder, classifier=classifier).fit(images, digits.fine_labels)
    inputs = found.predict_proba(list(queries.images)), plain.predict_proba(list(queries.images))
    assert not np.allclose(*inputs, atol=1e-2)


def test_two_classes_behind_the_gate_are_the_cascades(encoder, images, digits):
    """Which takes scikit-learn's binary form there; catches the multinomial one."""
    features = encoder.features([*images[:4], *images[6:10]])
    same = torch.zeros_like(features.coarse)
    features = type(features)(features.vectors, features.views, same, features.coarse_views)
    labels = np.repeat([0, 1], 4)
    found = model(encoder, coarse_first=True, n_augmentations=0).fit(features, labels)
    other = LogisticRegression(tol=1e-10).fit(features.vectors, labels)
    expected = other.predict_proba(features.vectors)
    np.testing.assert_allclose(found.predict_proba(features), expected, atol=1e-5)


def test_what_is_not_likely_is_unknown(encoder, images, digits, queries):
    images, labels = images[::2], digits.fine_labels[::2]
    found = model(encoder).fit(images, labels)
    sure = found.predict_proba(list(queries.images)).max(1)
    threshold = float(np.median(sure))
    answers = found.set_params(unknown=threshold).predict(list(queries.images))
    assert ((answers == "unknown") == (sure < threshold)).all()
    assert set(answers) == {"unknown", 0, 3, 5, 8}
    right = (answers == queries.fine_labels).mean()
    assert found.score(list(queries.images), queries.fine_labels) == pytest.approx(right)
    assert (found.set_params(unknown=0.0).predict(images) != "unknown").all()
    named = model(encoder, unknown=1.0).fit(images, labels.astype(str))
    assert set(named.predict(images)) == {"unknown"}
    with refuses("'unknown'", "0.5"):
        model(encoder, unknown=0.5).fit(images, ["unknown", *labels[1:].astype(str)])


def test_a_saved_classifier_is_whole(encoder, images, digits, queries, tmp_path):
    labels = np.array(["nought", "é", "a/b", "\n"])[np.repeat(np.arange(4), 6)]
    settings = {"classifier": "Proto", "coarse_first": True, "unknown": 0.3, "seed": 2}
    found = model(encoder, **settings).fit(images, labels)
    path = tmp_path / "x.ancor"
    found.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.ancor"]
    again = ancor.FewShotClassifier.load(path, device="cpu")
    new = list(queries.images)[:3]
    for method in ("predict", "predict_proba"):
        one, other = (getattr(m, method)(list(queries.images)) for m in (found, again))
        np.testing.assert_array_equal(one, other)
    found.set_params(classifier="NN").save(path)  # which the next fit would make it
    assert (ancor.FewShotClassifier.load(path).predict(new) == found.predict(new)).all()
    found.set_params(classifier="Proto")
    params = [{**m.get_params(), "encoder": None} for m in (found, again)]
    assert params[0] == params[1]
    grown = [m.add(new, ["new"] * 3).predict_proba(new) for m in (found, again)]
    np.testing.assert_allclose(*grown, atol=1e-6)
    content = path.read_bytes().split(b"\n", 1)[1]
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)


def test_settings_of_numpy_are_saved_and_wrong_ones_are_not(encoder, images, digits, tmp_path):
    """As GridSearchCV sets them; and no file is written that no `predict` would accept."""
    numbers = {"n_augmentations": np.int64(2), "seed": np.int32(3), "C": np.float64(2)}
    found = model(encoder, **numbers).fit(images, digits.fine_labels)
    found.save(tmp_path / "x")
    again = ancor.FewShotClassifier.load(tmp_path / "x", device="cpu")
    assert {name: again.get_params()[name] for name in numbers} == numbers
    with refuses("unknown 7", "0 to 1"):
        found.set_params(unknown=7).save(tmp_path / "y")
    assert not (tmp_path / "y").exists()


def test_a_file_that_cannot_be_written_is_one_line(encoder, images, digits, tmp_path):
    found = model(encoder, n_augmentations=0).fit(images, digits.fine_labels)
    (tmp_path / "taken").mkdir()
    for place in (tmp_path / "taken", tmp_path / "none" / "x", ".", ""):
        with refuses(repr(str(place))):
            found.save(place)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_integer_labels_stay_integers_in_a_file(encoder, images, digits, tmp_path):
    found = model(encoder).fit(images, digits.fine_labels)
    found.save(tmp_path / "x")
    again = ancor.FewShotClassifier.load(tmp_path / "x", device="cpu")
    assert again.predict(images).dtype == found.predict(images).dtype


def test_a_damaged_file_is_one_line(encoder, images, digits, tmp_path):
    """A flipped bit anywhere and a cut anywhere; catches a checksum over only a part."""
    model(encoder, n_augmentations=0).fit(images, digits.fine_labels).save(tmp_path / "x")
    content, bad = (tmp_path / "x").read_bytes(), tmp_path / "bad"
    places = [*range(0, 130, 3), *np.linspace(130, len(content) - 1, 30).astype(int)]
    for place in places:
        for damaged in (
            content[:place],
            content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
        ):
            bad.write_bytes(damaged)
            with refuses(repr(str(bad))):
                ancor.FewShotClassifier.load(bad)
    line, payload = content.split(b"\n", 1)
    bad.write_bytes(json.dumps({**json.loads(line), "version": 2}).encode() + b"\n" + payload)
    with refuses(repr(str(bad)), "version 2", "version 1"):
        ancor.FewShotClassifier.load(bad)


def test_other_files_are_no_saved_classifiers(quick_run, tmp_path):
    wrong = {tmp_path / "y": os.strerror(errno.ENOENT), tmp_path: os.strerror(errno.EISDIR)}
    for path, word in {**wrong, quick_run / "last.pth.tar": "checkpoint"}.items():
        with refuses(repr(str(path)), word):
            ancor.FewShotClassifier.load(path)


def test_it_follows_scikit_learn(encoder, images, paths, digits):
    """Catches a clone with a copied encoder, and images taken for a table of numbers."""
    found = model(encoder, classifier="Proto", n_augmentations=2)
    copied = clone(found.fit(images, digits.fine_labels))
    assert copied.encoder is encoder
    assert copy.deepcopy(found).encoder is encoder
    assert copied.get_params() == found.get_params()
    assert copied.set_params(classifier="NN").classifier == "NN"
    for method in ("predict", "predict_proba", "save", "score"):
        arguments = (paths, digits.fine_labels)[: 2 if method == "score" else 1]
        with pytest.raises(NotFittedError):
            getattr(copied, method)(*arguments)
    with pytest.raises(NotFittedError):
        copied.add(paths, digits.fine_labels)
    scores = cross_val_score(model(encoder), paths, digits.fine_labels, cv=3)
    assert scores.shape == (3,)
    assert scores.mean() > 0.5
    features = list(encoder.features(paths, 5))  # encoded once for all folds
    assert (cross_val_score(model(encoder), features, digits.fine_labels, cv=3) == scores).all()
    assert found.score(paths, digits.fine_labels) > 0.5
    assert "FewShotClassifier(" in repr(found)
    assert isinstance(found, BaseEstimator)
    assert is_classifier(found)


def test_settings_are_changed_by_name_without_scikit_learn_too(encoder):
    for kind in (ancor.FewShotClassifier, Classifier):
        changed = kind(encoder).set_params(C=2.0, classifier="NN")
        assert changed.get_params() == {**kind(encoder).get_params(), "C": 2.0, "classifier": "NN"}
        assert set(changed.get_params()) == {*inspect.signature(Classifier).parameters}
        with refuses("'shots'", "n_augmentations"):
            changed.set_params(shots=1)


def test_a_folder_of_folders_gives_the_classes(encoder, paths, digits, tmp_path):
    for path, label in zip(paths, digits.fine_labels, strict=True):
        folder = tmp_path / f"class {label}"
        folder.mkdir(exist_ok=True)
        (folder / Path(path).name).write_bytes(Path(path).read_bytes())
    (tmp_path / "class 0" / "notes.txt").write_text("no image")
    found = model(encoder).fit(tmp_path)
    assert found.classes_.tolist() == ["class 0", "class 3", "class 5", "class 8"]
    labels = [f"class {label}" for label in digits.fine_labels]
    expected = model(encoder).fit(paths, labels)
    np.testing.assert_allclose(found.predict_proba(paths), expected.predict_proba(paths), atol=1e-4)
    assert len(found.predict(tmp_path / "class 3")) == 6


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (64, 32), (31, 300), (500, 400)])
def test_images_of_any_size_are_fitted(size, encoder):
    small = encoder.features([made.picture(0, size), made.picture(1, (32, 32))], 2)
    assert small.vectors.shape == (2, 64)
    assert small.views.shape == (2, 2, 64)


def test_published_files_need_to_be_told_how_images_are_prepared(tmp_path):
    file = paper_file(tmp_path / "x.pth.tar", "resnet12/seq/multi/mlp")
    with refuses(repr(file), "digits", "image_size", "mean", "std"):
        ancor.load_encoder(file, image_size=84)
    named = ancor.load_encoder(file, dataset="tiered", device="cpu")
    assert named.transforms == DataConfig("tiered").transforms
    values = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}
    told = ancor.load_encoder(file, image_size=112, **values, device="cpu", only_base=False)
    assert (told.transforms.size, told.transforms.resize) == (112, 128)
    assert told.transforms.mean == values["mean"]
    found = told.features([made.picture(0, (150, 130)), made.picture(1, (90, 200))], 2)
    assert found.views.shape == (2, 2, 128)  # the head's embedding
    assert encoder_norms(found.vectors)


def encoder_norms(vectors) -> bool:
    return torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)))


def test_the_toolkits_files_tell_how_images_are_prepared(encoder, quick_run):
    assert encoder.transforms == DataConfig("digits").transforms
    larger = ancor.load_encoder(quick_run / "model_best.pth.tar", image_size=48, device="cpu")
    assert larger.transforms == DataConfig("digits", image_size=48).transforms


def bare(head: str):
    from ancor.fewshot.image_encoder import ImageEncoder

    network = Encoder(EncoderConfig("conv4", head=head, num_classes=3))
    return ImageEncoder(network, DataConfig("digits").transforms, Runtime(CPU))


GOOD = np.zeros((2, 8, 8), dtype=np.uint8)
BAD = {
    "no encoder": (lambda e: model(None).fit(GOOD, [0, 1]), ["NoneType", "ancor.load_encoder"]),
    "unknown classifier": (lambda e: model(e, classifier="SVM").fit(GOOD, [0, 1]), ["'SVM'", "LR"]),
    "negative copies": (
        lambda e: model(e, n_augmentations=-1).fit(GOOD, [0, 1]),
        [re.compile("n[_-]augmentations`? -1")],
    ),
    "no probability": (
        lambda e: model(e, unknown=50).fit(GOOD, [0, 1]),
        ["unknown 50", "0 to 1"],
    ),
    "gate without a head": (
        lambda e: model(bare("none"), coarse_first=True).fit(GOOD, [0, 1]),
        ["'none'", re.compile("coarse[_-]first")],
    ),
    "one class": (lambda e: model(e).fit(GOOD, ["cat", "cat"]), ["'cat'", "2 classes"]),
    "no labels": (lambda e: model(e).fit(GOOD), ["labels"]),
    "too few labels": (lambda e: model(e).fit(GOOD, [0]), ["(1,)", "2 images"]),
    "labels of floats": (lambda e: model(e).fit(GOOD, [0.5, 1.5]), ["float", "strings"]),
    "labels of two types": (
        lambda e: model(e).fit(GOOD, [0, 1]).add(GOOD, ["a", "b"]),
        ["<U1", "int64"],
    ),
    "a lone image": (lambda e: model(e).fit(GOOD[0], [0, 1]), ["(8, 8)", "list"]),
    "no images": (lambda e: model(e).fit([], []), ["no images"]),
    "a number": (lambda e: e.features(7), ["int", "list"]),
    "numbers": (lambda e: e.features([7]), ["image 0", "int", "PIL"]),
    "floats in an array": (lambda e: e.features(GOOD / 255), ["image 0", "float64", "uint8"]),
    "four channels": (lambda e: e.features([np.zeros((8, 8, 4), np.uint8)]), ["(8, 8, 4)"]),
    "normalized floats": (
        lambda e: e.features([torch.randn(3, 8, 8)]),
        ["image 0", "-", "0-1"],
    ),
    "not a number": (lambda e: e.features([torch.full((3, 8, 8), torch.nan)]), ["image 0", "nan"]),
    "one channel": (lambda e: e.features([torch.zeros(1, 8, 8)]), ["(1, 8, 8)", "(3, H, W)"]),
    "a thread": (lambda e: e.features([np.zeros((1, 500), np.uint8)]), ["500 x 1", "100"]),
    "nothing to see": (lambda e: e.features([np.zeros((0, 4), np.uint8)]), ["4 x 0"]),
    "a missing file": (lambda e: e.features(["/nowhere/a.png"]), ["'/nowhere/a.png'"]),
    "a folder in a list": (lambda e: e.features(["/tmp"]), ["'/tmp'", "folder"]),
    "other features": (
        lambda e: model(e).fit(GOOD, [0, 1]).predict(_narrow(e.features(GOOD))),
        ["60", "64"],
    ),
    "features without views": (
        lambda e: model(e).fit(e.features(GOOD), [0, 1]),
        ["0 views", "n_augmentations", "5"],
    ),
    "an embedding that is not there": (
        lambda e: type(e)(bare("cls").network, e.transforms, Runtime(CPU), only_base=False),
        ["'cls'"],
    ),
    "no batch": (
        lambda e: type(e)(e.network, e.transforms, Runtime(CPU, batch_size=0)),
        ["`batch_size` 0"],
    ),
}


def _narrow(features):
    return type(features)(features.vectors[:, :60], *list(vars(features).values())[1:])


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, encoder):
    call, words = BAD[name]
    with refuses(*words):
        call(encoder)


@pytest.mark.parametrize("held", [2**29, 10_000])
def test_few_images_lie_in_memory_at_once(held, encoder, images, monkeypatch):
    """B17: not a whole batch of photographs in full size, nor of long images when resized."""
    batches, outputs = [], FeatureBank.outputs
    expected = encoder.features(images).vectors

    def watched(self, pairs):
        batches.append(len(pairs))
        return outputs(self, pairs)

    monkeypatch.setattr(FeatureBank, "outputs", watched)
    monkeypatch.setattr(image_encoder, "usable_cpus", lambda: 1)
    monkeypatch.setattr(image_encoder, "HELD", held)  # an image takes 3,072 bytes
    assert (encoder.features(images).vectors - expected).abs().max() < 1e-5
    full = [min(256, len(images) - start) for start in range(0, len(images), 256)]
    assert batches == full if held > 10_000 else max(batches) <= 4 + 3
    assert sum(batches) == len(images)


def test_images_are_resized_as_they_are_read(encoder, images, monkeypatch):
    """B17: at most as many as there are threads lie in memory in full size."""
    read, lock = inputs.read, threading.Lock()
    counts = {"alive": 0, "most": 0}

    def counted(image, position):
        with lock:
            counts["alive"] += 1
            counts["most"] = max(counts["most"], counts["alive"])
        return read(image, position)

    form = image_encoder.stored_form(encoder.transforms)

    def formed(image):
        with lock:
            counts["alive"] -= 1
        return form(image)

    monkeypatch.setattr(inputs, "read", counted)
    monkeypatch.setattr(image_encoder, "stored_form", lambda transforms: formed)
    type(encoder)(encoder.network, encoder.transforms, encoder.runtime).features(images)
    assert counts == {"alive": 0, "most": counts["most"]}
    assert counts["most"] <= usable_cpus()


def test_a_bomb_is_an_error(encoder, tmp_path, monkeypatch):
    path = made.write(tmp_path / "a\nb.png", size=(40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    with refuses(repr(str(path)), "1600", "1400") as error:
        encoder.features([path])
    assert "--skip-bad-images" not in str(error.value)


def test_public_names_are_listed():
    assert {"FewShotClassifier", "load_encoder"} <= set(dir(ancor))
    with refuses("'fit'", kind=AttributeError):
        ancor.fit  # noqa: B018
