"""Sub-classes inside the coarse classes of a partition, found without fine labels (ours)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.data.partition import Partition
from ancor.errors import InputError
from ancor.evaluation.clustering import ALGORITHMS, chosen_count, cluster_means
from ancor.evaluation.clusters import Agreement, agreement, mean_agreement
from ancor.evaluation.discovery_config import DiscoveryConfig
from ancor.evaluation.feature_bank import FeatureBank, class_weights
from ancor.methods.similarities import angular
from ancor.runtime.text import columns


class Subclass(NamedTuple):
    """A sub-class that was found.

    Attributes:
        coarse: number of its coarse class.
        name: proposed, `<coarse class>/<number from 1>`; the largest comes first.
        images: numbers in the partition, (n,), the nearest to its mean first.
        doubtful: the same images, the most doubtful first: those hardly nearer to its mean than to
            another one of the coarse class, or, where there is no other, the farthest.
    """

    coarse: int
    name: str
    images: np.ndarray
    doubtful: np.ndarray


@dataclass(frozen=True)
class Discovery:
    """The sub-classes of a partition.

    Attributes:
        partition: whose images they divide.
        subclasses: by coarse class.
        notes: lines on what was done otherwise than asked.
        chosen: coarse classes whose number of sub-classes was chosen.
    """

    partition: Partition
    subclasses: tuple[Subclass, ...]
    notes: tuple[str, ...]
    chosen: frozenset[int]

    def names(self) -> list[str]:
        """Return the proposed name of each image's sub-class, (N,)."""
        found = np.empty(len(self.partition), dtype=object)
        for each in self.subclasses:
            found[each.images] = each.name
        return found.tolist()

    def lines(self) -> Iterator[str]:
        """Yield what was found, a line a coarse class, and how it agrees with known fine labels."""
        known = self.partition.fine_labels
        rows = [
            ["coarse class", "images", "sub-classes", *(["fine classes"] * (known is not None))]
        ]
        for coarse, own in self._by_coarse():
            sizes = [len(each.images) for each in own]
            rows.append([self._name(coarse), str(sum(sizes)), str(len(own))])
            if known is not None:
                rows[-1].append(str(self._known(own)))
        head, *lines = columns(rows, right=len(rows[0]) - 1)
        yield from (head, "-" * len(head), *lines)
        yield from self.notes
        if known is not None:
            yield from self._scores()

    def _scores(self) -> Iterator[str]:
        scored = self.agreement()
        if scored is not None:
            yield (
                f"Inside coarse classes of two fine classes or more, on average: accuracy "
                f"{100 * scored.accuracy:.1f}, AMI {100 * scored.ami:.1f}, ARI "
                f"{100 * scored.ari:.1f}, purity {100 * scored.purity:.1f}"
            )
        wrong = [len(own) - self._known(own) for c, own in self._by_coarse() if c in self.chosen]
        if wrong:
            yield (
                f"Numbers chosen: {wrong.count(0)} of {len(wrong)} are those of the fine classes; "
                f"{np.mean(np.abs(wrong)):.2f} off on average, {np.mean(wrong):+.2f} with its sign"
            )

    def agreement(self) -> Agreement | None:
        """Score the sub-classes by the fine labels: the mean over coarse classes that have several.

        Returns:
            None where fine labels are not known, or no coarse class has two fine classes.
        """
        if self.partition.fine_labels is None:
            return None
        found = []
        for _, own in self._by_coarse():
            images = np.concatenate([each.images for each in own])
            labels = self.partition.fine_labels[images]
            if len(np.unique(labels)) > 1:
                numbers = np.repeat(np.arange(len(own)), [len(each.images) for each in own])
                found.append(agreement(numbers, labels))
        return mean_agreement(found) if found else None

    def _by_coarse(self) -> Iterator[tuple[int, list[Subclass]]]:
        for coarse in np.unique(self.partition.coarse_labels).tolist():
            yield coarse, [each for each in self.subclasses if each.coarse == coarse]

    def _name(self, coarse: int) -> str:
        return self.partition.hierarchy.coarse_names[coarse]

    def _known(self, own: list[Subclass]) -> int:
        images = np.concatenate([each.images for each in own])
        return len(np.unique(self.partition.fine_labels[images]))


