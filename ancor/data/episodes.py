"""Few-shot episodes, drawn from labels alone.

With the default seed the draws are those of the paper's code, which seeds NumPy's legacy generator
with the number of the episode. Episodes of more images than any of the paper's sets has are drawn
from the same generator in another way, whose time does not grow with the classes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ancor.data.image_draws import LARGEST, all_at_once, class_by_class, episode_labels
from ancor.data.partition import Partition
from ancor.data.registry import DATASETS
from ancor.errors import InputError, capped, choose
from ancor.runtime.seeding import address_seed

LEAST = {"n_ways": 1, "n_shots": 1, "n_queries": 1, "n_augmentations": 0}
MOST_VIEWS = 10_000  # of an image: more are a mistake, and would fill the memory first
ALL_WAYS = 1_000_000  # more classes than any dataset here has: an episode then takes all
MOST_NAMES = 10  # in a message
RULES = ("breeds", "cifar100", "tiered")


@dataclass(frozen=True)
class Protocol:
    """What an episode is.

    Attributes:
        n_ways: classes of an episode; more than there are means all.
        n_shots: support images a class.
        n_queries: query images a class, or as many as a smaller class has left, at least one.
        n_augmentations: augmented copies of each support image; 0: the image as queries are seen.
        intra_class: whether all classes of an episode lie in one coarse class, drawn first from
            those with at least two.
        equal_queries: whether classes with fewer queries are an error.
    """

    n_ways: int = 5
    n_shots: int = 1
    n_queries: int = 15
    n_augmentations: int = 5
    intra_class: bool = False
    equal_queries: bool = False

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value < least:
                raise InputError(f"`{name}` {value}: at least {least} is needed")
        if self.n_augmentations > MOST_VIEWS:
            raise InputError(f"`n_augmentations` {self.n_augmentations}: at most {MOST_VIEWS}")

    @property
    def copies(self) -> int:
        """How often a support image stands in an episode's list."""
        return max(1, self.n_augmentations)


class Episode(NamedTuple):
    """Indices into a partition, and labels 0 ... n - 1 within the episode.

    Attributes:
        classes: the label that each episode label stands for, (n,).
        support: images, (copies * n * shots,): class by class, the whole list once a copy.
        support_labels: their episode labels.
        query: images, (Q,), class by class: n * queries, where every class has as many.
        query_labels: their episode labels.
    """

    classes: np.ndarray
    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray


