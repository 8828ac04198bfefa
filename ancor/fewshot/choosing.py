"""Which encoder and which classifier suit one's own images: by leaving each image out (ours)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special

from ancor.errors import InputError
from ancor.evaluation.config import check_inductive, check_penalty
from ancor.fewshot import inputs
from ancor.fewshot.image_encoder import load_encoder
from ancor.fewshot.support_set import MOST_FITS, Features, Support
from ancor.runtime.text import columns

Z = 1.959964  # 97.5% of a normal distribution
CHANCE = 0.05  # probability below which a paired difference is told from chance


@dataclass(frozen=True)
class Candidate:
    """An encoder with a classifier, and what they make of images that were left out.

    Attributes:
        encoder: its name.
        classifier: its name.
        right: whether each image's answer is right, (N,).
    """

    encoder: str
    classifier: str
    right: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of right answers, in percent."""
        return 100 * float(self.right.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95% interval, in percent (Wilson, 1927)."""
        count, share = len(self.right), self.right.mean()
        middle = share + Z**2 / (2 * count)
        half = Z * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
        low, high = (100 * (middle + side * half) / (1 + Z**2 / count) for side in (-1, 1))
        # At 0 and 1 the bound is the share, but for rounding.
        return max(0.0, min(float(low), self.accuracy)), min(100.0, max(float(high), self.accuracy))

    def chance(self, other: "Candidate") -> float:
        """Probability of a difference as large, were both as good: McNemar's test, exact."""
        differ = self.right != other.right
        fewer = min(int((self.right & differ).sum()), int((other.right & differ).sum()))
        return min(1.0, 2 * float(special.bdtr(fewer, int(differ.sum()), 0.5)))


@dataclass(frozen=True)
class Choice:
    """Candidates, the best first, on the same images.

    Attributes:
        candidates: of each encoder and classifier.
        notes: what was left out, a line each.
    """

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]

    @property
    def alike(self) -> list[Candidate]:
        """Those that the images do not tell from the best."""
        best, *others = self.candidates
        return [other for other in others if other.chance(best) >= CHANCE]

    def lines(self) -> list[str]:
        """Return the notes, the table and what to take."""
        best = self.candidates[0]
        rows = [("encoder", "classifier", "accuracy", "95% interval")]
        for each in self.candidates:
            low, high = each.interval
            rows.append(
                (each.encoder, each.classifier, f"{each.accuracy:.1f}", f"{low:.1f}-{high:.1f}")
            )
        head, *body = columns(rows, right=2)
        take = f"Take {best.encoder} with {best.classifier}"
        if self.alike:
            same = ", ".join(f"{each.encoder} with {each.classifier}" for each in self.alike)
            take += f"; these {len(best.right)} images do not tell it from {same} (paired, 5%)"
        return [*self.notes, head, "-" * len(head), *body, take]

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON; accuracies in percent."""
        best = self.candidates[0]
        rows = [
            {
                "encoder": each.encoder,
                "classifier": each.classifier,
                "accuracy": each.accuracy,
                "ci95": list(each.interval),
                "p_of_best": each.chance(best),
            }
            for each in self.candidates
        ]
        taken = {"encoder": best.encoder, "classifier": best.classifier}
        images, notes = len(best.right), list(self.notes)
        return {"take": taken, "images": images, "candidates": rows, "notes": notes}


def choose(
    sources: Sequence[str],
    folder: str,
    classifiers: Sequence[str],
    C: float | str = 1.0,
    n_augmentations: int = 5,
    seed: int = 0,
    **options: Any,
) -> Choice:
    """Compare encoders and classifiers on a folder's images.

    Args:
        sources: encoders that `load_encoder` reads, one at a time.
        folder: that holds one folder a class.
        classifiers: names, none of `ancor.evaluation.config.TRANSDUCTIVE`.
        C: of LR.
        n_augmentations: random views of each image that are learned from.
        seed: of the views.
        options: device, precision, batch_size, quiet of `load_encoder`.

    Raises:
        InputError: a setting is not accepted, a file cannot be read, or classes are too few.
    """
    for values, name in ((sources, "encoders"), (classifiers, "classifiers")):
        if len(set(values)) < len(values):
            raise InputError(f"{name} {' '.join(values)}: give each once")
    for name in classifiers:
        check_inductive(name)
    check_penalty(C, classifiers)
    if n_augmentations < 0:
        raise InputError(f"`n_augmentations` {n_augmentations}: 0 or more are needed")
    images, labels = inputs.class_folders(folder)
    labels = inputs.labels_of(labels, len(images))
    _check(labels)
    encoded = (
        (source, load_encoder(source, **options).features(images, n_augmentations, seed))
        for source in sources
    )
    return choose_by(encoded, labels, classifiers, C)


def choose_by(
    encoded: Iterable[tuple[str, Features]],
    labels: np.ndarray,
    classifiers: Sequence[str],
    C: float | str = 1.0,
) -> Choice:
    """Compare encoders and classifiers by leaving each image out, with all of its views.

    Args:
        encoded: the name of each encoder, and its features of N images.
        labels: their classes, (N,).
        classifiers: names, none of `ancor.evaluation.config.TRANSDUCTIVE`.
        C: of LR.

    Raises:
        InputError: there is one class, or no class has two images.
    """
    _check(labels)
    classes, positions, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    asked = sizes[positions] > 1
    candidates = []
    for encoder, features in encoded:
        for name in classifiers:
            truth = torch.from_numpy(positions)
            support = Support(features, truth, len(classes), name, False, C)
            right = (support.left_out().argmax(1) == truth).numpy()[asked]
            candidates.append(Candidate(encoder, name, right))
    candidates.sort(key=lambda each: -each.accuracy)
    return Choice(tuple(candidates), tuple(_notes(classes[sizes == 1], len(labels))))


def _check(labels: np.ndarray) -> None:
    classes, sizes = np.unique(labels, return_counts=True)
    if len(classes) < 2 or sizes.max() < 2:
        raise InputError(
            f"classes {len(classes)}, images of the largest {sizes.max()}; expected 2 classes or "
            "more, and of one at least 2 images, of which one can be left out"
        )


def _notes(lone: np.ndarray, count: int) -> Iterable[str]:
    if len(lone):
        shown = ", ".join(map(str, lone[:5])) + (", ..." if len(lone) > 5 else "")
        yield (f"Notice: the only image of a class is learned from and not left out: {shown}")
    if count > MOST_FITS:
        yield f"Notice: {count} images: a tenth of them is left out at a time, not each alone"
