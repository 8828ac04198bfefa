"""Clusters beside fine labels: how well sub-classes are found that nobody named.

`eval.py --clusters` finds them by spherical k-means on the test views' features.
"""

from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.data.partition import Partition
from ancor.errors import InputError
from ancor.evaluation.clustering import spherical_kmeans
from ancor.runtime.lazy import Lazy
from ancor.runtime.text import columns

metrics, optimize = Lazy("sklearn.metrics"), Lazy("scipy.optimize")


@dataclass(frozen=True)
class Agreement:
    """How clusters agree with labels; 1 where they are the same.

    Attributes:
        accuracy: share of the images whose cluster is matched with their label, by the one-to-one
            matching that gives the largest (Kuhn, "The Hungarian method", 1955): what FALCON's
            tables call clustering accuracy.
        ami, nmi: mutual information over the mean of both entropies, adjusted for chance and not
            (Vinh, Epps and Bailey, JMLR 2010).
        ari: Rand index, adjusted for chance (Hubert and Arabie, 1985).
        purity: share of the images whose label is the most frequent one of their cluster; more
            clusters make it larger.
    """

    accuracy: float
    ami: float
    nmi: float
    ari: float
    purity: float


def agreement(clusters: np.ndarray, labels: np.ndarray) -> Agreement:
    """Score clusters (n,) by labels (n,), both whole numbers; n is 1 or more."""
    found, known = (np.unique(each, return_inverse=True)[1] for each in (clusters, labels))
    counts = np.zeros((found.max() + 1, known.max() + 1), dtype=np.int64)
    np.add.at(counts, (found, known), 1)
    matched = counts[optimize.linear_sum_assignment(counts, maximize=True)].sum()
    return Agreement(
        float(matched / len(labels)),
        float(metrics.adjusted_mutual_info_score(known, found)),
        float(metrics.normalized_mutual_info_score(known, found)),
        float(metrics.adjusted_rand_score(known, found)),
        float(counts.max(1).sum() / len(labels)),
    )


def mean_agreement(found: list[Agreement]) -> Agreement:
    """Return the mean of each score."""
    return Agreement(*np.mean([astuple(each) for each in found], axis=0).tolist())


@dataclass(frozen=True)
class ClusterReport:
    """Sub-classes of a partition, found with their true numbers, beside the fine labels.

    Attributes:
        inside: a score of each coarse class that has two fine classes or more, by its name.
        pooled: of the same clusters, over all images: the coarse labels, which are given, are part
            of what is scored.
        over_all: of clusters of all images at once, as many as fine classes: no label is given.
        n_images, n_classes: images, and fine classes among them.
        single: how many coarse classes have one fine class, which leaves nothing to find.
    """

    inside: dict[str, Agreement]
    pooled: Agreement
    over_all: Agreement
    n_images: int
    n_classes: int
    single: int

    def lines(self) -> Iterator[str]:
        """Yield the report as text, in percent."""
        yield (
            f"Clusters: spherical k-means of {self.n_images} images; {self.n_classes} fine classes"
        )
        rows = [
            ("inside coarse classes, mean", mean_agreement(list(self.inside.values()))),
            ("inside coarse classes, pooled", self.pooled),
            ("over all, no coarse labels", self.over_all),
        ]
        told = [[name, *(f"{100 * v:.1f}" for v in astuple(found))] for name, found in rows]
        head, *lines = columns([["", *(f.name for f in fields(Agreement))], *told], right=5)
        yield from (head, "-" * len(head), *lines)
        if self.single:
            yield (
                f"Left out of the mean: {self.single} of {len(self.inside) + self.single} coarse "
                "classes, which have one fine class each"
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the report in plain values; scores are shares of 1."""
        return {
            "images": self.n_images,
            "fine_classes": self.n_classes,
            "coarse_classes_of_one_fine_class": self.single,
            "inside_mean": asdict(mean_agreement(list(self.inside.values()))),
            "inside_pooled": asdict(self.pooled),
            "over_all": asdict(self.over_all),
            "inside": {name: asdict(found) for name, found in self.inside.items()},
        }


def check_partition(partition: Partition) -> None:
    """Raise an InputError where a partition has no sub-classes to be scored by."""
    pairs = np.unique([partition.labels("fine"), partition.coarse_labels], axis=1)
    if len(np.unique(pairs[1])) == pairs.shape[1]:
        raise InputError(
            f"`clusters`: no coarse class of partition {partition.name!r} has two fine classes; "
            "leave it out, or use a partition that has them"
        )


def cluster_report(features: Tensor, partition: Partition, seed: int = 0) -> ClusterReport:
    """Find the sub-classes of a partition with their true numbers, and score them.

    Args:
        features: of the test views, (N, F).
        partition: whose images they are of, with fine labels.
        seed: of k-means.

    Raises:
        InputError: fine labels are not known, or no coarse class has two fine classes.
    """
    check_partition(partition)
    fine, coarse = partition.labels("fine"), partition.coarse_labels
    unit = F.normalize(features.float(), dim=1)
    clusters = np.zeros(len(fine), dtype=np.int64)
    inside, single, used = {}, 0, 0
    for number in np.unique(coarse).tolist():
        own = np.flatnonzero(coarse == number)
        known = len(np.unique(fine[own]))
        found = spherical_kmeans(unit[torch.from_numpy(own)], known, seed, number)
        clusters[own] = used + found
        used += known
        if known == 1:
            single += 1
        else:
            inside[partition.hierarchy.coarse_names[number]] = agreement(found, fine[own])
    over_all = agreement(spherical_kmeans(unit, used, seed), fine)
    return ClusterReport(inside, agreement(clusters, fine), over_all, len(fine), used, single)
