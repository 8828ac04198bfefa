"""LR's penalty: scikit-learn's C, and the one of the least error of left-out images."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from ancor.evaluation import logistic, penalty
from ancor.evaluation.classifiers import probabilities_by
from tests.evaluation.test_ridge import SHOTS, WAYS, E, episodes
from tests.refusals import tells


@pytest.mark.parametrize("C", [0.1, 1.0, 100.0])
def test_C_is_scikit_learns(C):
    batch = episodes(copies=2, noise=0.3)
    found = probabilities_by("LR", C)(batch)
    for e in range(E):
        theirs = LogisticRegression(C=C, tol=1e-9, max_iter=5000)
        theirs.fit(batch.support[e], batch.labels[e])
        np.testing.assert_allclose(found[e], theirs.predict_proba(batch.query[e]), atol=1e-5)


def test_auto_takes_the_C_of_the_least_error_of_left_out_images():
    batch = episodes(width=6, copies=2, noise=0.3)
    fold = batch.images % SHOTS
    for e, chosen in enumerate(penalty.choose_penalty(batch).flatten().tolist()):
        losses = []
        for C in penalty.GRID:
            loss = 0
            for number in range(penalty.FOLDS):
                held = (fold[e] == number).numpy()
                theirs = LogisticRegression(C=C, tol=1e-9, max_iter=5000)
                theirs.fit(batch.support[e][~held], batch.labels[e][~held])
                answers = theirs.predict_proba(batch.support[e][held])
                loss += log_loss(batch.labels[e][held], answers, labels=range(WAYS))
            losses.append(loss)
        assert chosen == penalty.GRID[int(np.argmin(losses))]


def test_views_of_an_image_are_left_out_together():
    """Left in, copies would vouch for the highest C, as nothing is unknown any more."""
    batch = episodes(width=6, copies=3)
    torch.testing.assert_close(
        penalty.choose_penalty(batch), penalty.choose_penalty(episodes(width=6))
    )


def test_of_one_image_a_class_C_is_not_chosen():
    batch = episodes(shots=1, copies=3)
    assert (penalty.choose_penalty(batch) == penalty.ONE_IMAGE).all()
    mixed = batch._replace(images=torch.arange(12).expand(E, -1))
    assert mixed.by_image().views.shape == (E, 12)


def test_an_optimum_that_is_not_reached_is_told_once(monkeypatch, caplog):
    batch = episodes(copies=2, noise=0.3)
    penalty.tell_unsettled.cache_clear()
    probabilities_by("LR", 1.0)(batch)
    assert not caplog.text
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 3)
    for _ in range(2):
        probabilities_by("LR", 1e4)(batch)
    assert tells(caplog.text, "3 steps", "`C`")
    assert caplog.text.count("optimum") == 1
    penalty.tell_unsettled.cache_clear()
