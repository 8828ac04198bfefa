"""How much each class counts, where classes have unequal numbers of images."""

import numpy as np
import torch
from torch import Tensor

POWERS = {"none": 1.0, "class": 0.0, "sqrt": 0.5}  # of the number of images, by balance


def class_shares(counts: Tensor, balance: str) -> Tensor:
    """Return the share of each class in what is seen: (C,) of float64, which sum to 1.

    `none`: as the images; `class`: all alike; `sqrt`: as the square roots of their numbers, as for
    words in Mahajan et al., "Exploring the Limits of Weakly Supervised Pretraining" (ECCV 2018).

    Args:
        counts: images of each class, (C,); a class of none has no share.
        balance: of `POWERS`.
    """
    seen = torch.where(counts > 0, counts.double() ** POWERS[balance], 0.0)
    return seen / seen.sum()


def unequal_classes(labels: np.ndarray) -> int:
    """Return the number of classes of labels (N,) where they differ in size; else 0."""
    counts = np.bincount(labels)
    return 0 if len({*counts[counts > 0].tolist()}) == 1 else len(counts)


def class_weights(labels: Tensor, classes: int, balance: str) -> Tensor:
    """Return what an image of each class counts in a mean over all: (C,) of float32.

    Under these weights each class has its share of `class_shares`; the mean over the images is 1.

    Args:
        labels: of all training images, (N,).
        classes: their number C.
        balance: of `POWERS`.
    """
    counts = torch.bincount(labels, minlength=classes)
    shares = class_shares(counts, balance) * len(labels)
    return torch.where(counts > 0, shares / counts.clamp(min=1), 0.0).float()


def balanced_order(
    labels: Tensor, balance: str, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw the images of an epoch, as many as there are, each class as often as its share says.

    Images of a class come in rounds: none comes again before all have come.

    Args:
        labels: of the training images, (N,).
        balance: of `POWERS`.
        generator: of the drawing.

    Returns:
        Their positions, (N,), and in which round of its class each comes, (N,), from 0.
    """
    size = len(labels)
    counts = torch.bincount(labels)
    reached = (class_shares(counts, balance).cumsum(0) * size).round().long()
    reached[-1] = size
    asked = reached.diff(prepend=reached.new_zeros(1))
    members = labels.argsort(stable=True).split(counts.tolist())
    drawn, rounds = [], []
    for own, wanted in zip(members, asked.tolist(), strict=True):
        passes = -(-wanted // max(1, len(own)))
        orders = [own[torch.randperm(len(own), generator=generator)] for _ in range(passes)]
        drawn += [torch.cat(orders)[:wanted]] if orders else []
        rounds += [torch.arange(wanted) // max(1, len(own))]
    mixed = torch.randperm(size, generator=generator)
    return torch.cat(drawn)[mixed], torch.cat(rounds)[mixed]
