"""Figures of training steps, which stay on the device until a print asks for them."""

import time

import torch
from torch import Tensor

from ancor.distributed import average, world_size
from ancor.methods.losses import LossTerm


class Meter:
    """Collects the steps since the last print."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._steps: list[Tensor] = []
        self._started = time.perf_counter()
        self._waited = 0.0
        self._images = 0

    def waited(self, seconds: float) -> None:
        """Add time that the loop waited for data."""
        self._waited += seconds

    def add(self, parts: list[dict[str, LossTerm]], weights: list[float], images: int) -> None:
        """Add a step.

        Args:
            parts: losses of each of the parts that the step's batch was passed in.
            weights: shares of the parts in the batch.
            images: images of this process in the batch.
        """
        self._names = [
            f"{figure}/{loss}" for loss in parts[0] for figure in ("loss", "top1", "top5")
        ]
        figures = [
            torch.stack([figure.detach() for term in losses.values() for figure in term]) * weight
            for losses, weight in zip(parts, weights, strict=True)
        ]
        self._steps.append(torch.stack(figures).sum(0))
        self._images += images

    def read(self) -> dict[str, float]:
        """Return means over the steps and processes, images/s of all and the data-wait share.

        Accuracies are in percent.
        """
        means = average(torch.stack(self._steps).mean(0)).tolist()
        seconds = time.perf_counter() - self._started
        figures = dict(zip(self._names, means, strict=True))
        figures = {k: 100 * v if k.startswith("top") else v for k, v in figures.items()}
        return figures | {
            "images_per_s": world_size() * self._images / seconds,
            "data_wait": self._waited / seconds,
        }
