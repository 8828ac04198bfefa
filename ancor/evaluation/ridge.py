"""Ridge regression on one-hot labels of many episodes at once, in closed form.

Minimizes sum_i w_i |y_i - x_i W - b|^2 + alpha |W|^2 for the one-hot y_i (Hoerl and Kennard, 1970),
as scikit-learn's `Ridge` does; the answer is the class of the highest value. alpha is of `GRID`, by
leave-one-out, which needs no second fit: of image i the error is r_i / (1 - h_i), r_i its residual
and h_i its diagonal entry of the hat matrix (PRESS; Allen, 1974).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
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
    problem, alpha = _by_image(batch, images)
    if (images.views > 1).any():
        weights = (1 / images.views.clamp(min=1).double()).gather(1, images.image_of)
        vectors, labels, weights = batch.distinct(weights * batch.weights(batch.labels))
        problem = Problem.of(vectors.double(), labels, weights, batch.n_ways)
    return problem.fit(alpha)


def choose_alpha(batch: EpisodeBatch) -> Tensor:
    """Return the alpha (E,) of `GRID` with the least squared error of left-out images.

    An image that is its class's only one is not counted, as nothing else tells of its class; where
    all are, alpha is `ONE_IMAGE`.
    """
    return _by_image(batch, batch.by_image())[1]


def _by_image(batch: EpisodeBatch, images: Images) -> tuple["Problem", Tensor]:
    """Return the problem whose vectors are the means of the images' views, and its alpha (E,)."""
    _, sizes = images.ranks(batch.n_ways)
    weights = (images.views > 0) * torch.as_tensor(batch.weights(images.labels)).double()
    problem = Problem.of(images.means, images.labels, weights, batch.n_ways)
    return problem, problem.best_alpha((weights > 0) & (sizes > 1))


@dataclass(frozen=True)
class Problem:
    """Vectors and their one-hot labels about their means, times the roots of their weights.

    Attributes:
        rows: (E, S, F) of fp64.
        targets: (E, S, n).
        mean, target_mean: what was subtracted, (E, 1, F) and (E, 1, n).
        share: of each vector in the means, (E, S).
    """

    rows: Tensor
    targets: Tensor
    mean: Tensor
    target_mean: Tensor
    share: Tensor

    @classmethod
    def of(cls, vectors: Tensor, labels: Tensor, weights: Tensor, n_ways: int) -> "Problem":
        """Center vectors (E, S, F) of fp64 with labels (E, S); weights (E, S), 0 for padding."""
        share = weights / weights.sum(1, keepdim=True)
        targets = F.one_hot(labels, n_ways).double()
        mean, target_mean = share[:, None] @ vectors, share[:, None] @ targets
        rows, root = vectors - mean, weights.sqrt()[..., None]
        return cls(rows.mul_(root), (targets - target_mean) * root, mean, target_mean, share)

    @property
    def wide(self) -> bool:
        """Whether there are more features than vectors."""
        return self.rows.shape[2] > self.rows.shape[1]

    @cached_property
    def gram(self) -> Tensor:
        """Inner products of the rows or, if these are fewer, of the features; (E, r, r)."""
        return self.rows @ self.rows.mT if self.wide else self.rows.mT @ self.rows

    def fit(self, alpha: Tensor) -> Fit:
        """Minimize with the factors alpha (E,) of the penalty, the intercept free."""
        shifted = self.gram.clone()
        shifted.diagonal(dim1=1, dim2=2).add_(alpha[:, None])
        factor = torch.linalg.cholesky(shifted)
        if self.wide:
            dual = torch.cholesky_solve(self.targets, factor)
            weight = (dual.mT @ self.rows).mT  # products of long rows are quicker
        else:
            weight = torch.cholesky_solve(self.rows.mT @ self.targets, factor)
        return Fit(weight, self.target_mean - self.mean @ weight)

    def best_alpha(self, counted: Tensor) -> Tensor:
        """Return the alpha of `GRID` with the least squared error of left-out vectors, (E,).

        The squared error, not the accuracy, which of few images is the same for many an alpha.

        Args:
            counted: which vectors are left out, (E, S); where none is, alpha is `ONE_IMAGE`.
        """
        if not counted.any():
            return self.share.new_full(counted.shape[:1], ONE_IMAGE)
        totals = [
            (torch.linalg.vecdot(errors, errors, dim=1) * counted).sum(1)
            for errors in self.left_out_errors()
        ]
        best = torch.stack(totals).argmin(0)
        return torch.where(counted.any(1), self.share.new_tensor(GRID)[best], ONE_IMAGE)

    def left_out_errors(self) -> Iterator[Tensor]:
        """Yield, by each alpha of `GRID`, what the fit of all others misses of each vector's label.

        Each (E, n, S) is its one-hot label minus the values there, times the root of its weight.
        """
        axes, squares = self._principal()
        targets, shares = self.targets.mT.contiguous(), axes.square()
        along = targets @ axes  # (E, n, r)
        for alpha in GRID:
            factor = 1 / (squares + alpha)[:, None]
            kept = 1 - self.share[:, None] - factor @ shares.mT  # (E, 1, S)
            yield torch.baddbmm(targets, along * factor, axes.mT, alpha=-1).div_(kept)

    def _principal(self) -> tuple[Tensor, Tensor]:
        """Return the rows along their principal axes, (E, S, r), and squared lengths (E, r)."""
        squares, vectors = torch.linalg.eigh(self.gram)
        squares = squares.clamp(min=0)
        return (vectors * squares.sqrt()[:, None] if self.wide else self.rows @ vectors), squares
