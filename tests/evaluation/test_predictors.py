"""A cascade's probabilities: of the classes behind the gate, 0 of all others."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ancor.evaluation.classifiers import build_classifier, probabilities_by
from ancor.evaluation.episode_batch import EpisodeBatch
from ancor.evaluation.predictors import Likeliest, cascade, ensemble, part_evidence

E, WAYS, SHOTS, QUERIES = 3, 7, 4, 30


def drawn():
    """Predicted coarse classes, and features; some queries are of one that no support image has."""
    rng = torch.Generator().manual_seed(0)
    support, query = (
        F.normalize(torch.randn(E, count, 6, generator=rng), dim=2)
        for count in (WAYS * SHOTS, QUERIES)
    )
    labels = torch.arange(WAYS).repeat_interleave(SHOTS).expand(E, -1)
    ids = torch.arange(WAYS * SHOTS).expand(E, -1)
    gates = (labels // 3 + torch.bernoulli(torch.full(labels.shape, 0.1), generator=rng)).float()
    asked = torch.randint(0, 5, (E, QUERIES), generator=rng).float()
    fine = EpisodeBatch(support, labels, ids, query, WAYS)
    return fine._replace(support=gates[..., None], query=asked[..., None]), fine


def by_hand(coarse, fine, classifier, episode, number):
    """Probabilities (n,) of one query, among the support vectors that it is compared with."""
    same = coarse.support[episode, :, 0] == coarse.query[episode, number, 0]
    same = same if same.any() else torch.ones_like(same)
    present, local = fine.labels[episode, same].unique(return_inverse=True)
    found = np.zeros(WAYS)
    batch = EpisodeBatch(
        fine.support[episode, same][None],
        local[None],
        fine.ids[episode, same][None],
        fine.query[episode, number][None, None],
        len(present),
        part_evidence(len(present)),
    )
    found[present] = probabilities_by(classifier)(batch)[0, 0] if len(present) > 1 else 1
    return found


@pytest.mark.parametrize("classifier", ["LR", "Proto", "KNN"])
def test_a_cascade_has_the_probabilities_of_its_classifier(classifier):
    coarse, fine = drawn()
    predict = cascade(classifier)
    assert isinstance(predict, Likeliest)
    found = predict.probabilities([coarse, fine])
    expected = [
        [by_hand(coarse, fine, classifier, episode, number) for number in range(QUERIES)]
        for episode in range(E)
    ]
    np.testing.assert_allclose(found, np.array(expected), atol=1e-6)
    assert 0.2 < (found == 0).double().mean() < 0.8
    torch.testing.assert_close(predict([coarse, fine]), found.argmax(2))


def test_a_cascade_of_labels_has_none():
    coarse, fine = drawn()
    predict = cascade("NN")
    assert not isinstance(predict, Likeliest)
    everyone = coarse._replace(query=torch.full_like(coarse.query, 9))  # compared with all
    assert torch.equal(predict([everyone, fine]), build_classifier("NN")(fine))


def test_the_mean_of_many_models_is_no_product_of_zeros():
    """Of 60 models each sure of another class, the product is less than a float can be."""
    rng = torch.Generator().manual_seed(0)
    means = 6 * torch.randn(4, 3, generator=rng)
    batches = [
        EpisodeBatch(
            means[None].roll(number, 1),
            torch.arange(4)[None],
            torch.arange(4)[None],
            torch.randn(1, 5, 3, generator=rng),
            4,
        )
        for number in range(60)
    ]
    logs = torch.stack(
        [-torch.cdist(b.query.double(), b.support.double()).square() for b in batches]
    )
    expected = logs.log_softmax(3).mean(0).softmax(2)
    found = ensemble("Proto").probabilities(batches)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.sum(2), torch.ones(1, 5).double())
