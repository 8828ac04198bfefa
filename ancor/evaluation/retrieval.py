"""Retrieval over a whole partition: recall@K, MAP@R and k-NN accuracy, each image once the query.

Recall@K is the share of queries that have an image of their class among the K nearest (MaskCon,
Feng and Patras 2023; CoIns, Xu et al. 2021). MAP@R is the mean, over queries, of the average
precision among the R nearest, where R counts the other images of the class (Musgrave et al. 2020,
section 3.2). The k-NN classifier weighs the votes of the k nearest by exp(similarity / 0.07) (Wu et
al. 2018, section 3.4).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.data.partition import Partition
from ancor.errors import InputError
from ancor.evaluation.neighbors import QUERIES, nearest
from ancor.runtime.text import columns

RECALL_AT = (1, 2, 4, 5, 8, 10, 50, 100)  # CoIns reports 1 2 4 8, MaskCon 1 2 5 10 50 100
VOTERS = (1, 20)
TEMPERATURE = 0.07
FOUND = 2**22  # neighbors of all queries of a search that are in memory at once


@dataclass(frozen=True)
class Scores:
    """What the queries of one search found; shares in 0-1.

    Attributes:
        queries: number of images that were a query.
        alone: number of images that were none, as the gallery holds no other image of their class.
        recall: by K, for each K of `RECALL_AT` for which a query has as many images to search.
        map_at_r: mean average precision at R.
        knn: accuracy of the k-NN classifier, by k.
        smallest: fewest images that a query had to search; a larger K or k took all of them.
    """

    queries: int
    alone: int
    recall: dict[int, float]
    map_at_r: float
    knn: dict[int, float]
    smallest: int

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON; shares in percent."""
        return {
            "queries": self.queries,
            "alone": self.alone,
            "smallest_gallery": self.smallest,
            "recall": {str(k): 100 * share for k, share in self.recall.items()},
            "map_at_r": 100 * self.map_at_r,
            "knn": {str(k): 100 * share for k, share in self.knn.items()},
        }

    def recall_words(self) -> str:
        """Return the recall at each K as words, in percent."""
        return ", ".join(f"{100 * share:.2f} at {k}" for k, share in self.recall.items())

    def row(self) -> list[str]:
        """Return its cells of a table, in percent."""
        shares = [*(self.recall.get(k) for k in RECALL_AT), self.map_at_r, *self.knn.values()]
        cells = ("-" if share is None else f"{100 * share:.2f}" for share in shares)
        return [str(self.queries), *cells]


