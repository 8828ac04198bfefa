"""Multinomial logistic regression of many episodes at once, to its optimum.

The weights lie in the span of the support vectors, so the problem is solved in coordinates of that
span: S dimensions instead of F, where S is less. Centring the vectors takes the intercept out of
the weights' way; what is left is so well conditioned that L-BFGS (Nocedal and Wright, Numerical
Optimization, 2006, algorithm 7.4) needs a dozen passes over an S x S matrix.
"""

from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-9  # of the gradient's norm, for vectors of unit length
MAX_ITERATIONS = 500
MEMORY = 6  # pairs of steps and gradient changes that L-BFGS keeps
JITTER = 1e-11  # makes the Gram matrix of dependent vectors definite; far below the tolerances


class Fit(NamedTuple):
    """Logits of x are x @ weight + bias; `gradient` is the objective's, its norm at the end.

    Attributes:
        weight: (E, F, n).
        bias: (E, 1, n).
        gradient: (E,).
    """

    weight: Tensor
    bias: Tensor
    gradient: Tensor


def fit(vectors: Tensor, labels: Tensor, counts: Tensor, n_ways: int) -> Fit:
    """Minimise, for each episode, the sum of cross-entropies + 0.5 |W|^2, the intercept free.

    Args:
        vectors: support vectors, (E, S, F).
        labels: their labels, (E, S).
        counts: how often each vector counts, (E, S); 0 for one that is there as padding.
        n_ways: number n of classes, of which each episode has at least one vector.
    """
    counts = counts.double()
    share = (counts / counts.sum(1, keepdim=True))[..., None]  # (E, S, 1)
    problem = _Problem(_coordinates(vectors.double(), share), labels, counts, n_ways)
    state, gradient = _minimize(problem)
    # At the optimum the penalty's gradient W equals X^T (Y - P).
    residual = problem.residual(state)
    residual = residual - share * residual.sum(1, keepdim=True)
    weight = (residual.mT.to(vectors.dtype) @ vectors).mT  # products of long rows are quicker
    center = share.mT.to(vectors.dtype) @ vectors
    bias = problem.scale * state.variables[:, -1:] - center @ weight
    return Fit(weight, bias.to(vectors.dtype), gradient)


def _coordinates(vectors: Tensor, share: Tensor) -> Tensor:
    """Return the centered vectors (E, S, F) in an orthonormal basis of a space that holds them.

    Args:
        vectors: (E, S, F).
        share: of each vector in the center, (E, S, 1); where it is 0, so are the coordinates.
    """
    used = (share > 0).to(vectors)
    if vectors.shape[2] <= vectors.shape[1]:
        return (vectors - share.mT @ vectors) * used
    gram = vectors @ vectors.mT
    means = gram @ share
    gram = gram - means - means.mT + share.mT @ means
    gram *= used * used.mT
    gram.diagonal(dim1=1, dim2=2).add_(JITTER)
    return torch.linalg.cholesky(gram) * used


class _Problem:
    """The objective in coordinates: variables (E, r + 1, n), the intercept in the last row.

    Args:
        vectors: (E, S, r).
        labels, counts, n_ways: as in `fit`.
    """

    def __init__(self, vectors: Tensor, labels: Tensor, counts: Tensor, n_ways: int) -> None:
        self.counts, self.labels = counts[..., None], labels[..., None]
        # The intercept's curvature becomes about that of the weights.
        self.scale = (n_ways / counts.sum(1)).sqrt()[:, None, None]
        ones = self.scale.expand(-1, vectors.shape[1], 1)
        self.vectors = torch.cat([vectors, ones], dim=2)
        self.shape = (len(vectors), self.vectors.shape[2], n_ways)

    def state(self, variables: Tensor, logits: Tensor) -> "_State":
        """Evaluate at variables whose logits (E, S, n) are known."""
        totals = logits.logsumexp(2, keepdim=True)
        entropy = (self.counts * (totals - logits.gather(2, self.labels))).sum((1, 2))
        penalty = 0.5 * variables[:, :-1].square().sum((1, 2))
        return _State(variables, logits, totals, (entropy + penalty)[:, None, None])

    def residual(self, state: "_State") -> Tensor:
        """Y - P, (E, S, n), each row times its count."""
        minus = (state.logits - state.totals).exp_().neg_()
        minus.scatter_add_(2, self.labels, torch.ones_like(minus[..., :1]))
        return minus.mul_(self.counts)

    def gradient(self, state: "_State") -> Tensor:
        """Gradient (E, r + 1, n)."""
        residual = self.residual(state)
        gradient = torch.baddbmm(state.variables, self.vectors.mT, residual, alpha=-1)
        gradient[:, -1] -= state.variables[:, -1]
        return gradient


