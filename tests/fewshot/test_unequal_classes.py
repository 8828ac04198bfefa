"""FewShotClassifier where classes have unequally many images, and where labels are odd."""

import enum
import logging

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

import ancor
from ancor.data.config import DataConfig
from ancor.evaluation.classifiers import balanced, k_nearest
from ancor.evaluation.config import INDUCTIVE
from ancor.evaluation.episode_batch import EpisodeBatch
from ancor.fewshot.inputs import labels_of
from ancor.fewshot.temperature import fit_temperature
from tests.refusals import refuses, tells


@pytest.fixture(scope="module")
def digits(encoder):
    """Features and labels of 12 training images of each class, and of 200 test images."""
    train, test = (DataConfig("digits").load(name) for name in ("train", "test"))
    kept = np.concatenate([np.flatnonzero(train.fine_labels == c)[:12] for c in range(10)])
    support = encoder.features([train.images[n] for n in kept], 5)
    queries = encoder.features([test.images[n] for n in range(200)])
    return support, train.fine_labels[kept], queries, test.fine_labels[:200]


def rows_of(sizes) -> np.ndarray:
    """Rows of the first images of each class, with 12 images a class in order."""
    return np.concatenate([12 * c + np.arange(size) for c, size in enumerate(sizes)])


def fitted(encoder, digits, sizes, **settings):
    rows = rows_of(sizes)
    return ancor.FewShotClassifier(encoder, **settings).fit(digits[0][rows], digits[1][rows])


@pytest.mark.parametrize("sizes", [[10] + [1] * 9, [12, 12] + [3] * 8])
@pytest.mark.parametrize("classifier", INDUCTIVE)
def test_a_large_class_takes_no_others_queries(classifier, sizes, encoder, digits):
    """B10: LR fell from 0.79 to 0.26 with 10 images of one class, and KNN nearly as far."""
    alike = fitted(encoder, digits, [min(sizes)] * 10, classifier=classifier)
    more = fitted(encoder, digits, sizes, classifier=classifier)
    assert more.score(*digits[2:]) > alike.score(*digits[2:]) - 0.06


@pytest.mark.parametrize("copies", [0, 5])
def test_weights_are_those_of_scikit_learn(copies, encoder, digits):
    """B10: `class_weight="balanced"` on the same vectors is the oracle."""
    sizes = [9, 1, 4, 2, 1, 1, 1, 7, 1, 1]
    found = fitted(encoder, digits, sizes, n_augmentations=copies)
    assert found.temperature_ == 1
    support = found.support_
    vectors = support.views.flatten(0, 1) if copies else support.vectors
    labels = np.repeat(found.labels_, max(1, copies))
    other = LogisticRegression(max_iter=10_000, tol=1e-10, class_weight="balanced")
    other.fit(vectors.double(), labels)
    expected = other.predict_proba(digits[2].vectors.double())
    np.testing.assert_allclose(found.predict_proba(digits[2]), expected, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"coarse_first": True}, {"classifier": "KNN"}])
def test_equal_sizes_take_the_way_of_episodes(settings, encoder, digits, monkeypatch):
    """B10: not one digit may move there; weights that are not asked for cannot move any."""
    expected = fitted(encoder, digits, [4] * 10, **settings)
    monkeypatch.setattr("ancor.fewshot.support_set.balanced", lambda sizes: None)
    plain = fitted(encoder, digits, [4] * 10, **settings)
    assert (expected.predict_proba(digits[2]) == plain.predict_proba(digits[2])).all()
    assert balanced(torch.tensor([3, 3, 3])) is None
    assert balanced(torch.tensor([1, 3])).tolist() == [2, 2 / 3]


def test_sizes_behind_the_coarse_gate_count_equally(encoder, digits):
    """B10, another case: one coarse class for all is no gate; catches weights of other classes."""
    sizes = [10, 1, 3]
    rows = rows_of(sizes)
    support, queries = digits[0][rows], digits[2]
    same = {"coarse": torch.zeros(len(rows)).long(), "coarse_views": torch.zeros(len(rows), 5)}
    support = type(support)(**{**vars(support), **same})
    queries = type(queries)(**{**vars(queries), "coarse": torch.zeros(len(queries)).long()})
    gated, plain = (
        ancor.FewShotClassifier(encoder, coarse_first=gate).fit(support, digits[1][rows])
        for gate in (True, False)
    )
    np.testing.assert_allclose(gated.predict_proba(queries), plain.predict_proba(queries))


