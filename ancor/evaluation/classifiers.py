"""Few-shot classifiers: from the support and query features of many episodes to predictions.

Each is a function of an `EpisodeBatch`; those of `PROBABILISTIC` return probabilities (E, Q, n),
those of `SCORED` scores (E, Q, n), those of `NEAREST` episode labels (E, Q).
"""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.errors import choose
from ancor.evaluation.config import CLASSIFIERS
from ancor.evaluation.episode_batch import EpisodeBatch
from ancor.evaluation.penalty import fit_logistic, logistic_probabilities, with_penalty
from ancor.evaluation.ridge import ridge
from ancor.evaluation.transductive import laplacian_shot, rectified

MAX_NEIGHBORS = 30
DISTANCES_AT_ONCE = 2**20  # 8 MB; twice as fast as all those of an all-way episode at once
TIE = 1e-10  # distances of unit vectors, in fp64, that differ by less are equal


def balanced(sizes: Tensor) -> Tensor | None:
    """Weights (n,) by which classes of these sizes (n,) count equally; None where they do anyway.

    They are those of scikit-learn's `class_weight="balanced"` (King and Zeng, 2001): the mean size
    over a class's own.
    """
    return None if (sizes == sizes[0]).all() else sizes.sum() / (len(sizes) * sizes.double())


Classifier = Callable[[EpisodeBatch], Tensor]


def logistic_regression(batch: EpisodeBatch) -> Tensor:
    """Probabilities of multinomial logistic regression, at its optimum (`logistic.fit`)."""
    return logistic_probabilities(fit_logistic(batch), batch.query)


