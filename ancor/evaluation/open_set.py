"""Rejection of unknown classes: how well scores tell queries of known classes from others.

Half of an episode's classes are known; the others give queries and no support. Two scores stand
side by side: the similarity to the nearest class mean, and the classifier's highest probability.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.data.episodes import ALL_WAYS, Episode, EpisodeSampler, Protocol
from ancor.errors import InputError
from ancor.evaluation.classifiers import class_scores
from ancor.evaluation.episode_batch import EpisodeBatch
from ancor.evaluation.predictors import Likeliest, Predictor
from ancor.runtime.seeding import address_seed

log = logging.getLogger(__name__)

ACCEPTED = 0.95  # share of the known queries at which false acceptance is measured
LEAST_CLASSES = 3  # of an episode: two known ones, as of one alone the probability is 1


class OpenSetSampler:
    """Draws episodes of which half of the classes are unknown, by what draws ordinary ones.

    It takes an `EpisodeSampler`'s place in a plan. `n_ways` of a protocol counts the known classes,
    and there are as many unknown ones; of fewer classes in all, half (of an odd number the larger
    half) are known. With `intra_class`, the known classes are of different coarse classes, and each
    of these gives one unknown class.

    An episode's `classes` are the known ones, 0 to n - 1 among its labels. Queries of an unknown
    class have the label n where a known class is of the same coarse class, else n + 1.

    Args:
        sampler: draws ordinary episodes.
        coarse_of: the coarse class of each class; None: not known.
    """

    def __init__(self, sampler: EpisodeSampler, coarse_of: np.ndarray | None) -> None:
        self.sampler, self.notes = sampler, sampler.notes
        self.coarse_of = coarse_of

    def check(self, protocol: Protocol) -> None:
        """Raise an InputError where episodes of the protocol cannot be drawn or tell nothing."""
        self.sampler.check(protocol)
        wanted = min(2 * protocol.n_ways, len(self.sampler.classes(protocol)))
        if protocol.intra_class:
            wanted = 2 * min(protocol.n_ways, len(self.sampler.families(protocol)))
        if wanted < LEAST_CLASSES:
            raise InputError(
                f"`open_set`: {wanted} classes for an episode (`n_ways` {protocol.n_ways}); at "
                "least 2 known classes and an unknown one are needed: use another partition, or a "
                "larger `n_ways`"
            )

    def draw(self, protocol: Protocol, number: int, seed: int = 0) -> Episode:
        """Draw episode `number`, a function of labels, protocol, number and seed."""
        rng = np.random.default_rng(address_seed(seed, "open set", number))
        if not protocol.intra_class:
            ways = min(2 * protocol.n_ways, ALL_WAYS)
            whole = self.sampler.draw(replace(protocol, n_ways=ways), number, seed)
            order = rng.permutation(len(whole.classes))
            half = (len(order) + 1) // 2
            return self._divided(whole, order[:half], order[half:])
        everything = replace(protocol, n_ways=ALL_WAYS, intra_class=False)
        whole = self.sampler.draw(everything, number, seed)
        families = list(self.sampler.families(protocol).values())
        count = min(protocol.n_ways, len(families))
        chosen = rng.choice(len(families), count, replace=False).tolist()
        pairs = np.array([rng.choice(families[one], 2, replace=False) for one in chosen])
        known, unknown = np.argsort(whole.classes)[np.searchsorted(np.sort(whole.classes), pairs.T)]
        return self._divided(whole, known, unknown)

    def _divided(self, whole: Episode, known: np.ndarray, unknown: np.ndarray) -> Episode:
        """Keep what known classes have of an episode, and queries of unknown ones.

        Args:
            whole: the episode.
            known, unknown: its labels of either.
        """
        n = len(known)
        labels = np.full(len(whole.classes), -1)
        labels[known] = np.arange(n)
        support = labels[whole.support_labels]
        labels[unknown] = n + 1
        if self.coarse_of is not None:
            coarse = self.coarse_of[whole.classes]
            labels[unknown[np.isin(coarse[unknown], coarse[known])]] = n
        query = labels[whole.query_labels]
        return Episode(
            whole.classes[known],
            whole.support[support >= 0],
            support[support >= 0],
            whole.query[query >= 0],
            query[query >= 0],
        )


def protocols(ordinary: Sequence[Protocol], sampler: EpisodeSampler) -> list[Protocol]:
    """Return the protocols of an open-set evaluation, by those of an ordinary one.

    Args:
        ordinary: few-way, all-way and intra-class ones.
        sampler: what draws ordinary episodes. Where fewer than two coarse classes have two classes,
            unknown ones are not drawn from the same coarse class, and a notice says so.
    """
    few = [p for p in ordinary if p.n_ways < ALL_WAYS and not p.intra_class]
    whole = [p for p in ordinary if p.n_ways >= ALL_WAYS and not p.intra_class]
    near = [replace(p, intra_class=True) for p in few if len(sampler.families(p)) > 1]
    if len(near) < len(few):
        log.warning(
            "Notice: fewer than 2 coarse classes have 2 fine classes with enough images: left out "
            "of `open_set` are few-way episodes with unknown classes of the same coarse class"
        )
    return [*few, *near, *whole]


def measure(
    predict: Predictor, classifier: str, batches: Sequence[EpisodeBatch], labels: Tensor
) -> list[Tensor]:
    """Measure both scores of episodes.

    Args:
        predict: gives the classifier's probabilities, if it has any.
        classifier: its name; of one without, `classifiers.class_scores` stand for logarithms.
        batches: of one model.
        labels: as `OpenSetSampler` tells, -1 for padding, (E, Q).

    Returns:
        For each kind and score (`KINDS` and `SCORES` of `ancor.evaluation.rejection`) the AUROC and
        the false acceptance, (E, 2, 2, 2).
    """
    (batch,) = batches
    if isinstance(predict, Likeliest):
        found = predict.probabilities(batches)
    else:
        found = class_scores(classifier, batch).softmax(2)
    scores = torch.stack([similarity(batch), found.amax(2).double()])
    known = ((labels >= 0) & (labels < batch.n_ways)).expand_as(scores)
    kinds = (labels >= batch.n_ways, labels == batch.n_ways)
    measured = [
        torch.stack(
            [function(scores, known, unknown.expand_as(scores)) for function in (auroc, fpr)]
        )
        for unknown in kinds
    ]
    return [torch.stack(measured).permute(3, 0, 1, 2)]


def similarity(batch: EpisodeBatch) -> Tensor:
    """Highest cosine of each query to a class's mean support vector, (E, Q) of float64."""
    means = F.normalize(batch.means(), dim=2)
    return (F.normalize(batch.query.double(), dim=2) @ means.mT).amax(2)


