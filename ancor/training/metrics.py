"""Figures of training steps, which stay on the device until a print asks for them."""

import math
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ancor.methods.losses import LossTerm
from ancor.runtime.distributed import average, world_size


class Failure(NamedTuple):
    """A step that was undone: its place since the last print, and what was not finite in it."""

    place: int
    name: str
    value: float


class Meter:
    """Collects the steps since the last print.

    Args:
        state: what `state` of another one returned, to go on from.
    """

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self._names: list[str] = list(state["names"]) if state else []
        self._steps: list[Tensor] = list(state["steps"]) if state else []
        self._images = 0  # of this process, since it started
        self._started = time.perf_counter()
        self._waited = 0.0

    def __len__(self) -> int:
        return len(self._steps)

    def state(self) -> dict[str, Any]:
        """Return what a resume needs, in plain containers and tensors on the host."""
        steps = [step.cpu() for step in self._steps]
        return {"names": list(self._names), "steps": steps}

    def waited(self, seconds: float) -> None:
        """Add time that the loop waited for data."""
        self._waited += seconds

    def add(
        self, parts: list[dict[str, LossTerm]], weights: list[float], good: Tensor, images: int
    ) -> None:
        """Add a step.

        Args:
            parts: losses of each of the parts that the step's batch was passed in.
            weights: shares of the parts in the batch.
            good: whether the step was taken, (); else it was undone.
            images: images of this process in the batch.
        """
        self._names = [
            f"{figure}/{loss}" for loss in parts[0] for figure in ("loss", "top1", "top5")
        ]
        figures = [
            torch.stack([figure.detach() for term in losses.values() for figure in term]) * weight
            for losses, weight in zip(parts, weights, strict=True)
        ]
        figures = torch.stack(figures).sum(0)
        self._steps.append(torch.cat([figures, good.to(figures.dtype)[None]]))
        self._images += images

    def read(self) -> tuple[dict[str, float], list[Failure]]:
        """Return means over the steps taken and all processes, and the steps that were undone.

        Beside the losses' figures (accuracies in percent) there are images/s of all processes and
        the share of time that was waited for data.
        """
        device = self._steps[-1].device
        rows = average(torch.stack([step.to(device) for step in self._steps])).cpu()
        taken = rows[rows.isfinite().all(1), :-1]
        means = (taken if len(taken) else rows[:, :-1]).mean(0).tolist()
        seconds = time.perf_counter() - self._started
        figures = dict(zip(self._names, means, strict=True))
        figures = {k: 100 * v if k.startswith("top") else v for k, v in figures.items()}
        return figures | {
            "images_per_s": world_size() * self._images / seconds,
            "data_wait": self._waited / seconds,
        }, [self._failure(place, row) for place, row in enumerate(rows.tolist()) if row[-1] < 1]

    def _failure(self, place: int, row: list[float]) -> Failure:
        for name, value in zip(self._names, row, strict=False):
            if name.startswith("loss/") and not math.isfinite(value):
                return Failure(place, f"loss {name.removeprefix('loss/')}", value)
        return Failure(place, "gradient", math.inf)
