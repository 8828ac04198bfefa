"""Few-shot episodes, drawn from labels alone.

With the default seed the draws are those of the paper's code, which seeds NumPy's legacy generator
with the number of the episode.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ancor.errors import InputError, capped, choose
from ancor.seeding import address_seed

MOST_VIEWS = 10_000  # of an image: more are a mistake, and would fill the memory first
RULES = ("breeds", "cifar100", "tiered")


@dataclass(frozen=True)
class Protocol:
    """What an episode is.

    Attributes:
        n_ways: classes of an episode; more than there are means all.
        n_shots: support images a class.
        n_queries: query images a class.
        n_copies: augmented copies of each support image.
        intra_class: whether all classes of an episode lie in one coarse class, drawn first.
    """

    n_ways: int = 5
    n_shots: int = 1
    n_queries: int = 15
    n_copies: int = 5
    intra_class: bool = False

    def __post_init__(self) -> None:
        for name in ("n_ways", "n_shots", "n_queries", "n_copies"):
            value = getattr(self, name)
            if value < 1:
                flag = {"n_copies": "n-aug-support-samples"}.get(name, name.replace("_", "-"))
                raise InputError(f"--{flag} {value}: at least 1 is needed")
        if self.n_copies > MOST_VIEWS:
            raise InputError(f"--n-aug-support-samples {self.n_copies}: at most {MOST_VIEWS}")


class Episode(NamedTuple):
    """Indices into a partition, and labels 0 ... n - 1 within the episode.

    Attributes:
        classes: the label that each episode label stands for, (n,).
        support: images, (copies * n * shots,): class by class, the whole list once a copy.
        support_labels: their episode labels.
        query: images, (n * queries,), class by class.
        query_labels: their episode labels.
    """

    classes: np.ndarray
    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray


class EpisodeSampler:
    """Draws episodes from a partition's labels.

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

    @cached_property
    def classes_seen(self) -> np.ndarray:
        """Classes in order of first appearance."""
        classes, first = np.unique(self.labels, return_index=True)
        return classes[np.argsort(first)]

    @cached_property
    def images_of(self) -> dict[int, np.ndarray]:
        """Images of each class, in dataset order."""
        order = np.argsort(self.labels, kind="stable")
        classes, starts = np.unique(self.labels[order], return_index=True)
        return dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))

    @cached_property
    def _families(self) -> dict[int, np.ndarray]:
        """Classes of each coarse class, both in order of first appearance."""
        first = {c: images[0] for c, images in self.images_of.items()}
        families: dict[int, list[int]] = {}
        for label in self.classes_seen.tolist():
            families.setdefault(int(self.coarse_labels[first[label]]), []).append(label)
        return {coarse: np.array(members) for coarse, members in families.items()}

    def check(self, protocol: Protocol) -> None:
        """Raise an InputError that lists every class with too few images for the protocol."""
        needed = protocol.n_shots + protocol.n_queries
        short = [
            f"{self._name(label)} has {len(images)}"
            for label, images in self.images_of.items()
            if len(images) < needed
        ]
        if short:
            raise InputError(
                f"{needed} images a class are needed ({protocol.n_shots} support + "
                f"{protocol.n_queries} query), and too few are there: {capped(short)}; "
                "lower --n-shots or --n-queries"
            )
        if protocol.intra_class and self.coarse_labels is None:
            raise InputError("intra-class episodes (--fg) need coarse labels, which are not known")

    def _name(self, label: int) -> str:
        return repr(self.class_names[label]) if self.class_names else f"class {label}"

    def _classes(self, protocol: Protocol, rng: np.random.RandomState) -> np.ndarray:
        """Draw an episode's classes."""
        if protocol.intra_class:
            return self._intra_classes(protocol.n_ways, rng)
        classes = np.sort(self.classes_seen) if self.rules == "breeds" else self.classes_seen
        # Asked for just as many as there are, cifar100's rule draws a permutation of all.
        all_from = len(classes) + 1 if self.rules == "cifar100" else len(classes)
        if protocol.n_ways >= all_from:
            return classes
        return rng.choice(classes, protocol.n_ways, replace=False)

    def _intra_classes(self, n_ways: int, rng: np.random.RandomState) -> np.ndarray:
        families = self._families
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
            ValueError: a class has too few images (`check` says which).
        """
        rng = np.random.RandomState(
            number if seed == 0 else address_seed(seed, "episode", number) % 2**32
        )
        classes = self._classes(protocol, rng)
        support, query = [], []
        for label in classes.tolist():
            images = self.images_of[label]
            chosen = rng.choice(len(images), protocol.n_shots, replace=False)
            rest = np.delete(np.arange(len(images)), chosen)
            support.append(images[chosen])
            query.append(images[rng.choice(rest, protocol.n_queries, replace=False)])
        ways = np.arange(len(classes))
        return Episode(
            classes=classes,
            support=np.tile(np.concatenate(support), protocol.n_copies),
            support_labels=np.tile(np.repeat(ways, protocol.n_shots), protocol.n_copies),
            query=np.concatenate(query),
            query_labels=np.repeat(ways, protocol.n_queries),
        )