@dataclass(frozen=True)
class Retrieval:
    """The report on retrieval of a partition.

    Attributes:
        level: of the classes, `fine` or `coarse`.
        whole: scores where a query searches all other images.
        within_coarse: where it searches those of its own coarse class; None: of coarse classes, or
            where there is one alone.
        baseline: the same of another encoder, or None.
        baseline_name: which one; None: this one before its training.
    """

    level: str
    whole: Scores
    within_coarse: Scores | None = None
    baseline: "Retrieval | None" = None
    baseline_name: str | None = None

    def lines(self) -> list[str]:
        """Return a table in percent, and what was left out."""
        titles = ("", "queries", *(f"R@{k}" for k in RECALL_AT), "MAP@R", *_voters())
        rows = list(self._rows())
        if self.baseline is not None:
            name = self.baseline_name or "untrained"
            rows += [(f"{name}: {place}", scores) for place, scores in self.baseline._rows()]
        table = [titles, *([place, *scores.row()] for place, scores in rows)]
        lines = [f"Retrieval of {self.level} classes, each image a query:"]
        lines += columns(table, right=len(titles) - 1)
        return lines + [line for place, scores in self._rows() for line in _notes(place, scores)]

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON; shares in percent."""
        within = self.within_coarse
        report: dict[str, Any] = {"classes": self.level, "whole": self.whole.as_dict()}
        if within is not None:
            report["within_coarse"] = within.as_dict()
        if self.baseline is not None:
            name = "untrained" if self.baseline_name is None else "baseline"
            report[name] = self.baseline.as_dict()
        return report

    def _rows(self) -> Iterator[tuple[str, Scores]]:
        yield "among all", self.whole
        if self.within_coarse is not None:
            yield "within coarse", self.within_coarse


def of_partition(features: Tensor, partition: Partition, level: str) -> Retrieval:
    """Report retrieval of a partition's classes.

    Args:
        features: of its images under the test transform, (N, F).
        partition: the images' classes.
        level: of the classes, `fine` or `coarse`.

    Raises:
        InputError: no class has two images, or the classes of that level are not known.
    """
    labels, coarse = partition.labels(level), partition.coarse_labels
    whole = retrieve(features, labels)
    if level == "coarse" or len(np.unique(coarse)) == 1:
        return Retrieval(level, whole)
    return Retrieval(level, whole, retrieve(features, labels, coarse))


def retrieve(
    features: Tensor | np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None
) -> Scores:
    """Search for each image's class among the other images, by the cosine of features.

    An image is left out of its own gallery by its number, so that copies of it stay. Exact, in
    memory that is bounded beside the features, for up to a million images; classes of a large part
    of the images take long, as MAP@R sorts as many neighbors. Of equally near images the first
    comes first; of classes with equal votes, that of the nearest.

    Args:
        features: (N, F), of any length; float64 is kept, all else becomes float32.
        labels: classes, (N,) of integers.
        groups: (N,) of integers; an image searches its own group alone. None: all images.

    Raises:
        InputError: sizes do not agree, a feature is not finite, or nobody has another image of the
            class to search for.
    """
    unit, labels = _unit(features), np.asarray(labels)
    groups = np.zeros(len(unit), dtype=np.int64) if groups is None else np.asarray(groups)
    for name, given in (("labels", labels), ("groups", groups)):
        if given.shape != (len(unit),):
            raise InputError(
                f"{name} of shape {given.shape} were given for {len(unit)} images; give one each"
            )
    parts = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        own = unit  # not copied where it is all there are
        if len(members) < len(unit):
            own = unit[torch.from_numpy(members).to(unit.device)]
        parts += _in_group(own, labels[members])
    queries = sum(part.queries for part in parts)
    if not queries:
        raise InputError(
            f"none of {len(unit)} images has another of its class to search for; retrieval needs "
            "a class with two images"
        )
    smallest = min(part.gallery for part in parts)
    largest = max(part.gallery for part in parts)
    sums = np.sum([part.sums for part in parts], axis=0) / queries
    recall = dict(zip(RECALL_AT, sums[: len(RECALL_AT)].tolist(), strict=True))
    return Scores(
        queries,
        len(unit) - queries,
        {k: share for k, share in recall.items() if k <= largest},
        float(sums[len(RECALL_AT)]),
        dict(zip(VOTERS, sums[len(RECALL_AT) + 1 :].tolist(), strict=True)),
        smallest,
    )


@dataclass(frozen=True)
class _Part:
    """Sums over some queries: of hits at each K, of average precisions, of right votes."""

    queries: int
    gallery: int
    sums: np.ndarray


def _in_group(unit: Tensor, labels: np.ndarray) -> Iterator[_Part]:
    """Score the queries of one gallery, those of classes of like size together."""
    _, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    others = counts[numbers] - 1  # R of each image
    gallery = len(unit) - 1
    needed = np.minimum(np.maximum(others, max(*RECALL_AT, *VOTERS)), gallery)
    sizes = np.ceil(np.log2(np.maximum(needed, 1)))
    for size in np.unique(sizes[others > 0]):
        queries = np.flatnonzero((sizes == size) & (others > 0))
        k = int(needed[queries].max())
        at_once = max(1, min(QUERIES, FOUND // k))
        for start in range(0, len(queries), at_once):
            part = queries[start : start + at_once]
            own = torch.from_numpy(part).to(unit.device)
            found = nearest(unit, unit[own], k, own)
            near = numbers[found.numbers.cpu().numpy()]
            similarities = found.similarities.cpu().double().numpy()
            sums = _sums(near, similarities, numbers[part], others[part])
            yield _Part(len(part), gallery, sums)


def _sums(
    near: np.ndarray, similarities: np.ndarray, own: np.ndarray, others: np.ndarray
) -> np.ndarray:
    """Sum what the queries' neighbors are worth.

    Args:
        near: classes of the neighbors, nearest first, (q, k).
        similarities: theirs, (q, k).
        own: classes of the queries, (q,).
        others: number R of other images of that class, (q,).
    """
    right = near == own[:, None]
    hits = [right[:, :k].any(axis=1).sum() for k in RECALL_AT]
    ranks = np.arange(1, right.shape[1] + 1)
    counted = right & (ranks <= others[:, None])
    precisions = (np.cumsum(right, axis=1) / ranks * counted).sum(axis=1) / others
    votes = [(_voted(near[:, :k], similarities[:, :k]) == own).sum() for k in VOTERS]
    return np.array([*hits, precisions.sum(), *votes], dtype=np.float64)


def _voted(near: np.ndarray, similarities: np.ndarray) -> np.ndarray:
    """Return the class (q,) of the most votes of neighbors (q, k), nearest first."""
    weights = np.exp(similarities / TEMPERATURE)
    same = near[:, :, None] == near[:, None, :]
    votes = (same * weights[:, None, :]).sum(axis=2)  # for the class of each neighbor
    return near[np.arange(len(near)), votes.argmax(axis=1)]


def _unit(features: Tensor | np.ndarray) -> Tensor:
    """Return features of unit length, (N, F); InputError where they are no such."""
    features = torch.as_tensor(features)
    if features.ndim != 2 or not len(features):
        raise InputError(f"features of shape {tuple(features.shape)}; accepted: (N, F)")
    features = features if features.dtype == torch.float64 else features.float()
    if not features.isfinite().all():
        raise InputError("a feature is not finite; leave its image out, or encode it again")
    return F.normalize(features, dim=1)


def _voters() -> list[str]:
    return [f"{k}-NN" for k in VOTERS]


def _notes(place: str, scores: Scores) -> Iterator[str]:
    """Yield a line for what was left out, or fewer than asked for."""
    if scores.alone:
        yield (
            f"Left out {place}: {scores.alone} images without another of their class to search for"
        )
    most = max(*RECALL_AT, *VOTERS)
    if scores.smallest < most:
        yield (
            f"Fewest images to search {place}: {scores.smallest}; a larger K or k takes all there "
            "are" + ("" if RECALL_AT[-1] in scores.recall else ", and R@K of more is left out")
        )
