"""The settings of a search for sub-classes."""

from collections.abc import Sequence
from dataclasses import dataclass

from ancor.errors import InputError, choose
from ancor.evaluation.config import AUTO
from ancor.runtime.settings import at_least, check_settings, one_of, setting

ALGORITHMS = ("kmeans", "sinkhorn", "agglomerative")


@dataclass(frozen=True)
class DiscoveryConfig:
    """How sub-classes are found inside coarse classes.

    Attributes:
        algorithm: a name of `ancor.evaluation.clustering.ALGORITHMS`.
        k: sub-classes of each coarse class: a number or `auto` for all, `NAME=NUMBER` for one.
        max_k: the most that `auto` chooses.
        angular: whether angles around the coarse class's weight are clustered (the paper's angular
            normalization), in place of features.
        seed: of every draw.
    """

    algorithm: str = setting(
        "kmeans",
        "kmeans (spherical), sinkhorn (parts of nearly one size) or agglomerative (Ward)",
        one_of(ALGORITHMS),
    )
    k: tuple[str, ...] = setting(
        (AUTO,),
        "sub-classes of each coarse class: a number, or auto, by the silhouette; NAME=NUMBER for "
        "one coarse class",
        metavar="N",
    )
    max_k: int = setting(10, "the most sub-classes that auto chooses", at_least(2), metavar="N")
    angular: bool = setting(
        False,
        "cluster the angles around each coarse class's weight, or its mean where the model has "
        "none, in place of features",
    )
    seed: int = setting(0, "of every draw")

    def __post_init__(self) -> None:
        check_settings(self)
        for text in self.k:
            _number(text.rpartition("=")[2], text)
        names = [text.rpartition("=")[0] for text in self.k]  # '' of a number for all
        if len(set(names)) < len(names):
            raise InputError(
                f"`k` {' '.join(self.k):.200}: expected one number for all coarse classes, and one "
                "for each that is named; leave the others out"
            )

    def counts(self, names: Sequence[str]) -> list[int | None]:
        """Return the number of each coarse class by its name; None: it is chosen.

        Raises:
            InputError: a coarse class is not among the names.
        """
        parts = [text.rpartition("=") for text in self.k]
        of_all = next((value for _, equals, value in parts if not equals), AUTO)
        of_one = {name: value for name, equals, value in parts if equals}
        for name in of_one:
            choose("`k`: coarse class", name, names)
        return [_number(of_one.get(name, of_all), of_all) for name in names]


def _number(value: str, text: str) -> int | None:
    if value == AUTO:
        return None
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise InputError(
            f"`k` {text!r:.80}: expected 1 or more, {AUTO}, or NAME=NUMBER for one coarse class"
        )
    return int(value)
