"""How far probabilities can be trusted: expected calibration error, Brier score, coverage."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ancor.evaluation.plan import mean_and_interval

BINS = 15
COVERAGES = (50, 80, 90)  # percent of an episode's queries that are answered, the surest ones
DECIMALS = 6  # in reports: of what follows, the order of a sum moves the last digits of a float


@dataclass(frozen=True)
class Calibration:
    """What the probabilities of an evaluation's episodes are worth.

    All count queries alike, also where an episode's accuracy is the mean over unequal classes.

    Attributes:
        ece: expected calibration error over all queries, in 0-1: |accuracy - confidence| in the
            mean over `BINS` bins of equal width of the highest probability, weighted by their
            queries (Guo et al., 2017, arXiv 1706.04599).
        brier: mean over all queries of the squared distance of the probabilities to the right
            answer, 0 to 2 (Brier, 1950).
        coverage: for each of `COVERAGES` the accuracy over the surest queries of an episode, its
            mean over episodes and half its 95% interval, in percent.
    """

    ece: float
    brier: float
    coverage: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, sums: np.ndarray) -> "Calibration":
        """Sum up the rows (episodes, K) that `episode_sums` made."""
        counts, sure, right = sums[:, : 3 * BINS].sum(0).reshape(3, BINS)
        queries = counts.sum()
        surest = (mean_and_interval(column) for column in sums[:, 3 * BINS + 1 :].T)
        return cls(
            float(np.abs(right - sure).sum() / queries),
            float(sums[:, 3 * BINS].sum() / queries),
            tuple((100 * mean, 100 * half) for mean, half in surest),
        )

    def __str__(self) -> str:
        shares = "/".join(map(str, COVERAGES))
        surest = "/".join(f"{mean:.2f}" for mean, _ in self.coverage)
        return f"surest {shares}%: {surest}; ECE {100 * self.ece:.1f}%, Brier {self.brier:.3f}"

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "ece": round(self.ece, DECIMALS),
            "brier": round(self.brier, DECIMALS),
            "accuracy_at_coverage": {
                str(share): {"accuracy": round(mean, DECIMALS), "ci95": round(half, DECIMALS)}
                for share, (mean, half) in zip(COVERAGES, self.coverage, strict=True)
            },
        }


def episode_sums(probabilities: Tensor, found: Tensor, labels: Tensor) -> Tensor:
    """Sum up each episode's probabilities.

    Args:
        probabilities: (E, Q, n).
        found: the labels of the highest ones, (E, Q).
        labels: the right labels, (E, Q); -1 for padding, which follows an episode's queries.

    Returns:
        (E, K) of float64: for each bin its queries, their confidences and their right answers;
        the Brier scores; and of each of `COVERAGES` the accuracy.
    """
    counted = labels >= 0
    confidence = probabilities.gather(2, found[..., None])[..., 0].double()
    right = (found == labels).double()
    bins = (confidence * BINS).ceil().long().sub_(1).clamp_(0, BINS - 1)
    bins = torch.where(counted, bins, BINS)
    parts = torch.stack([counted.double(), confidence, right])
    binned = parts.new_zeros(3, len(labels), BINS + 1)
    binned.scatter_add_(2, bins.expand(3, -1, -1), parts)
    of_right = probabilities.gather(2, labels.clamp(min=0)[..., None])[..., 0]
    brier = torch.linalg.vecdot(probabilities, probabilities) - 2 * of_right + 1
    sums = [*binned[..., :BINS], torch.where(counted, brier, 0).sum(1, keepdim=True)]
    sums += [_at_coverage(confidence, right, counted, share / 100) for share in COVERAGES]
    return torch.cat(sums, dim=1)


def _at_coverage(confidence: Tensor, right: Tensor, counted: Tensor, share: float) -> Tensor:
    """Accuracies (E, 1) over the surest queries, of equally sure ones in the mean over a choice."""
    confidence = confidence.masked_fill(~counted, -1)
    kept = (share * counted.sum(1, keepdim=True)).ceil()
    least = confidence.sort(dim=1, descending=True).values.gather(1, kept.long() - 1)
    above, equal = confidence > least, confidence == least
    rest = (kept - above.sum(1, keepdim=True)) / equal.sum(1, keepdim=True)
    return (right * (above + rest * equal)).sum(1, keepdim=True) / kept
