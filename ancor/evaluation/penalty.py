"""LR and its penalty, scikit-learn's `C`: given, or chosen for each episode (ours)."""

import logging
from functools import cache

import torch
from torch import Tensor

from ancor.evaluation import logistic
from ancor.evaluation.config import AUTO
from ancor.evaluation.episode_batch import EpisodeBatch

log = logging.getLogger(__name__)

GRID = (1.0, 10.0, 100.0, 1000.0)
FOLDS = 3  # or a class's images, if it has fewer
ONE_IMAGE = 100.0  # where each class has one image, so that none can be left out
UNSETTLED = 1e-2  # norm of the gradient; the weights are off by no more, as the penalty bends by 1


def fit_logistic(batch: EpisodeBatch) -> logistic.Fit:
    """Fit logistic regression to the support vectors."""
    support, labels, counts = batch.distinct()
    counts = batch.evidence * counts * batch.weights(labels)
    fitted = logistic.fit(support, labels, counts, batch.n_ways)
    if (fitted.gradient > UNSETTLED).any():
        tell_unsettled()
    return fitted


@cache
def tell_unsettled() -> None:
    """Say, once, that LR ended before its optimum."""
    log.warning(
        "Notice: LR ended after %d steps before its optimum, so that probabilities are off; give a "
        "smaller `C`",
        logistic.MAX_ITERATIONS,
    )


def logistic_probabilities(fit: logistic.Fit, query: Tensor) -> Tensor:
    """Probabilities (E, Q, n) of queries (E, Q, F)."""
    return torch.baddbmm(fit.bias, query, fit.weight).double().softmax(2)


def with_penalty(batch: EpisodeBatch, penalty: float | str) -> EpisodeBatch:
    """Return a batch whose evidence is times C: `penalty` or, of `auto`, each episode's best."""
    factor = choose_penalty(batch) if penalty == AUTO else penalty
    return batch._replace(evidence=batch.evidence * factor)


def choose_penalty(batch: EpisodeBatch) -> Tensor:
    """Return the C of `GRID` with the least cross-entropy of left-out images, (E, 1) of fp64.

    Each class's images are left out a third at a time with all of their views, at most one of two;
    a class's only image stays. Where no class has two, C is `ONE_IMAGE`.
    """
    images = batch.by_image()
    ranks, sizes = images.ranks(batch.n_ways)
    divided = (sizes > 1) & (images.views > 0)
    if not divided.any():
        return batch.support.new_full((len(batch.ids), 1), ONE_IMAGE, dtype=torch.float64)
    fold = torch.where(divided, ranks % FOLDS, -1).gather(1, images.image_of)
    folds = range(int(fold.max()) + 1)
    losses = [sum(_loss(batch, fold == number, C) for number in folds) for C in GRID]
    losses = torch.stack(losses)
    best = losses.new_tensor(GRID)[losses.argmin(0)]
    return torch.where(divided.any(1), best, ONE_IMAGE)[:, None]


def _loss(batch: EpisodeBatch, held: Tensor, penalty: float) -> Tensor:
    """Sum of the cross-entropies of vectors (E, S) that are held out of a fit, (E,)."""
    others = torch.where(held, -1, batch.ids)
    fitted = fit_logistic(batch._replace(ids=others, evidence=batch.evidence * penalty))
    logits = torch.baddbmm(fitted.bias, batch.support, fitted.weight).double()
    entropy = -logits.log_softmax(2).gather(2, batch.labels[..., None])[..., 0]
    return (entropy * held * batch.weights(batch.labels)).sum(1)
