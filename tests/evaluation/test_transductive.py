"""SimpleShot, BD-CSPN and LaplacianShot: easyfsl's scores of the same features."""

import pytest
import torch
from torch import nn

from ancor.evaluation.classifiers import SCORED, build_classifier
from tests.evaluation.test_ridge import QUERIES, E, episodes

TRANSDUCTIVE = ["BD-CSPN", "LaplacianShot"]


@pytest.mark.parametrize("name", ["SimpleShot", *TRANSDUCTIVE])
@pytest.mark.parametrize("shots", [1, 5])
def test_scores_are_easyfsls(name, shots):
    methods = pytest.importorskip("easyfsl.methods")
    theirs = getattr(methods, name.replace("-", ""))(backbone=nn.Identity())
    batch = episodes(shots=shots)
    found = SCORED[name](batch)
    for e in range(E):
        theirs.process_support_set(batch.support[e].float(), batch.labels[e])
        expected = theirs(batch.query[e].float())
        scores = found[e].exp() if name == "LaplacianShot" else found[e]
        torch.testing.assert_close(scores.float(), expected, atol=1e-5, rtol=0)
        labels = build_classifier(name)(batch)[e]
        assert torch.equal(labels, expected.argmax(1))


@pytest.mark.parametrize("name", TRANSDUCTIVE)
def test_padding_queries_change_no_other_answer(name):
    batch = episodes()
    shorter = batch._replace(query=batch.query[:, : QUERIES - 2])
    padded = batch._replace(n_queries=torch.full((E,), QUERIES - 2))
    expected = SCORED[name](shorter)
    torch.testing.assert_close(SCORED[name](padded)[:, : QUERIES - 2], expected)
    assert not torch.allclose(SCORED[name](batch)[:, : QUERIES - 2], expected)
