"""The two levels of labels."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ancor.errors import InputError


@dataclass(frozen=True)
class Hierarchy:
    """Class names of both levels, and which coarse class each fine class belongs to.

    Attributes:
        coarse_names: C names.
        fine_names: names of the fine classes; empty where only coarse labels are known.
        coarse_of_fine: for each fine class, the number of its coarse class.
    """

    coarse_names: tuple[str, ...]
    fine_names: tuple[str, ...] = ()
    coarse_of_fine: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.fine_names) != len(self.coarse_of_fine):
            raise InputError(
                f"{len(self.fine_names)} fine classes, but a coarse class for "
                f"{len(self.coarse_of_fine)}; every fine class needs exactly one"
            )
        for name, coarse in zip(self.fine_names, self.coarse_of_fine, strict=True):
            if not 0 <= coarse < len(self.coarse_names):
                raise InputError(
                    f"fine class {name!r} is in coarse class number {coarse}; "
                    f"accepted: 0 to {len(self.coarse_names) - 1}"
                )

    @classmethod
    def from_names(cls, coarse_of: Mapping[str, str]) -> "Hierarchy":
        """Make a hierarchy of {fine name: coarse name}.

        Fine classes are numbered in this order, coarse ones in that of their names.
        """
        coarse_names = tuple(sorted(set(coarse_of.values())))
        numbers = tuple(coarse_names.index(name) for name in coarse_of.values())
        return cls(coarse_names, tuple(coarse_of), numbers)

    @classmethod
    def from_labels(
        cls,
        fine_labels: np.ndarray,
        coarse_labels: np.ndarray,
        fine_names: tuple[str, ...],
        coarse_names: tuple[str, ...],
        source: str,
    ) -> "Hierarchy":
        """Make a hierarchy of two labels an image.

        A fine class without an image, of which no label tells the coarse class, is put into 0.

        Args:
            fine_labels: (N,).
            coarse_labels: (N,).
            fine_names, coarse_names: names by label.
            source: what errors call the data.

        Raises:
            InputError: the lengths differ, a label has no name, or a fine class is in two
                coarse ones.
        """
        fine, coarse = np.asarray(fine_labels), np.asarray(coarse_labels)
        if len(fine) != len(coarse):
            raise InputError(f"{source}: {len(fine)} fine labels and {len(coarse)} coarse ones")
        for labels, names in ((fine, fine_names), (coarse, coarse_names)):
            if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
                raise InputError(
                    f"{source}: labels from {labels.min()} to {labels.max()}, but "
                    f"{len(names)} class names"
                )
        coarse_of_fine = np.zeros(len(fine_names), dtype=np.int64)
        coarse_of_fine[fine] = coarse
        wrong = np.flatnonzero(coarse_of_fine[fine] != coarse)
        if len(wrong):
            first = wrong[0]
            both = coarse_names[coarse[first]], coarse_names[coarse_of_fine[fine[first]]]
            raise InputError(
                f"{source}: fine class {fine_names[fine[first]]!r} is in the coarse classes "
                f"{both[0]!r} and {both[1]!r}; every fine class needs exactly one"
            )
        return cls(coarse_names, fine_names, tuple(coarse_of_fine.tolist()))

    @property
    def num_coarse(self) -> int:
        """Number C of coarse classes."""
        return len(self.coarse_names)

    @property
    def num_fine(self) -> int:
        """Number of fine classes; 0 where they are not known."""
        return len(self.fine_names)

    def coarse(self, fine_labels: np.ndarray) -> np.ndarray:
        """Map fine labels of any shape to the coarse labels."""
        return np.asarray(self.coarse_of_fine, dtype=np.int64)[fine_labels]

    def names(self, mode: str) -> tuple[str, ...]:
        """Class names of the level `coarse` or `fine`."""
        return self.coarse_names if mode == "coarse" else self.fine_names
