"""Ridge regression on one-hot labels of many episodes at once, in closed form.

Minimizes sum_i w_i |y_i - x_i W - b|^2 + alpha |W|^2 for the one-hot y_i (Hoerl and Kennard, 1970),
as scikit-learn's `Ridge` does; the answer is the class of the highest value. alpha is of `GRID`, by
leave-one-out, which needs no second fit: of image i the error is r_i / (1 - h_i), r_i its residual
and h_i its diagonal entry of the hat matrix (PRESS; Allen, 1974).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.evaluation.episode_batch import EpisodeBatch, Images

GRID = tuple(10 ** (exponent / 2) for exponent in range(-6, 5))  # 0.001 to 100, of unit vectors
ONE_IMAGE = 0.03  # where each class has one image, so that none can be left out


class Fit(NamedTuple):
    """Values of x are x @ weight + bias.

    Attributes:
        weight: (E, F, n) of fp64.
        bias: (E, 1, n).
    """

    weight: Tensor
    bias: Tensor


def ridge(batch: EpisodeBatch) -> Tensor:
    """Values (E, Q, n) of queries by ridge regression (`fit_ridge`)."""
    fitted, query = fit_ridge(batch), batch.query
    return torch.baddbmm(fitted.bias.to(query), query, fitted.weight.to(query)).double()


def fit_ridge(batch: EpisodeBatch) -> Fit:
    """Fit ridge regression to the support vectors, alpha chosen for each episode.

    Views of one image must not vouch for one another, so alpha is chosen by leaving out images,
    each of which stands there as the mean of its views. The fit then is of all views, each counted
    by one over their number, so that alpha weighs the same (ours).
    """
    images = batch.by_image()
    alpha = choose_alpha(batch, images)
    weights = (1 / images.views.clamp(min=1).double()).gather(1, images.image_of)
    weights = (batch.ids >= 0) * batch.weights(batch.labels) * weights
    return fit(batch.support.double(), batch.labels, weights, batch.n_ways, alpha)


def fit(vectors: Tensor, labels: Tensor, weights: Tensor, n_ways: int, alpha: Tensor) -> Fit:
    """Fit ridge regression, the intercept free.

    Args:
        vectors: support vectors, (E, S, F) of fp64.
        labels: their labels, (E, S).
        weights: how much each counts, (E, S); 0 for padding.
        n_ways: number n of classes.
        alpha: factor of the penalty, (E,) of fp64.
    """
    problem = _centered(vectors, labels, weights, n_ways)
    rows, targets = problem.rows, problem.targets
    wide = rows.shape[2] > rows.shape[1]
    gram = rows @ rows.mT if wide else rows.mT @ rows
    gram.diagonal(dim1=1, dim2=2).add_(alpha[:, None])
    factor = torch.linalg.cholesky(gram)
    if wide:
        weight = rows.mT @ torch.cholesky_solve(targets, factor)
    else:
        weight = torch.cholesky_solve(rows.mT @ targets, factor)
    return Fit(weight, problem.target_mean - problem.mean @ weight)


def choose_alpha(batch: EpisodeBatch, images: Images) -> Tensor:
    """Return the alpha of `GRID` with the least squared error of left-out images, (E,).

    The squared error, not the accuracy, which of few images is the same for many an alpha. An image
    that is its class's only one is not counted, as nothing else tells of its class; where all are,
    alpha is `ONE_IMAGE`.
    """
    n_ways, (_, sizes) = batch.n_ways, images.ranks(batch.n_ways)
    weights = (images.views > 0) * torch.as_tensor(batch.weights(images.labels)).double()
    counted = weights * (sizes > 1)
    if not counted.any():
        return weights.new_full(weights.shape[:1], ONE_IMAGE)
    targets = F.one_hot(images.labels, n_ways)
    totals = [
        ((values - targets).square().sum(2) * counted).sum(1)
        for values in left_out(images.means, images.labels, weights, n_ways)
    ]
    best = torch.stack(totals).argmin(0)
    return torch.where(counted.any(1), weights.new_tensor(GRID)[best], ONE_IMAGE)


def left_out(vectors: Tensor, labels: Tensor, weights: Tensor, n_ways: int) -> Iterator[Tensor]:
    """Yield the values (E, S, n) of each vector by the fit of all others, by each alpha of `GRID`.

    Args:
        vectors, labels, weights, n_ways: as of `fit`; of a vector of weight 0 nothing is said.
    """
    problem = _centered(vectors, labels, weights, n_ways)
    axes, squares = _principal(problem.rows)
    along, shares = axes.mT @ problem.targets, axes.square()
    root = weights.clamp(min=torch.finfo(weights.dtype).tiny).sqrt()[..., None]
    for alpha in GRID:
        factor = 1 / (squares + alpha)[..., None]
        hat = (shares @ factor)[..., 0] + weights / weights.sum(1, keepdim=True)
        residual = (problem.targets - axes @ (factor * along)) / root
        yield F.one_hot(labels, n_ways) - residual / (1 - hat)[..., None]


class _Problem(NamedTuple):
    """Vectors and targets about their means, times the roots of their weights.

    Attributes:
        rows: (E, S, F).
        targets: (E, S, n).
        mean, target_mean: what was subtracted, (E, 1, F) and (E, 1, n).
    """

    rows: Tensor
    targets: Tensor
    mean: Tensor
    target_mean: Tensor


def _centered(vectors: Tensor, labels: Tensor, weights: Tensor, n_ways: int) -> _Problem:
    share = (weights / weights.sum(1, keepdim=True))[:, None]  # (E, 1, S)
    targets = F.one_hot(labels, n_ways).double()
    mean, target_mean = share @ vectors, share @ targets
    root = weights.sqrt()[..., None]
    return _Problem(root * (vectors - mean), root * (targets - target_mean), mean, target_mean)


def _principal(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows (E, S, F) along their principal axes, (E, S, r), and squared lengths (E, r)."""
    if rows.shape[2] > rows.shape[1]:
        squares, vectors = torch.linalg.eigh(rows @ rows.mT)
        squares = squares.clamp(min=0)
        return vectors * squares.sqrt()[:, None], squares
    squares, vectors = torch.linalg.eigh(rows.mT @ rows)
    return rows @ vectors, squares.clamp(min=0)
