"""The report on unknown classes: what the episodes of `ancor.evaluation.open_set` say."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np

from ancor.data.episodes import ALL_WAYS, Protocol, span
from ancor.evaluation.plan import mean_and_interval
from ancor.runtime.text import columns

KINDS = ("anywhere", "same coarse class")  # where unknown classes come from
SCORES = ("similarity", "probability")


@dataclass(frozen=True)
class Rejection:
    """How well two scores tell known from unknown classes in the episodes of a protocol.

    Attributes:
        protocol: of the episodes; its `n_ways` are the known classes that were asked for.
        ways: known classes of each episode, (episodes,).
        unknown: one of `KINDS`.
        auroc: for each of `SCORES` and each episode, (2, episodes), in 0-1; NaN of an episode
            without such unknown classes.
        fpr: the share of unknown queries that are accepted where 95% of the known ones are,
            likewise.
    """

    protocol: Protocol
    ways: np.ndarray
    unknown: str
    auroc: np.ndarray
    fpr: np.ndarray

    @property
    def counted(self) -> np.ndarray:
        """The episodes that have such unknown classes."""
        return np.flatnonzero(np.isfinite(self.auroc[0]))

    @property
    def mode(self) -> str:
        """Which episodes they are, as accuracies name them."""
        return "All-Way" if self.protocol.n_ways >= ALL_WAYS else "N-Way"

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Means and half widths of 95% intervals, in percent; `gain` is of the AUROC, paired."""
        found = {}
        for index, name in enumerate(SCORES):
            found[f"auroc_{name}"] = self.auroc[index]
            found[f"fpr95_{name}"] = self.fpr[index]
        found["auroc_gain"] = self.auroc[0] - self.auroc[1]
        return {
            name: tuple(100 * part for part in mean_and_interval(values[self.counted]))
            for name, values in found.items()
        }

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON, in percent."""
        return {
            "mode": self.mode,
            "n_shots": self.protocol.n_shots,
            "n_ways_range": [int(self.ways.min()), int(self.ways.max())],
            "unknown": self.unknown,
            "episodes": len(self.counted),
            **{
                name: {"mean": _known(mean), "ci95": _known(half)}
                for name, (mean, half) in self.intervals().items()
            },
        }

    def row(self) -> list[str]:
        """Return its cells of `lines`."""
        told = {name: f"{mean:.1f} ± {half:.1f}" for name, (mean, half) in self.intervals().items()}
        figures = [told[f"{what}_{score}"] for what in ("auroc", "fpr95") for score in SCORES]
        figures.insert(2, told["auroc_gain"])
        shots, episodes = str(self.protocol.n_shots), str(len(self.counted))
        return [self.unknown, self.mode, span(self.ways.tolist()), shots, episodes, *figures]


TITLES = (
    *(
        "unknown from",
        "mode",
        "known",
        "shots",
        "episodes",
        "AUROC, similarity",
        "probability",
        "gain",
    ),
    *("FPR at 95%, similarity", "probability"),
)


@dataclass(frozen=True)
class OpenSet:
    """The report on unknown classes.

    Attributes:
        found: for each protocol and kind of unknown class.
        classifier: whose probabilities are one of the two scores.
    """

    found: list[Rejection]
    classifier: str

    def lines(self) -> Iterator[str]:
        """Lay rejections out as a table."""
        yield (
            "Open set: half of the classes unknown; told by the similarity to the nearest class "
            f"mean and by {self.classifier}'s highest probability, in percent"
        )
        head, *rows = columns([TITLES, *(each.row() for each in self.found)], right=len(TITLES) - 1)
        yield from (head, "-" * len(head), *rows)

    def as_dict(self) -> list[dict[str, Any]]:
        """Return it for JSON."""
        return [each.as_dict() for each in self.found]


def rejections(protocol: Protocol, ways: np.ndarray, rows: np.ndarray) -> Iterator[Rejection]:
    """Yield what episodes of a protocol say of each kind of unknown class that it is about.

    Args:
        protocol: the protocol.
        ways: known classes of each episode, (episodes,).
        rows: what `measure` made of each episode, (episodes, 2, 2, 2).
    """
    kinds = (0, 1) if protocol.n_ways >= ALL_WAYS else (int(protocol.intra_class),)
    for kind in kinds:
        auroc, fpr = rows[:, kind].transpose(1, 2, 0)
        if np.isfinite(auroc[0]).sum() > 1:
            yield Rejection(protocol, ways, KINDS[kind], auroc, fpr)


def _known(figure: float) -> float | None:
    """Return a figure for JSON, which has no word for what is not a number."""
    return None if isnan(figure) else figure
