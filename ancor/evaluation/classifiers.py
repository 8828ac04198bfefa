"""Few-shot classifiers: from the support and query features of many episodes to predictions.

Each is a function of an `EpisodeBatch`; those of `PROBABILISTIC` return probabilities (E, Q, n),
those of `NEAREST` episode labels (E, Q).
"""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.errors import choose
from ancor.evaluation import logistic

MAX_NEIGHBORS = 30
DISTANCES_AT_ONCE = 2**20  # 8 MB; twice as fast as all those of an all-way episode at once
TIE = 1e-10  # distances of unit vectors, in fp64, that differ by less are equal


class EpisodeBatch(NamedTuple):
    """Episodes of one shape, for one model.

    Attributes:
        support: features of the support lists, (E, S, F).
        labels: their episode labels, (E, S).
        ids: equal ids in one episode stand for equal vectors of equal labels; -1 for padding,
            which follows the list; (E, S).
        query: features of the queries, (E, Q, F).
        n_ways: classes of each episode.
        evidence: factor of the cross-entropies in LR, whose penalty is not scaled.
        class_weights: how much a vector of each class counts in LR and KNN (`balanced`), (E, n);
            None: all alike, as in episodes.
    """

    support: Tensor
    labels: Tensor
    ids: Tensor
    query: Tensor
    n_ways: int
    evidence: float = 1.0
    class_weights: Tensor | None = None

    def split(self, episodes: int) -> Iterator["EpisodeBatch"]:
        """Yield batches of that many episodes, in order."""
        for start in range(0, len(self.labels), episodes):
            part = slice(start, start + episodes)
            yield self._replace(
                support=self.support[part],
                labels=self.labels[part],
                ids=self.ids[part],
                query=self.query[part],
                class_weights=None if self.class_weights is None else self.class_weights[part],
            )

    def weights(self, labels: Tensor) -> Tensor | float:
        """How much vectors of these labels (E, S) count, likewise (E, S); 1 where all do alike."""
        return 1.0 if self.class_weights is None else self.class_weights.gather(1, labels)


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


def fit_logistic(batch: EpisodeBatch) -> logistic.Fit:
    """Fit logistic regression to the support vectors."""
    support, labels, counts = _distinct(batch)
    counts = batch.evidence * counts * batch.weights(labels)
    return logistic.fit(support, labels, counts, batch.n_ways)


def logistic_probabilities(fit: logistic.Fit, query: Tensor) -> Tensor:
    """Probabilities (E, Q, n) of queries (E, Q, F)."""
    return torch.baddbmm(fit.bias, query, fit.weight).double().softmax(2)


def _distinct(batch: EpisodeBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the different support vectors, their labels, and how often each is there."""
    ids, order = batch.ids.sort(dim=1, stable=True)
    starts = F.pad(ids[:, 1:] != ids[:, :-1], (1, 0), value=True)
    group = starts.cumsum(1) - 1
    size = int(group.max()) + 1
    if size == ids.shape[1]:
        return batch.support, batch.labels, (batch.ids >= 0).long()
    first = torch.zeros_like(order[:, :size]).scatter_reduce_(
        1, group, order, "amin", include_self=False
    )
    counts = torch.zeros_like(first).scatter_add_(1, group, (ids >= 0).long())
    support = batch.support.gather(1, first[..., None].expand(-1, -1, batch.support.shape[2]))
    return support, batch.labels.gather(1, first), counts


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
    member = F.one_hot(batch.labels, batch.n_ways) * (batch.ids >= 0)[..., None]
    member = member.mT.double()
    means = member @ batch.support.double() / member.sum(2, keepdim=True)
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


PROBABILISTIC: dict[str, Classifier] = {
    "LR": logistic_regression,
    "KNN": k_nearest,
    "Proto": prototypes,
}
NEAREST: dict[str, Classifier] = {"NN": nearest, "Cosine": most_similar}
# What the classifiers of NEAREST find the lowest of.
DISTANCES: dict[str, Classifier] = {"NN": _squared_distances, "Cosine": _negative_cosines}
CLASSIFIERS = (*PROBABILISTIC, *NEAREST)
LEAST = 1e-6  # what a probability of 0 counts as where its logarithm is taken


def class_scores(name: str, batch: EpisodeBatch) -> Tensor:
    """Scores (E, Q, n) whose softmax is each class's probability, of any classifier.

    They are the logarithms of LR's, KNN's and Proto's probabilities; of NN and Cosine, which have
    none, a class's score is its best similarity (ours): minus the squared distance to its nearest
    support vector, or the highest cosine to one.
    """
    if choose("classifier", name, CLASSIFIERS) in PROBABILISTIC:
        return logarithms(PROBABILISTIC[name](batch))
    distances = DISTANCES[name](batch)
    labels = batch.labels[:, None].expand_as(distances)
    lowest = distances.new_full((*distances.shape[:2], batch.n_ways), torch.inf)
    return -lowest.scatter_reduce_(2, labels, distances, "amin")


def logarithms(probabilities: Tensor) -> Tensor:
    """Return finite logarithms."""
    return probabilities.clamp(min=LEAST).log()


def build_classifier(name: str) -> Classifier:
    """Return what gives episode labels (E, Q) by the classifier `name`."""
    choose("classifier", name, CLASSIFIERS)
    if name in NEAREST:
        return NEAREST[name]
    return lambda batch: PROBABILISTIC[name](batch).argmax(2)
