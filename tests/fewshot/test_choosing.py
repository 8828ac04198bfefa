"""Which encoder and classifier suit images: by leaving each out with all of its views."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from ancor.fewshot.choosing import Candidate, choose_by
from ancor.fewshot.support_set import Features
from tests.refusals import one_line, refuses

VIEWS = 3


def features_of(labels, noise, width=12, seed=0):
    """Images about their classes' directions; views about the images."""
    draw = torch.Generator().manual_seed(seed)
    classes = torch.randn(int(labels.max()) + 1, width, generator=draw)
    images = classes[torch.from_numpy(labels)]
    images = images + noise * torch.randn(images.shape, generator=draw)
    views = images[:, None] + 0.1 * torch.randn(len(labels), VIEWS, width, generator=draw)
    none = torch.full((len(labels), 1 + VIEWS), -1)
    images, views = F.normalize(images, dim=1), F.normalize(views, dim=2)
    return Features(images, views, none[:, 0], none[:, 1:])


def test_answers_are_those_of_scikit_learn_on_the_other_images():
    labels = np.repeat(np.arange(4), 5)
    features = features_of(labels, noise=2)
    (found,) = choose_by([("a", features)], labels, ["LR"]).candidates
    theirs = []
    for out in range(len(labels)):
        kept = np.arange(len(labels)) != out
        model = LogisticRegression(class_weight="balanced", tol=1e-8, max_iter=5000)
        model.fit(features.views[kept].flatten(0, 1), labels[kept].repeat(VIEWS))
        theirs.append(model.predict(features.vectors[out][None])[0] == labels[out])
    assert 0 < sum(theirs) < len(labels)
    np.testing.assert_array_equal(found.right, theirs)


def test_the_better_encoder_comes_first_and_like_ones_are_named():
    labels = np.repeat(np.arange(4), 10)
    encoded = [(name, features_of(labels, noise)) for name, noise in (("bad", 9), ("good", 0.3))]
    choice = choose_by(encoded, labels, ["Ridge", "Proto"])
    names = [(each.encoder, each.classifier) for each in choice.candidates]
    assert {name for name, _ in names[:2]} == {"good"}
    assert [each.encoder for each in choice.alike] == ["good"]
    assert choice.as_dict()["take"] == {"encoder": "good", "classifier": names[0][1]}
    accuracies = [each.accuracy for each in choice.candidates]
    assert accuracies == sorted(accuracies, reverse=True)


@pytest.mark.parametrize("right", [0, 3, 20])
def test_intervals_are_wilsons_and_differences_mcnemars(right):
    one = Candidate("a", "LR", np.arange(20) < right)
    other = Candidate("b", "LR", np.arange(20) % 2 == 0)
    expected = binomtest(right, 20).proportion_ci(method="wilson")
    np.testing.assert_allclose(one.interval, (100 * expected.low, 100 * expected.high), atol=1e-6)
    only, others = (int((a.right & ~b.right).sum()) for a, b in ((one, other), (other, one)))
    np.testing.assert_allclose(one.chance(other), binomtest(only, only + others).pvalue)
    assert one.chance(one) == 1


def test_a_class_of_one_image_is_learned_from_and_told():
    labels = np.array([0, 0, 1, 1, 2])
    choice = choose_by([("a", features_of(labels, 0.1))], labels, ["Proto"])
    assert len(choice.candidates[0].right) == 4
    one_line("\n".join(choice.notes), "2")
    with refuses("2"):
        choose_by([("a", features_of(labels[1:4:2], 0.1))], np.array([0, 1]), ["Proto"])
