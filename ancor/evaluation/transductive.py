"""Transductive classifiers: they learn from all queries of an episode together, without labels.

So an answer depends on which other queries there are, and accuracies are not to be compared with
those of classifiers that see one query at a time. Their constants are easyfsl's.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.evaluation.episode_batch import EpisodeBatch

NEIGHBORS = 2  # easyfsl counts the query itself, as its third
SMOOTHNESS = 0.7  # lambda of LaplacianShot
STEPS = 20
SETTLED = 1e-6  # relative change of the bound at which an episode's updates end
AFFINITIES_AT_ONCE = 2**23  # 64 MB


def rectified(batch: EpisodeBatch) -> Tensor:
    """Scores (E, Q, n): the cosine to each class's rectified mean.

    BD-CSPN (Liu et al., 2020, arXiv 1911.10713), with exponentials of cosines without a factor and
    queries that are shifted for the rectification alone, as in easyfsl.
    """
    return _cosines(batch.query.double(), _rectified_means(batch))


def laplacian_shot(batch: EpisodeBatch) -> Tensor:
    """Scores (E, Q, n): logarithms of soft assignments, which neighbors among the queries smooth.

    LaplacianShot (Ziko et al., 2020, arXiv 2006.15486, algorithm 1), from rectified means.
    """
    episodes = max(1, AFFINITIES_AT_ONCE // batch.query.shape[1] ** 2)
    return torch.cat([_smoothed(part) for part in batch.split(episodes)])


def _smoothed(batch: EpisodeBatch) -> Tensor:
    query, asked = batch.query.double(), batch.asked()
    near = _neighbors(query, asked)
    away = torch.cdist(query, _rectified_means(batch)).square()
    logs, before = (-away).log_softmax(2), None
    moving = torch.ones_like(away[:, :1, :1], dtype=torch.bool)
    for step in range(STEPS):
        new = (SMOOTHNESS * near @ logs.exp() - away).log_softmax(2)
        logs = torch.where(moving, new, logs)
        soft = logs.exp()
        each = soft * (logs + away - SMOOTHNESS * near @ soft)
        bound = (each * asked[..., None]).sum((1, 2), keepdim=True)
        if step > 1:
            moving &= (bound - before).abs() > SETTLED * before.abs()
            if not moving.any():
                break
        before = bound
    return logs


def _rectified_means(batch: EpisodeBatch) -> Tensor:
    """Means (E, n, F) of support vectors and of the queries that are taken for each class.

    Each vector is weighted by the exponential of its cosine to the class's mean.
    """
    support, query, means = batch.support.double(), batch.query.double(), batch.means()
    there, asked = (batch.ids >= 0)[..., None], batch.asked()[..., None]
    shift = _mean(support, there) - _mean(query, asked)
    query = query + shift
    similar = _cosines(query, means)
    taken = F.one_hot(similar.argmax(2), batch.n_ways) * asked
    of_support = batch.members() * _cosines(support, means).exp().mT  # (E, n, S)
    of_query = (taken * similar.exp()).mT
    total = of_support.sum(2, keepdim=True) + of_query.sum(2, keepdim=True)
    return (of_support @ support + of_query @ query) / total


def _mean(vectors: Tensor, counted: Tensor) -> Tensor:
    return (vectors * counted).sum(1, keepdim=True) / counted.sum(1, keepdim=True)


def _cosines(vectors: Tensor, means: Tensor) -> Tensor:
    return F.normalize(vectors, dim=2) @ F.normalize(means, dim=2).mT


def _neighbors(query: Tensor, asked: Tensor) -> Tensor:
    """Which queries are among the nearest of which, (E, Q, Q) of fp64: 1 or 0."""
    distances = torch.cdist(query, query).masked_fill_(~asked[:, None], torch.inf)
    distances.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    nearest, at = distances.topk(min(NEIGHBORS, query.shape[1] - 1), largest=False)
    return torch.zeros_like(distances).scatter_(2, at, nearest.isfinite().double())