def test_neighbors_are_taken_and_counted_by_weight():
    """B10: of classes of 60 and 6 vectors, as many votes each as if they were equal."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 6])
    support = torch.from_numpy(rng.normal(size=(66, 9)) + 0.2 * labels[:, None]).float()
    query = torch.from_numpy(rng.normal(size=(20, 9)) + 0.1).float()
    weights = balanced(torch.tensor([60, 6]))[None]
    given = support[None], torch.from_numpy(labels)[None], torch.arange(66)[None], query[None]
    batch = EpisodeBatch(*given, 2, class_weights=weights)
    oracle = KNeighborsClassifier(66, algorithm="brute").fit(support.numpy(), labels)
    distances, order = oracle.kneighbors(query.numpy())
    worth = np.where(labels[order] == 0, 0.55, 5.5)
    votes = worth * (worth.cumsum(1) - worth < 30) / distances
    expected = (votes * (labels[order] == 1)).sum(1) / votes.sum(1)
    np.testing.assert_allclose(k_nearest(batch)[0, :, 1], expected, atol=1e-5)


def test_the_temperature_counts_classes_equally():
    """B10, another case: images given twice and weighted by half change nothing."""
    scores = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 3
    twice, weights = torch.cat([labels, labels[::3]]), torch.ones(16)
    weights[12:] = weights[:12:3] = 0.5
    found = fit_temperature(torch.cat([scores, scores[::3]]), twice, weights)
    assert found == pytest.approx(fit_temperature(scores, labels), rel=0.05)  # but for smoothing
    assert found != fit_temperature(torch.cat([scores, scores[::3]]), twice)


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Name(str, enum.Enum):
    A = "a"
    B = "b"


ACCEPTED = {
    "numbers of NumPy": ([np.int32(1), 2], [1, 2]),
    "small numbers": (np.array([1, 2], np.uint8), [1, 2]),
    "a tensor": (torch.tensor([1, 2]), [1, 2]),
    "tensors": ([torch.tensor(1), torch.tensor(2)], [1, 2]),
    "strings of NumPy": ([np.str_("a"), "b"], ["a", "b"]),
    "objects": (np.array(["a", "b"], object), ["a", "b"]),
    "booleans": ([True, False], [True, False]),
    "an enumeration of numbers": ([Number.ONE, Number.TWO], [1, 2]),
    "an enumeration of strings": ([Name.A, Name.B], ["a", "b"]),
}
REFUSED = {
    "numbers and text": ([1, "1"], ["int", "str"]),
    "numbers and text in objects": (np.array([1, "1"], object), ["int", "str"]),
    "numbers and truth": ([1, True], ["bool", "int"]),
    "text and nan": (["a", np.nan], ["float", "str"]),
    "nan": ([np.nan, np.nan], ["float"]),
    "None": (["a", None], ["NoneType", "str"]),
    "floats": (np.array([1.0, 2.0]), ["float"]),
    "bytes": ([b"a", b"b"], ["bytes"]),
    "a column": (np.array([[1], [2]]), ["(2, 1)"]),
    "a column of a list": ([["a"], ["b"]], ["(2, 1)"]),
    "a column of a tensor": (torch.tensor([[1], [2]]), ["(2, 1)"]),
    "too many": ([1, 2, 3], ["(3,)", "2"]),
    "vectors": ([torch.tensor([1, 2]), 1], ["Tensor", "int"]),
    "one text": ("ab", ["()", "2"]),
    "a set": ({1, 2}, ["()", "2"]),
    "nothing": (None, ["()", "2"]),
    "masked": (np.ma.array([1, 2], mask=[False, True]), ["NoneType", "int"]),
    "more than 64 bits": ([2**64, 1], [str(2**64), "64 bits"]),
    "more than 63 bits": (np.array([2**63, 1], np.uint64), [str(2**63), "64 bits"]),
    "zero characters": (["a", "a\0"], ["zero"]),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_labels_that_are_accepted(name):
    labels, expected = ACCEPTED[name]
    found = labels_of(labels, 2)
    assert found.tolist() == expected
    assert found.dtype.kind in "Uib"


@pytest.mark.parametrize("name", REFUSED)
def test_labels_that_are_refused(name):
    """B11: `[1, "1"]` and nan became classes."""
    labels, words = REFUSED[name]
    with refuses("label" if "bits" in name or "zero" in name else "labels", *words):
        labels_of(labels, 2)


@pytest.mark.parametrize("method", ["fit", "add", "score"])
def test_labels_are_checked_wherever_they_enter(method, encoder, digits):
    """B11: labels (n, 1) gave 0.119 for 0.700, integers for strings 0.0."""
    rows = rows_of([2] * 10)
    features, labels = digits[0][rows], digits[1][rows]
    names = labels.astype(str)
    model = ancor.FewShotClassifier(encoder, classifier="Proto").fit(features, names)
    with refuses("labels", "(20, 1)"):
        getattr(model, method)(features, names[:, None])
    with refuses("labels", "float", "str"):
        getattr(model, method)(features, [*names[1:], float("nan")])
    if method != "fit":
        with refuses("labels", "int64", "<U1"):
            getattr(model, method)(features, labels)


def test_labels_that_were_never_learned_are_told(encoder, digits, caplog, monkeypatch):
    """B11: they count as wrong, as scikit-learn has it; but not if none was learned."""
    rows = rows_of([2] * 10)
    features, names = digits[0][rows], digits[1][rows].astype(str)
    model = ancor.FewShotClassifier(encoder, classifier="NN").fit(features, names)
    whole = model.score(features, names)
    some = np.where(names == "3", "three", names)
    monkeypatch.setattr(logging.getLogger("ancor"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="ancor"):
        assert model.score(features, some) == pytest.approx(whole - 0.1, abs=0.11)
    assert tells(caplog.text, "2 of 20", "'three'")
    with refuses("none", "'a'", "'0'"):
        model.score(features, ["a"] * 20)
    model.set_params(unknown=1.0)  # so that nothing is known: right of what is labeled so
    assert model.score(features, ["unknown"] * 5 + names[5:].tolist()) == 0.25


@pytest.mark.parametrize(
    "weights", [[1], np.ones((20, 1)), [-1] * 20, [np.nan] * 20, [0] * 20, "a"]
)
def test_weights_that_do_not_fit_are_refused(weights, encoder, digits):
    """B11, another case: what stands beside labels is looked at too."""
    rows = rows_of([2] * 10)
    features, labels = digits[0][rows], digits[1][rows]
    model = ancor.FewShotClassifier(encoder, classifier="NN").fit(features, labels)
    shape = "'a'" if isinstance(weights, str) else str(np.shape(weights))
    with refuses("weights", shape):
        model.score(features, labels, sample_weight=weights)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_numpy_takes_features(precision, quick_run):
    """E26: it was an array of no numbers; float32 of the vectors, whatever the precision."""
    path = quick_run / "model_best.pth.tar"
    encoder = ancor.load_encoder(path, device="cpu", precision=precision)
    features = encoder.features(np.zeros((4, 8, 8), dtype=np.uint8), 2)
    found = np.asarray(features)
    assert (found.shape, found.dtype) == ((4, encoder.width), np.float32)
    np.testing.assert_array_equal(found, features.vectors.numpy())
    assert np.asarray(features[1:], dtype=np.float64).dtype == np.float64
    np.array(features)[:] = 7  # a copy
    assert (features.vectors != 7).all()
    assert np.stack([features, features]).shape == (2, 4, encoder.width)
    assert not features.vectors.requires_grad
    layer = torch.nn.Linear(encoder.width, 2)  # which can learn from them
    layer(features.vectors).sum().backward()
