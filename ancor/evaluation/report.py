"""What an evaluation prints and writes."""

import csv
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ancor.data.episodes import Protocol
from ancor.evaluation.episodic import Plan, mean_and_interval


@dataclass(frozen=True)
class Result:
    """The outcome of one evaluation.

    Attributes:
        mode: `N-Way`, `All-Way` or `Fine-Grained`.
        protocol: what its episodes were.
        n_ways: classes of the largest episode.
        classifier: its name.
        scores: accuracy of each episode, (episodes,), in 0-1.
        baseline: the same for the untrained encoder on the same episodes, or None.
        seconds: time that its features and scores took.
    """

    mode: str
    protocol: Protocol
    n_ways: int
    classifier: str
    scores: np.ndarray
    baseline: np.ndarray | None
    seconds: float

    def lines(self, partition: str) -> list[str]:
        """Return the paper's two lines, and the baseline's where there is one."""
        mean, half = mean_and_interval(self.scores)
        lines = [
            f"Mode: {self.mode}",
            f"Partition: {partition} Accuracy: {100 * mean:.2f} ± {100 * half:.2f}, "
            f"Time: {self.seconds:.1f}",
        ]
        if self.baseline is not None:
            base, base_half = mean_and_interval(self.baseline)
            gain, gain_half = mean_and_interval(self.scores - self.baseline)
            lines.append(
                f"Untrained encoder: {100 * base:.2f} ± {100 * base_half:.2f}; "
                f"gain by training: {100 * gain:+.2f} ± {100 * gain_half:.2f} (paired)"
            )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON; accuracies in percent."""
        mean, half = mean_and_interval(self.scores)
        result = {
            "mode": self.mode,
            "accuracy": 100 * mean,
            "ci95": 100 * half,
            "episodes": len(self.scores),
            **asdict(self.protocol),
            "n_ways": self.n_ways,
            "classifier": self.classifier,
            "seconds": round(self.seconds, 3),
        }
        if self.baseline is not None:
            base, base_half = mean_and_interval(self.baseline)
            gain, gain_half = mean_and_interval(self.scores - self.baseline)
            result["untrained"] = {
                "accuracy": 100 * base,
                "ci95": 100 * base_half,
                "gain": 100 * gain,
                "gain_ci95": 100 * gain_half,
            }
        return result


def episodes_hash(plan: Plan) -> str:
    """SHA-256 over all episodes' image indices: equal where the same episodes were drawn."""
    digest = hashlib.sha256()
    for episodes in plan.episodes:
        for episode in episodes:
            for indices in (episode.support, episode.query):
                digest.update(np.ascontiguousarray(indices, dtype="<i8").tobytes())
    return digest.hexdigest()


def write_json(path: Path, results: list[Result], about: dict[str, Any]) -> None:
    """Write `{"results": [...], ...}`."""
    content = {"results": [result.as_dict() for result in results], **about}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_csv(path: Path, results: list[Result]) -> None:
    """Write each episode's accuracy, in percent."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["mode", "episode", "accuracy"])
        for result in results:
            for number, score in enumerate(result.scores):
                table.writerow([result.mode, number, f"{100 * score:.4f}"])
