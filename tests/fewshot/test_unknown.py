"""The similarity below which an image is unknown, against a plain loop over left-out images."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import ancor
from ancor.data.config import DataConfig
from ancor.fewshot import saved
from ancor.fewshot.support_set import Features
from ancor.fewshot.unknown import ClassMeans
from tests.refusals import refuses


def drawn(labels: list[int], views: int, width: int = 6) -> Features:
    torch.manual_seed(0)
    vectors = F.normalize(torch.randn(len(labels), width) + 1, dim=1)
    copies = F.normalize(vectors[:, None] + 0.3 * torch.randn(len(labels), views, width), dim=2)
    none = torch.full((len(labels),), -1)
    return Features(vectors, copies, none, none[:, None].expand(-1, views))


@pytest.mark.parametrize("views", [0, 3])
@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 1.0])
def test_threshold_is_a_loops(views, rate):
    """Classes of 4, 2 and 1 images; the weight of an image is one over its class's size."""
    labels = [0, 1, 0, 2, 1, 0, 0]
    features = drawn(labels, views)
    rows = []
    for number, label in enumerate(labels):
        if label == 2:
            continue
        means = []
        for each in range(3):
            kept = [n for n, own in enumerate(labels) if own == each and n != number]
            own = features.views[kept].flatten(0, 1) if views else features.vectors[kept]
            means.append(own.mean(0))
        similarity = max(
            F.cosine_similarity(features.vectors[number], mean, dim=0) for mean in means
        )
        rows.append((float(similarity), 1 / labels.count(label) / 2))
    found = ClassMeans(features, torch.tensor(labels)).threshold(rate)
    assert min(abs(found - similarity) for similarity, _ in rows) < 1e-6
    rejected = sum(weight for similarity, weight in rows if similarity < found - 1e-6)
    assert rejected <= rate + 1e-9
    above = sorted(similarity for similarity, _ in rows if similarity > found + 1e-6)
    if above:  # a higher threshold would reject too many
        assert sum(weight for similarity, weight in rows if similarity < above[0] - 1e-6) > rate


def test_queries_are_compared_with_the_means_of_all_images():
    features, labels = drawn([0, 0, 1], 2), torch.tensor([0, 0, 1])
    query = torch.randn(5, 6)
    means = [features.views[:2].flatten(0, 1).mean(0), features.views[2].mean(0)]
    expected = [max(F.cosine_similarity(one, mean, dim=0) for mean in means) for one in query]
    found = ClassMeans(features, labels).similarities(query)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_without_two_images_of_a_class_there_is_no_threshold():
    with refuses("`unknown`", "auto"):
        ClassMeans(drawn([0, 1, 2], 2), torch.tensor([0, 1, 2])).threshold(0.05)


@pytest.fixture(scope="module")
def fitted(quick_run):
    """Digits 0, 3, 5: eight images of each."""
    partition = DataConfig("digits").load("train")
    kept = [np.flatnonzero(partition.fine_labels == c)[:8] for c in (0, 3, 5)]
    part = partition.subset(np.concatenate(kept))
    encoder = ancor.load_encoder(quick_run / "model_best.pth.tar", device="cpu")
    model = ancor.FewShotClassifier(encoder, classifier="Proto", unknown="auto", unknown_rate=0.2)
    return model.fit(list(part.images), part.fine_labels)


def test_a_saved_file_keeps_it_and_an_older_one_loads(fitted, tmp_path):
    queries = list(DataConfig("digits").load("test").subset(np.arange(80)).images)
    answers = fitted.predict(queries)
    unknown = fitted.similarity(queries) < fitted.threshold()
    np.testing.assert_array_equal(answers == "unknown", unknown)
    assert 0 < unknown.sum() < len(queries)
    fitted.save(tmp_path / "new")
    again = ancor.FewShotClassifier.load(tmp_path / "new", device="cpu")
    assert (again.unknown, again.unknown_rate) == ("auto", 0.2)
    np.testing.assert_array_equal(again.predict(queries), answers)
    about, arrays = saved.read(tmp_path / "new")
    for name in ("unknown_rate", "back_off"):
        del about["settings"][name]
    about["settings"]["unknown"] = 0.4
    del about["coarse"], about["coarse_given"]
    saved.write(tmp_path / "old", json.loads(json.dumps(about)), arrays)
    old = ancor.FewShotClassifier.load(tmp_path / "old", device="cpu")
    assert (old.unknown, old.unknown_rate, old.back_off) == (0.4, 0.05, None)
    np.testing.assert_array_equal(
        old.predict(queries) == "unknown", old.predict_proba(queries).max(1) < 0.4
    )
    for name, value in (("unknown", "never"), ("back_off", "x"), ("unknown_rate", [])):
        about["settings"] = about["settings"] | {name: value}
        saved.write(tmp_path / "odd", about, arrays)
        with refuses("odd"):
            ancor.FewShotClassifier.load(tmp_path / "odd", device="cpu")
        del about["settings"][name]


def test_settings_that_are_no_shares_are_refused(fitted):
    for name, value in (("unknown", "x"), ("unknown", 2), ("unknown_rate", None), ("back_off", -1)):
        before = getattr(fitted, name)
        with refuses(f"`{name}`", str(value), "0 to 1"):
            fitted.set_params(**{name: value}).predict(fitted.support_)
        fitted.set_params(**{name: before})