def _a_part_at_a_time(classify: Classifier) -> Classifier:
    """Divide episodes, and queries of large ones, so that distances fit the processor's cache."""

    @wraps(classify)
    def whole(batch: EpisodeBatch) -> Tensor:
        queries, listed = batch.query.shape[1], batch.labels.shape[1]
        episodes = max(1, DISTANCES_AT_ONCE // (queries * listed))
        return torch.cat([by_queries(part) for part in batch.split(episodes)])

    def by_queries(batch: EpisodeBatch) -> Tensor:
        parts = batch.query.split(max(1, DISTANCES_AT_ONCE // batch.labels.numel()), dim=1)
        return torch.cat([classify(batch._replace(query=part)) for part in parts], dim=1)

    return whole


@_a_part_at_a_time
def k_nearest(batch: EpisodeBatch) -> Tensor:
    """Probabilities by min(30, S) Euclidean neighbors, weighted by inverse distance.

    Neighbors at distance 0 take all. Where classes have weights, neighbors are taken until theirs
    add up to 30, and each vote counts by its weight (ours).
    """
    distances, order = _squared_distances(batch).sort(dim=2, stable=True)
    sizes = (batch.ids >= 0).sum(1).clamp(max=MAX_NEIGHBORS)  # (E,)
    kept = int(sizes.max()) if batch.class_weights is None else order.shape[2]
    distances, order = distances[..., :kept], order[..., :kept]
    labels = batch.labels[:, None].expand(-1, order.shape[1], -1).gather(2, order)
    equal = distances <= TIE
    weights = torch.where(equal.any(2, keepdim=True), equal.double(), distances.rsqrt())
    if batch.class_weights is None:
        weights *= torch.arange(kept, device=sizes.device) < sizes[:, None, None]
    else:
        worth = batch.weights(labels.flatten(1)).view_as(weights)
        weights *= worth * (worth.cumsum(2) - worth < MAX_NEIGHBORS)
    votes = weights.new_zeros(*order.shape[:2], batch.n_ways).scatter_add_(2, labels, weights)
    return votes / votes.sum(2, keepdim=True)


def prototypes(batch: EpisodeBatch) -> Tensor:
    """Probabilities: softmax of minus the squared distance to each class's mean.

    Prototypical networks (Snell et al., 2017, arXiv 1703.05175).
    """
    means = batch.means()
    query = batch.query.double()
    squared = means.square().sum(2)[:, None] - 2 * query @ means.mT
    return (-squared).softmax(2)  # |query|^2 is common to all classes


@_a_part_at_a_time
def nearest(batch: EpisodeBatch) -> Tensor:
    """Labels of the nearest support vectors; the first of the list wins a tie."""
    return _first_of_lowest(batch, _squared_distances(batch))


@_a_part_at_a_time
def most_similar(batch: EpisodeBatch) -> Tensor:
    """Labels of the support vectors with the highest cosine; the first of the list wins a tie."""
    return _first_of_lowest(batch, _negative_cosines(batch))


def _negative_cosines(batch: EpisodeBatch) -> Tensor:
    """Minus the cosines, (E, Q, S) of fp64, infinite to padding."""
    support = F.normalize(batch.support.double(), dim=2)
    query = F.normalize(batch.query.double(), dim=2)
    return _without_padding(batch, (query @ support.mT).neg_())


def _squared_distances(batch: EpisodeBatch) -> Tensor:
    """Squared distances (E, Q, S) of fp64, infinite to padding."""
    query, support = batch.query.double(), batch.support.double()
    squared = query.square().sum(2)[..., None] + support.square().sum(2)[:, None]
    return _without_padding(batch, squared.baddbmm_(query, support.mT, alpha=-2).clamp_(min=0))


def _without_padding(batch: EpisodeBatch, distances: Tensor) -> Tensor:
    return distances.masked_fill_(batch.ids[:, None] < 0, torch.inf)


def _first_of_lowest(batch: EpisodeBatch, distances: Tensor) -> Tensor:
    lowest = distances.amin(2, keepdim=True)
    first = (distances <= lowest + TIE).to(torch.uint8).argmax(2)
    return batch.labels.gather(1, first)


def simple_shot(batch: EpisodeBatch) -> Tensor:
    """Scores: the cosine to each class's mean.

    SimpleShot (Wang et al., 2019, arXiv 1911.04623), of features that are of unit length (L2N) and,
    if they are centered, CL2N; by cosines as in easyfsl, where `prototypes` takes distances.
    """
    return F.normalize(batch.query.double(), dim=2) @ F.normalize(batch.means(), dim=2).mT


# Each classifier is of one of three kinds: of probabilities, of labels, or of scores (E, Q, n).
PROBABILISTIC: dict[str, Classifier] = {
    "LR": logistic_regression,
    "KNN": k_nearest,
    "Proto": prototypes,
}
NEAREST: dict[str, Classifier] = {"NN": nearest, "Cosine": most_similar}
SCORED: dict[str, Classifier] = {
    "Ridge": ridge,
    "SimpleShot": simple_shot,
    "BD-CSPN": rectified,
    "LaplacianShot": laplacian_shot,
}
# What the classifiers of NEAREST find the lowest of.
DISTANCES: dict[str, Classifier] = {"NN": _squared_distances, "Cosine": _negative_cosines}
LEAST = 1e-6  # what a probability of 0 counts as where its logarithm is taken


def class_scores(name: str, batch: EpisodeBatch) -> Tensor:
    """Scores (E, Q, n) whose softmax is each class's probability, of any classifier.

    They are the logarithms of LR's, KNN's and Proto's probabilities. The others have none, and
    their scores ask for a temperature (ours): of NN and Cosine a class's best similarity, which is
    minus the squared distance to its nearest support vector, or the highest cosine to one; of
    Ridge the values of the regression; of SimpleShot cosines.
    """
    if choose("classifier", name, CLASSIFIERS) in PROBABILISTIC:
        return logarithms(PROBABILISTIC[name](batch))
    if name in SCORED:
        return SCORED[name](batch)
    distances = DISTANCES[name](batch)
    labels = batch.labels[:, None].expand_as(distances)
    lowest = distances.new_full((*distances.shape[:2], batch.n_ways), torch.inf)
    return -lowest.scatter_reduce_(2, labels, distances, "amin")


def logarithms(probabilities: Tensor) -> Tensor:
    """Return finite logarithms."""
    return probabilities.clamp(min=LEAST).log()


def probabilities_by(name: str, penalty: float | str = 1.0) -> Classifier:
    """Return what gives probabilities by one of `PROBABILISTIC`; `penalty` is LR's `C`."""
    if name != "LR":
        return PROBABILISTIC[name]
    return lambda batch: logistic_regression(with_penalty(batch, penalty))


def build_classifier(name: str, penalty: float | str = 1.0) -> Classifier:
    """Return what gives episode labels (E, Q) by the classifier `name`; `penalty` is LR's `C`."""
    choose("classifier", name, CLASSIFIERS)
    if name in NEAREST:
        return NEAREST[name]
    scores = SCORED[name] if name in SCORED else probabilities_by(name, penalty)
    return lambda batch: scores(batch).argmax(2)