def auroc(scores: Tensor, known: Tensor, unknown: Tensor) -> Tensor:
    """Area under the ROC curve: how often a known query scores above an unknown one (...,).

    Equal scores count half, as in the Mann-Whitney statistic.

    Args:
        scores: (..., Q), finite.
        known, unknown: which queries are either, (..., Q); others are left out.

    Returns:
        NaN where there are none of either.
    """
    others = scores.masked_fill(~unknown, torch.inf).sort(-1).values
    scores = scores.contiguous()
    below = torch.searchsorted(others, scores) + torch.searchsorted(others, scores, right=True)
    wins = torch.where(known, below.double(), 0).sum(-1) / 2
    return wins / (known.sum(-1) * unknown.sum(-1)).double()


def fpr(scores: Tensor, known: Tensor, unknown: Tensor) -> Tensor:
    """Share of unknown queries at or above the highest threshold that accepts 95% of known ones.

    Arguments and result are as in `auroc`.
    """
    ordered = scores.masked_fill(~known, -torch.inf).sort(-1, descending=True).values
    kept = (ACCEPTED * known.sum(-1, keepdim=True)).ceil().long().clamp(min=1)
    accepted = (scores >= ordered.gather(-1, kept - 1)) & unknown
    return accepted.sum(-1) / unknown.sum(-1).double()
