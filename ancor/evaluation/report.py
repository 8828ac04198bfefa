"""What an evaluation prints and writes."""

import hashlib
import json
import typing
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ancor.data.episodes import ALL_WAYS, Protocol, span
from ancor.evaluation.calibration import Calibration
from ancor.evaluation.plan import Plan, mean_and_interval
from ancor.runtime.text import columns, write_csv
from ancor.safe_io.writing import write_result


class Report(typing.Protocol):
    """A part of an evaluation that is printed and written."""

    def lines(self) -> Iterable[str]:
        """Return it for people."""

    def as_dict(self) -> dict[str, Any] | list[dict[str, Any]]:
        """Return it for JSON."""


@dataclass(frozen=True)
class Result:
    """The outcome of one evaluation.

    Attributes:
        mode: `N-Way`, `All-Way` or `Fine-Grained`.
        protocol: what was asked for.
        ways: classes of each episode, (episodes,).
        queries: fewest and most queries of a class in an episode.
        classifier: its name.
        scores: accuracy of each episode, (episodes,), in 0-1.
        baseline: the same for another encoder on the same episodes, or None.
        baseline_name: which one; None: this one before its training.
        seconds: time that its features and scores took.
        confusion: queries of class i that were taken for class j, over all episodes, (C, C).
        errors_in_coarse: share of the errors that stay inside the right coarse class; None where
            that says nothing.
        coarse: of each episode the accuracy at the coarse level, (episodes,), in 0-1; None where
            classes are coarse or an episode has one coarse class.
        calibration: what the probabilities are worth; None: the classifier has none.
    """

    mode: str
    protocol: Protocol
    ways: np.ndarray
    queries: Sequence[int]
    classifier: str
    scores: np.ndarray
    baseline: np.ndarray | None
    baseline_name: str | None
    seconds: float
    confusion: np.ndarray
    errors_in_coarse: float | None = None
    coarse: np.ndarray | None = None
    calibration: Calibration | None = None

    @property
    def accuracy(self) -> float:
        """Mean accuracy over the episodes, in percent."""
        return 100 * mean_and_interval(self.scores)[0]

    @property
    def ci95(self) -> float:
        """Half the width of its 95% confidence interval, in percent."""
        return 100 * mean_and_interval(self.scores)[1]

    def __str__(self) -> str:
        return (
            f"{self.mode} ({self.n_ways} ways, {self.protocol.n_shots} shots): "
            f"{self.accuracy:.2f} ± {self.ci95:.2f}"
        )

    @property
    def over_queries(self) -> float | None:
        """Share of right answers among all queries, in percent; None where classes have as many.

        There `accuracy`, which is the mean over an episode's classes, is the same.
        """
        if self.queries[0] == self.queries[1]:
            return None
        return float(100 * np.diag(self.confusion).sum() / self.confusion.sum())

    @property
    def n_ways(self) -> str:
        """Ways of the episodes as they were: `5`, or `2-4`."""
        return span(self.ways.tolist())

    def lines(self, partition: str) -> list[str]:
        """Return the paper's two lines, and the baseline's where there is one."""
        lines = [
            f"Mode: {self.mode}",
            f"Partition: {partition} Accuracy: {self.accuracy:.2f} ± {self.ci95:.2f}, "
            f"Time: {self.seconds:.1f}",
        ]
        if self.ways.min() < self.protocol.n_ways < ALL_WAYS:
            asked = f"of the {self.protocol.n_ways} asked for"
            lines.append(f"Ways: {self.n_ways} {asked}, as there are no more classes")
        if self.over_queries is not None:
            lines.append(
                f"Over all queries: {self.over_queries:.2f}; the accuracy is balanced, the mean "
                f"over classes, of which an episode has {span(self.queries)} queries each"
            )
        if details := self._details():
            lines.append(f"{details[0].upper()}{details[1:]}")
        if self.baseline is not None:
            base, base_half = mean_and_interval(self.baseline)
            gain, gain_half = mean_and_interval(self.scores - self.baseline)
            named = self.baseline_name is not None
            title = f"Baseline {self.baseline_name}" if named else "Untrained encoder"
            over = "over it" if named else "by training"
            lines.append(
                f"{title}: {100 * base:.2f} ± {100 * base_half:.2f}; "
                f"gain {over}: {100 * gain:+.2f} ± {100 * gain_half:.2f} (paired)"
            )
        return lines

    def _details(self) -> str:
        """Tell the accuracy at the coarse level and what the probabilities are worth, if known."""
        parts = []
        if self.coarse is not None:
            mean, half = mean_and_interval(self.coarse)
            parts.append(f"coarse class right: {100 * mean:.2f} ± {100 * half:.2f}")
        if self.calibration is not None:
            parts.append(str(self.calibration))
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON; accuracies in percent."""
        result = {
            "mode": self.mode,
            "accuracy": self.accuracy,
            "ci95": self.ci95,
            "episodes": len(self.scores),
            **asdict(self.protocol),
            "n_ways": int(self.ways.max()),
            "n_ways_range": [int(self.ways.min()), int(self.ways.max())],
            "n_queries_range": list(self.queries),
            "classifier": self.classifier,
            "seconds": round(self.seconds, 3),
        }
        if self.over_queries is not None:
            result["accuracy_over_queries"] = self.over_queries
        if self.errors_in_coarse is not None:
            result["errors_in_coarse"] = 100 * self.errors_in_coarse
        if self.coarse is not None:
            mean, half = mean_and_interval(self.coarse)
            result["coarse"] = {"accuracy": 100 * mean, "ci95": 100 * half}
        if self.calibration is not None:
            result["calibration"] = self.calibration.as_dict()
        if self.baseline is not None:
            base, base_half = mean_and_interval(self.baseline)
            gain, gain_half = mean_and_interval(self.scores - self.baseline)
            result["untrained" if self.baseline_name is None else "baseline"] = {
                "accuracy": 100 * base,
                "ci95": 100 * base_half,
                "gain": 100 * gain,
                "gain_ci95": 100 * gain_half,
            }
        return result

    def row(self) -> list[str]:
        """Return its cells of `table`."""
        share = self.errors_in_coarse
        return [
            self.mode,
            self.n_ways,
            str(self.protocol.n_shots),
            str(len(self.scores)),
            f"{self.accuracy:.2f} ± {self.ci95:.2f}",
            "" if share is None else f"{100 * share:.1f}",
            f"{self.seconds:.1f}",
        ]


TITLES = ("mode", "ways", "shots", "episodes", "accuracy", "errors in coarse, %", "seconds")


def table(results: Sequence[Result]) -> str:
    """Lay all results out as a table."""
    head, *lines = columns([TITLES, *(result.row() for result in results)], right=len(TITLES) - 1)
    return "\n".join([head, "-" * len(head), *lines])


def confusion(
    plan: Plan, which: int, predictions: Sequence[np.ndarray], classes: int
) -> np.ndarray:
    """Count queries of class i that were taken for class j, over all episodes: (classes, classes).

    Args:
        plan: the plan.
        which: number of the evaluation.
        predictions: episode labels (Q,) of each episode.
        classes: number of classes of the level that episodes are made of.
    """
    counts = np.zeros((classes, classes), dtype=np.int64)
    for episode, predicted in zip(plan.episodes[which], predictions, strict=True):
        pair = episode.classes[episode.query_labels], episode.classes[predicted]
        np.add.at(counts, pair, 1)
    return counts


def errors_in_coarse(counts: np.ndarray, coarse_of_fine: np.ndarray) -> float | None:
    """Share of the errors in (C, C) counts inside the right coarse class; None without errors."""
    errors = counts - np.diag(np.diag(counts))
    same = coarse_of_fine[:, None] == coarse_of_fine
    return float(errors[same].sum() / errors.sum()) if errors.sum() else None


def episodes_hash(plan: Plan) -> str:
    """SHA-256 over all episodes' image indices: equal where the same episodes were drawn."""
    digest = hashlib.sha256()
    for episodes in plan.episodes:
        for episode in episodes:
            for indices in (episode.support, episode.query):
                digest.update(np.ascontiguousarray(indices, dtype="<i8").tobytes())
    return digest.hexdigest()


def write_json(path: Path, results: list[Result], about: dict[str, Any]) -> None:
    """Write `{"results": [...], ...}`; `about` holds the reports over the whole partition too."""
    content = {"results": [result.as_dict() for result in results], **about}
    write_result(path, json.dumps(content, indent=2) + "\n")


def write_episodes(path: Path, results: list[Result]) -> None:
    """Write each episode's accuracy, in percent, and its number of classes."""
    rows = (
        (result.mode, result.protocol.n_shots, number, f"{100 * score:.4f}", ways)
        for result in results
        for number, (score, ways) in enumerate(
            zip(result.scores, result.ways.tolist(), strict=True)
        )
    )
    write_csv(path, ("mode", "n_shots", "episode", "accuracy", "n_ways"), rows)
