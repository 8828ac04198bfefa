"""Batched classifiers against scikit-learn, one episode at a time."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from ancor.evaluation import classifiers, logistic
from ancor.evaluation.classifiers import (
    EpisodeBatch,
    k_nearest,
    logistic_regression,
    most_similar,
    nearest,
    prototypes,
)

# episodes, ways, shots, copies, features, queries: more features than vectors, fewer, two classes
SHAPES = [(5, 5, 1, 5, 300, 6), (3, 5, 5, 5, 40, 6), (4, 2, 1, 5, 30, 8), (2, 20, 1, 5, 64, 3)]


def episodes(count, ways, shots, copies, width, queries, seed=0) -> EpisodeBatch:
    """Draw features of unit length with a large common part, as those of images have."""
    rng = np.random.default_rng(seed)
    classes = rng.normal(size=(count, 1, ways, 1, width))
    images = classes + 0.7 * rng.normal(size=(count, 1, ways, shots, width))
    support = images + 0.5 * rng.normal(size=(count, copies, ways, shots, width))
    query = classes[:, 0] + 0.7 * rng.normal(size=(count, ways, queries, width))
    common = 2 * rng.random(width)
    vectors = [np.maximum(v.reshape(count, -1, width) + common, 0) for v in (support, query)]
    vectors = [v / np.linalg.norm(v, axis=2, keepdims=True) for v in vectors]
    labels = np.tile(np.repeat(np.arange(ways), shots), copies)
    labels = torch.from_numpy(labels).expand(count, -1)
    support, query = (torch.from_numpy(v).float() for v in vectors)
    ids = torch.arange(labels.shape[1]).expand(count, -1)
    return EpisodeBatch(support, labels, ids, query, ways)


def repeated(batch: EpisodeBatch) -> EpisodeBatch:
    """Make the later half of each support list copies of the first vectors of the same label."""
    ids = batch.ids.clone()
    half = ids.shape[1] // 2
    for position in range(half, ids.shape[1]):
        ids[:, position] = (batch.labels[0] == batch.labels[0, position]).nonzero()[0, 0]
    support = batch.support.gather(1, ids[..., None].expand_as(batch.support))
    return batch._replace(support=support, ids=ids)


def padded(batch: EpisodeBatch, extra: int = 3) -> EpisodeBatch:
    """Put vectors behind the support lists that must not count."""
    count, _, width = batch.support.shape
    return batch._replace(
        support=torch.cat([batch.support, torch.ones(count, extra, width) / width**0.5], dim=1),
        labels=torch.cat([batch.labels, torch.zeros(count, extra, dtype=torch.long)], dim=1),
        ids=torch.cat([batch.ids, torch.full((count, extra), -1)], dim=1),
    )


def by_scikit_learn(model, batch: EpisodeBatch) -> np.ndarray:
    """Fit the model on each episode; return probabilities (E, Q, n)."""
    found = []
    for support, labels, ids, query in zip(*batch[:4], strict=True):
        kept = ids >= 0
        fitted = model.fit(support[kept].double().numpy(), labels[kept].numpy())
        found.append(fitted.predict_proba(query.double().numpy()))
    return np.stack(found)


@pytest.mark.parametrize("form", [lambda batch: batch, repeated, padded])
@pytest.mark.parametrize("shape", SHAPES)
def test_logistic_regression_reaches_the_optimum(shape, form):
    batch = form(episodes(*shape))
    # The binary form that scikit-learn takes for two classes has the same optimum at C = 2.
    oracle = LogisticRegression(C=2.0 if batch.n_ways == 2 else 1.0, tol=1e-10, max_iter=10_000)
    expected = by_scikit_learn(oracle, batch)
    assert np.abs(logistic_regression(batch).numpy() - expected).max() < 1e-5


def test_logistic_regression_says_how_near_the_optimum_it_is():
    batch = episodes(*SHAPES[0])
    counts = torch.ones_like(batch.labels)
    weight, bias, gradient = logistic.fit(batch.support.double(), batch.labels, counts, 5)
    assert gradient.max() <= logistic.TOLERANCE
    weight.requires_grad_()
    bias.requires_grad_()
    logits = batch.support.double() @ weight + bias
    loss = torch.nn.functional.cross_entropy(logits.mT, batch.labels, reduction="sum")
    (loss + 0.5 * weight.square().sum()).backward()
    assert weight.grad.abs().max() < 1e-6
    assert bias.grad.abs().max() < 1e-6


def test_logistic_regression_of_vectors_that_are_all_alike_is_even():
    alike = torch.ones(2, 10, 8) / 8**0.5
    labels = (torch.arange(10) % 5).expand(2, -1)
    batch = EpisodeBatch(alike, labels, torch.arange(10).expand(2, -1), alike[:, :3], 5)
    assert torch.allclose(logistic_regression(batch), torch.full((2, 3, 5), 0.2).double())


@pytest.mark.parametrize("shape", SHAPES)
def test_neighbors_weigh_by_inverse_distance(shape):
    batch = padded(episodes(*shape))
    size = min(30, batch.support.shape[1] - 3)
    oracle = KNeighborsClassifier(size, weights="distance", algorithm="brute")
    assert np.allclose(k_nearest(batch).numpy(), by_scikit_learn(oracle, batch), atol=1e-6)


def test_a_neighbor_at_distance_zero_takes_all():
    batch = episodes(*SHAPES[0])
    batch.query[:, 0] = batch.support[:, 7]
    assert torch.equal(k_nearest(batch)[:, 0].argmax(1), batch.labels[:, 7])
    assert torch.equal(k_nearest(batch)[:, 0].max(1).values, torch.ones(5).double())


@pytest.mark.parametrize("classify", [nearest, most_similar])
def test_the_first_of_the_list_wins_a_tie(classify):
    vectors = torch.nn.functional.normalize(torch.randn(1, 40, 333), dim=2)
    support = torch.cat([vectors, vectors], dim=1)
    labels = torch.cat([torch.zeros(40), torch.ones(40)]).long()[None]
    batch = EpisodeBatch(support, labels, torch.arange(80)[None], vectors + 0.01, 2)
    assert not classify(batch).any()
    assert classify(batch._replace(labels=1 - labels)).all()


@pytest.mark.parametrize("classify", [nearest, most_similar, logistic_regression, prototypes])
def test_padding_counts_for_nothing(classify):
    batch = episodes(*SHAPES[0])
    assert torch.allclose(classify(padded(batch)), classify(batch), atol=1e-6)


@pytest.mark.parametrize("most", [1, 100, 2000])
@pytest.mark.parametrize("classify", [k_nearest, nearest, most_similar])
def test_dividing_the_work_changes_no_answer(classify, most, monkeypatch):
    batch = padded(episodes(5, 5, 1, 5, 40, 6))
    whole = classify(batch)
    monkeypatch.setattr(classifiers, "DISTANCES_AT_ONCE", most)
    torch.testing.assert_close(classify(batch), whole)


def test_prototypes_are_the_classes_means():
    batch = episodes(*SHAPES[1])
    means = torch.stack([batch.support[0, batch.labels[0] == way].mean(0) for way in range(5)])
    expected = (-torch.cdist(batch.query[0].double(), means.double()).square()).softmax(1)
    assert torch.allclose(prototypes(batch)[0], expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(200, 5, 1, 5, 2048, 15), (40, 68, 1, 5, 2048, 15)])
def test_every_prediction_is_scikit_learns(shape):
    """15,000 random queries and 40,800, save those whose two best probabilities nearly tie."""
    for seed in range(0, shape[0], 10):
        batch = episodes(10, *shape[1:], seed=seed)
        oracle = LogisticRegression(tol=1e-10, max_iter=10_000)
        expected = by_scikit_learn(oracle, batch)
        best = np.sort(expected, axis=2)
        clear = best[..., -1] - best[..., -2] >= 1e-4
        assert np.array_equal(
            logistic_regression(batch).argmax(2).numpy()[clear], expected.argmax(2)[clear]
        )
