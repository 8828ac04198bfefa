"""What a person said of a folder's pictures; each change gives new labels, the old ones stay."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from ancor.errors import InputError, choose
from ancor.fewshot.checks import UNKNOWN
from ancor.fewshot.labeling.pictures import Pictures
from ancor.runtime.text import printable

LONGEST_NAME = 100  # characters of a class
MOST_CLASSES = 1000


@dataclass(frozen=True)
class Labels:
    """Named classes and their pictures.

    Attributes:
        pictures: all that there are.
        classes: the number of each named class's coarse class, in the order that they were named.
        given: the class of each labeled picture.
        dropped: pictures that are of no use: they get no label and no answer.
    """

    pictures: Pictures
    classes: dict[str, int] = field(default_factory=dict)
    given: dict[int, str] = field(default_factory=dict)
    dropped: frozenset[int] = frozenset()

    def with_class(self, name: str, coarse: int) -> "Labels":
        """Name a class, without pictures yet.

        Args:
            name: of one line, outer blanks do not count; no other class has it.
            coarse: the number of its coarse class.

        Raises:
            InputError: the name is empty, too long, of several lines, taken, or what an answer is
                called; there is no such coarse class, or there are too many classes.
        """
        name = self._free(name)
        count = self.pictures.partition.hierarchy.num_coarse
        if not 0 <= coarse < count:
            raise InputError(f"coarse class {coarse}: expected a number from 0 to {count - 1}")
        if len(self.classes) >= MOST_CLASSES:
            raise InputError(f"{name!r} is one class too many: {MOST_CLASSES} are the most")
        return replace(self, classes={**self.classes, name: coarse})

    def renamed(self, old: str, new: str) -> "Labels":
        """Give a class another name; InputError as by `with_class`, or there is none of the old."""
        choose("class", old, self.classes)
        new = old if new.strip() == old else self._free(new)
        return replace(
            self,
            classes={new if name == old else name: c for name, c in self.classes.items()},
            given={n: new if name == old else name for n, name in self.given.items()},
        )

    def without_class(self, name: str) -> "Labels":
        """Take a class back, and the labels of its pictures; InputError where there is none."""
        choose("class", name, self.classes)
        return replace(
            self,
            classes={other: coarse for other, coarse in self.classes.items() if other != name},
            given={n: other for n, other in self.given.items() if other != name},
        )

    def labeled(self, numbers: Iterable[int], name: str) -> "Labels":
        """Give pictures a class, whatever they were before.

        Raises:
            InputError: there is no such class or picture, or a picture is of another coarse class.
        """
        choose("class", name, self.classes)
        numbers, own = self.pictures.checked(numbers), self.classes[name]
        for number in numbers:
            if self.pictures.partition.coarse_labels[number] != own:
                raise InputError(
                    f"class {name!r} is of {self.pictures.coarse_names[own]!r} and this picture of "
                    f"{self.pictures.coarse_name(number)!r}; name a class there for it"
                )
        given = {**self.given, **dict.fromkeys(numbers, name)}
        return replace(self, given=given, dropped=self.dropped - set(numbers))

    def cleared(self, numbers: Iterable[int]) -> "Labels":
        """Take back what was said of pictures; InputError where there is no such picture."""
        gone = set(self.pictures.checked(numbers))
        given = {n: name for n, name in self.given.items() if n not in gone}
        return replace(self, given=given, dropped=self.dropped - gone)

    def without(self, numbers: Iterable[int]) -> "Labels":
        """Drop pictures; InputError where there is no such picture."""
        cleared = self.cleared(numbers)
        return replace(cleared, dropped=self.dropped | set(numbers))

    def waiting(self) -> np.ndarray:
        """Return the pictures that are neither labeled nor dropped, rising."""
        free = np.ones(len(self.pictures), dtype=bool)
        free[[*self.given, *self.dropped]] = False
        return np.flatnonzero(free)

    def coarse_of(self) -> dict[str, str]:
        """Return the name of each class's coarse class, by the class."""
        return {name: self.pictures.coarse_names[c] for name, c in self.classes.items()}

    def _free(self, name: str) -> str:
        name = name.strip()
        if not 0 < len(name) <= LONGEST_NAME:
            raise InputError(
                f"a class's name of {len(name)} characters: expected 1 to {LONGEST_NAME}"
            )
        if printable(name) != name:
            raise InputError(f"{name!r} cannot be a class's name: use letters, digits and blanks")
        if name == UNKNOWN:
            raise InputError(f'{name!r} is the answer "none of these"; give the class another name')
        if name in self.classes:
            raise InputError(f"there is a class {name!r} already; give this one another name")
        return name