def discover(bank: FeatureBank, partition: Partition, config: DiscoveryConfig) -> Discovery:
    """Find the sub-classes of each coarse class of a partition.

    Args:
        bank: gives the features of its images.
        partition: the images and their coarse labels; fine ones are not looked at.
        config: the settings.

    Raises:
        InputError: a number is given for a coarse class that is not there.
    """
    present = np.unique(partition.coarse_labels).tolist()
    names = [partition.hierarchy.coarse_names[coarse] for coarse in present]
    counts = config.counts(names)
    features = bank.test_features()
    unit = F.normalize(features, dim=1)
    notes, weights = [], None
    if config.angular:
        if bank.kind != "both":
            weights = class_weights(bank.encoder, bank.kind, partition.hierarchy.num_coarse)
        around = "weight" if weights is not None else "mean: the model has no weights of these"
        notes.append(f"Angles are around each coarse class's {around}")
    found: list[Subclass] = []
    for coarse, name, k in zip(present, names, counts, strict=True):
        own = np.flatnonzero(partition.coarse_labels == coarse)
        vectors = unit[torch.from_numpy(own)]
        if config.angular:
            center = vectors.mean(0) if weights is None else torch.from_numpy(weights[coarse])
            vectors = angular(vectors, center.expand_as(vectors))
        if k is not None and k > len(own):
            notes.append(
                f"{name!r} has {len(own)} images and {k} sub-classes were asked for: {len(own)}"
            )
        found += divide(coarse, name, own, vectors, k, config)
    chosen = (coarse for coarse, k in zip(present, counts, strict=True) if k is None)
    return Discovery(partition, tuple(found), tuple(notes), frozenset(chosen))


def divide(
    coarse: int,
    name: str,
    images: np.ndarray,
    vectors: Tensor,
    k: int | None,
    config: DiscoveryConfig,
) -> list[Subclass]:
    """Find the sub-classes of one coarse class.

    Args:
        coarse, name: its number and name.
        images: numbers of its images, (n,).
        vectors: theirs, (n, F), of unit length.
        k: sub-classes, of which there are at most n; None: chosen, up to `config.max_k`.
        config: the settings.
    """
    find = ALGORITHMS[config.algorithm]
    if k is None:
        k = chosen_count(vectors, config.max_k, find, config.seed, coarse)
    k = min(k, len(images))
    return list(_parts(coarse, name, images, vectors, find(vectors, k, config.seed, coarse), k))


def _parts(
    coarse: int, name: str, images: np.ndarray, vectors: Tensor, labels: np.ndarray, k: int
) -> Iterator[Subclass]:
    """Yield the sub-classes of a coarse class by its images (n,), their vectors and clusters."""
    cosines = (vectors @ cluster_means(vectors, torch.from_numpy(labels), k).T).numpy()
    everyone = np.arange(len(images))
    near = cosines[everyone, labels]
    margin = near
    if k > 1:
        others = cosines.copy()
        others[everyone, labels] = -np.inf
        margin = near - others.max(1)
    for number in range(k):
        own = np.flatnonzero(labels == number)
        nearest, doubtful = (
            images[own[np.argsort(order[own], kind="stable")]] for order in (-near, margin)
        )
        yield Subclass(coarse, f"{name}/{number + 1}", nearest, doubtful)


def check_images(partition: Partition) -> None:
    """Raise an InputError where there are features in place of images: people look at them."""
    try:
        partition.images[0]
    except InputError as error:
        raise InputError(f"sub-classes are shown by their images: {error}") from error