class EpisodeSampler:
    """Draws episodes from a partition's labels.

    Classes that have no query beside their support images are left out; `notes` tells of them.

    Args:
        labels: class of each image, (N,).
        coarse_labels: coarse class of each image, (N,); needed for intra-class episodes.
        rules: `breeds`, `cifar100` or `tiered`: three orders and exceptions in the paper's code,
            told in `_classes`.
        class_names: names for error messages, by label.
    """

    def __init__(
        self,
        labels: np.ndarray,
        coarse_labels: np.ndarray | None = None,
        rules: str = "breeds",
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        self.labels = np.asarray(labels)
        self.rules = choose("episode rules", rules, RULES)
        self.class_names = class_names
        self.coarse_labels = None if coarse_labels is None else np.asarray(coarse_labels)
        self._pools: dict[int, tuple[np.ndarray, dict[int, np.ndarray]]] = {}

    @classmethod
    def of(cls, partition: Partition, mode: str) -> "EpisodeSampler":
        """Return what draws a partition's episodes from its classes of the level `mode`."""
        known = DATASETS.get(partition.dataset)
        return cls(
            partition.labels(mode),
            partition.coarse_labels,
            RULES[0] if known is None else known.rules,
            partition.hierarchy.names(mode),
        )

    @cached_property
    def classes_seen(self) -> np.ndarray:
        """Classes in order of first appearance."""
        classes, first = np.unique(self.labels, return_index=True)
        return classes[np.argsort(first)]

    @cached_property
    def images_of(self) -> dict[int, np.ndarray]:
        """Images of each class, in dataset order."""
        order = np.argsort(self.labels, kind="stable")
        sorted_labels = self.labels[order]
        starts = np.flatnonzero(np.append(True, sorted_labels[1:] != sorted_labels[:-1]))
        classes = sorted_labels[starts].tolist()
        return dict(zip(classes, np.split(order, starts[1:]), strict=True))

    def classes(self, protocol: Protocol) -> np.ndarray:
        """Classes with a query beside their support images, in order of first appearance."""
        return self._pool(protocol.n_shots)[0]

    def families(self, protocol: Protocol) -> dict[int, np.ndarray]:
        """Those `classes` of each coarse class that has two of them, in order of appearance."""
        return self._pool(protocol.n_shots)[1]

    def _pool(self, n_shots: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        if n_shots not in self._pools:
            labels = [c for c in self.classes_seen.tolist() if len(self.images_of[c]) > n_shots]
            families: dict[int, list[int]] = {}
            for label in labels if self.coarse_labels is not None else ():
                coarse = int(self.coarse_labels[self.images_of[label][0]])
                families.setdefault(coarse, []).append(label)
            several = {coarse: np.array(own) for coarse, own in families.items() if len(own) > 1}
            self._pools[n_shots] = np.array(labels, dtype=self.classes_seen.dtype), several
        return self._pools[n_shots]

    def check(self, protocol: Protocol) -> None:
        """Raise an InputError where episodes of the protocol cannot be drawn or tell nothing."""
        if protocol.intra_class and self.coarse_labels is None:
            raise InputError("`intra_class` episodes need coarse labels, which are not known")
        needs = f"{protocol.n_shots} support + {protocol.n_queries} query"
        short = self._smaller(protocol.n_shots + protocol.n_queries)
        if protocol.equal_queries and short:
            raise InputError(
                f"{protocol.n_shots + protocol.n_queries} images a class are needed ({needs}), and "
                f"too few are there: {self._named(short)}; lower `n_shots` or `n_queries`, or "
                "leave `equal_queries` out"
            )
        found = self.classes(protocol)
        if min(len(found), protocol.n_ways) < 2:
            raise InputError(
                f"{len(found)} of {len(self.images_of)} classes have the {protocol.n_shots + 1} "
                f"images ({protocol.n_shots} support, 1 query) that an episode needs, and `n_ways` "
                f"is {protocol.n_ways}; at least 2 of both are needed, as one class is always right"
            )
        if protocol.intra_class and not self.families(protocol):
            raise InputError(
                "`intra_class` episodes are drawn among coarse classes with at least 2 fine "
                f"classes of {protocol.n_shots + 1} images, and none of "
                f"{len(np.unique(self.coarse_labels))} coarse classes is one; leave them out"
            )

    def notes(self, protocol: Protocol) -> Iterator[str]:
        """Yield a line on each kind of classes that episodes leave out or ask fewer queries of."""
        total, wanted = len(self.images_of), protocol.n_shots + protocol.n_queries
        if left_out := self._smaller(protocol.n_shots + 1):
            yield (
                f"{len(left_out)} of {total} classes have fewer than {protocol.n_shots + 1} images "
                f"({protocol.n_shots} support, 1 query) and are left out: {self._named(left_out)}"
            )
        left = [len(self.images_of[label]) - protocol.n_shots for label in self._smaller(wanted)]
        if left := [number for number in left if number > 0]:
            yield (
                f"{len(left)} of {total} classes have fewer than {wanted} images "
                f"({protocol.n_shots} support, {protocol.n_queries} query): of each, an episode "
                f"asks for all that are left, {span(left)}, and its accuracy is the mean over its "
                "classes; `equal_queries` refuses such classes"
            )
        if protocol.intra_class:
            coarse = len(np.unique(self.coarse_labels))
            if lone := coarse - len(self.families(protocol)):
                yield (
                    f"{lone} of {coarse} coarse classes have fewer than 2 fine classes with enough "
                    "images, of which an answer is always right: left out of intra-class episodes"
                )

    def _smaller(self, size: int) -> list[int]:
        return [label for label, images in self.images_of.items() if len(images) < size]

    def _named(self, labels: list[int]) -> str:
        """List classes with their numbers of images, the first `MOST_NAMES` of them."""
        named = (f"{self._name(label)} has {len(self.images_of[label])}" for label in labels)
        return capped(named, MOST_NAMES)

    def _name(self, label: int) -> str:
        return repr(self.class_names[label]) if self.class_names else f"class {label}"

    def _classes(self, protocol: Protocol, rng: np.random.RandomState) -> np.ndarray:
        """Draw an episode's classes."""
        if protocol.intra_class:
            return self._intra_classes(protocol, rng)
        classes = self.classes(protocol)
        classes = np.sort(classes) if self.rules == "breeds" else classes
        # Asked for just as many as there are, cifar100's rule draws a permutation of all.
        all_from = len(classes) + 1 if self.rules == "cifar100" else len(classes)
        if protocol.n_ways >= all_from:
            return classes
        return rng.choice(classes, protocol.n_ways, replace=False)

    def _intra_classes(self, protocol: Protocol, rng: np.random.RandomState) -> np.ndarray:
        families, n_ways = self.families(protocol), protocol.n_ways
        coarse = rng.choice(np.array(list(families)), 1, replace=False)[0]
        fine = families[coarse]
        takes_all = {
            "breeds": n_ways >= len(fine),
            "cifar100": n_ways > 5 or n_ways > len(fine),
            "tiered": n_ways > len(fine),
        }[self.rules]
        return fine if takes_all else rng.choice(fine, n_ways, replace=False)

    def draw(self, protocol: Protocol, number: int, seed: int = 0) -> Episode:
        """Draw episode `number`, a function of the labels, the protocol, the number and the seed.

        Raises:
            ValueError: there are too few images or classes (`check` says which).
        """
        rng = np.random.RandomState(
            number if seed == 0 else address_seed(seed, "episode", number) % 2**32
        )
        classes = self._classes(protocol, rng)
        images, queries = [self.images_of[label] for label in classes.tolist()], protocol.n_queries
        draw_images = class_by_class if sum(map(len, images)) <= LARGEST else all_at_once
        drawn = draw_images(images, protocol.n_shots, queries, protocol.equal_queries, rng)
        copies = protocol.copies
        labels = episode_labels(protocol.n_shots, copies, drawn.sizes.tobytes())
        return Episode(classes, np.tile(drawn.support, copies), labels[0], drawn.query, labels[1])


def span(numbers: Iterable[int]) -> str:
    """Write the least and the greatest of some numbers: `2-4`, or `5` where they are one."""
    numbers = sorted(numbers)
    least, greatest = numbers[0], numbers[-1]
    return str(least) if least == greatest else f"{least}-{greatest}"