class _State(NamedTuple):
    """Variables, logits (E, S, n), their logsumexp (E, S, 1), and the objective (E, 1, 1)."""

    variables: Tensor
    logits: Tensor
    totals: Tensor
    loss: Tensor


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Inner products (E, 1, 1) of two stacks of matrices."""
    return torch.linalg.vecdot(left.flatten(1), right.flatten(1))[:, None, None]


def _minimize(problem: _Problem) -> tuple[_State, Tensor]:
    """Run L-BFGS from zero; return where it ends and the gradients' norms (E,)."""
    start = problem.vectors.new_zeros(problem.shape)
    state = problem.state(start, problem.vectors @ start)
    gradient = problem.gradient(state)
    history: list[tuple[Tensor, Tensor, Tensor]] = []
    norms = _dot(gradient, gradient).sqrt()
    for _ in range(MAX_ITERATIONS):
        if not (norms > TOLERANCE).any():
            break
        direction = _direction(gradient, history)
        change = problem.vectors @ direction
        step = torch.where(norms > TOLERANCE, _first_step(problem, history, direction, change), 0)
        state, step = _backtrack(problem, state, gradient, direction, change, step)
        before, gradient = gradient, problem.gradient(state)
        norms = _dot(gradient, gradient).sqrt()
        moved, turned = direction * step, gradient - before
        curvature = _dot(moved, turned)
        inverse = torch.where(curvature > 0, 1 / curvature, 0)
        history = [*history[1 - MEMORY :], (moved, turned, inverse)]
    return state, norms.flatten()


def _direction(gradient: Tensor, history: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Minus the gradient, times L-BFGS's estimate of the inverse Hessian."""
    result = gradient.neg()
    factors = []
    for moved, turned, inverse in reversed(history):
        factors.append(inverse * _dot(moved, result))
        result.addcmul_(factors[-1], turned, value=-1)
    if history:
        moved, turned, inverse = history[-1]
        scale = 1 / (inverse * _dot(turned, turned))
        result *= torch.where(inverse > 0, scale, 1)
    for moved, turned, inverse in history:
        result.addcmul_(factors.pop() - inverse * _dot(turned, result), moved)
    return result


def _first_step(problem: _Problem, history: list, direction: Tensor, change: Tensor) -> Tensor:
    """Return the length to try first: 1, or without a history one for equally likely classes."""
    if history:
        return torch.ones_like(direction[:, :1, :1])
    squared = _dot(direction, direction)
    counted = _dot(change, change * problem.counts) / problem.shape[2]
    return squared / (squared + counted).clamp(min=1e-300)


def _backtrack(
    problem: _Problem,
    state: _State,
    gradient: Tensor,
    direction: Tensor,
    change: Tensor,
    step: Tensor,
) -> tuple[_State, Tensor]:
    """Halve the steps (E, 1, 1) until the objective falls by Armijo's rule; return both."""
    slope = 1e-4 * _dot(gradient, direction)
    for _ in range(30):
        new = problem.state(state.variables + step * direction, state.logits + step * change)
        # Close to the optimum the fall is less than the rounding of the objective.
        fallen = new.loss <= state.loss + step * slope + 1e-13 * state.loss.abs()
        if fallen.all():
            break
        step = torch.where(fallen, step, step / 2)
    return new, step
