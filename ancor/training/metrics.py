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
        self._since: float | None = None  # when the clock was started, while it runs
        self._seconds = self._waited = 0.0

    def __len__(self) -> int:
        return len(self._steps)

    def state(self) -> dict[str, Any]:
        """Return what a resume needs, in plain containers and tensors on the host."""
        steps = [step.cpu() for step in self._steps]
        return {"names": list(self._names), "steps": steps}

    def start(self) -> None:
        """Let the clock run, if it does not."""
        if self._since is None:
            self._since = time.perf_counter()

    def stop(self) -> None:
        """Halt the clock for what is no training, once the device has done the steps so far."""
        if self._since is not None:
            if self._steps:
                self._steps[-1].cpu()
            self._seconds += time.perf_counter() - self._since
            self._since = None

    def rest(self, steps: int) -> "Meter":
        """Return a meter that begins with the last `steps` steps, undone ones left out."""
        taken = [step.cpu() for step in self._steps[max(0, len(self) - steps) :] if step[-1] > 0]
        return Meter({"names": self._names, "steps": taken})

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
        named = [_named(losses) for losses in parts]
        self._names = list(named[0])
        figures = [
            torch.stack(list(figures.values())) * weight
            for figures, weight in zip(named, weights, strict=True)
        ]
        figures = torch.stack(figures).sum(0)
        self._steps.append(torch.cat([figures, good.to(figures.dtype)[None]]))
        self._images += images

    def read(self) -> tuple[dict[str, float], list[Failure]]:
        """Return means over the steps taken and all processes, and the steps that were undone.

        Beside the losses' figures (accuracies in percent) there are images/s of all processes and
        the share of time that was waited for data, both of the time that the clock ran, which is
        halted.
        """
        device = self._steps[-1].device
        rows = average(torch.stack([step.to(device) for step in self._steps])).cpu()
        taken = rows[rows.isfinite().all(1), :-1]
        means = (taken if len(taken) else rows[:, :-1]).mean(0).tolist()
        self.stop()
        figures = dict(zip(self._names, means, strict=True))
        figures = {k: 100 * v if k.startswith("top") else v for k, v in figures.items()}
        return figures | {
            "images_per_s": world_size() * self._images / max(self._seconds, 1e-9),
            "data_wait": self._waited / max(self._seconds, 1e-9),
        }, [self._failure(place, row) for place, row in enumerate(rows.tolist()) if row[-1] < 1]

    def _failure(self, place: int, row: list[float]) -> Failure:
        for name, value in zip(self._names, row, strict=False):
            if name.startswith("loss/") and not math.isfinite(value):
                return Failure(place, f"loss {name.removeprefix('loss/')}", value)
        return Failure(place, "gradient", math.inf)


def _named(losses: dict[str, LossTerm]) -> dict[str, Tensor]:
    """Return the figures of losses by name, `loss/cls`; accuracies where a loss has them."""
    return {
        f"{figure}/{loss}": value.detach()
        for loss, term in losses.items()
        for figure, value in zip(("loss", "top1", "top5"), term, strict=True)
        if value is not None
    }


def shown(figures: dict[str, float]) -> str:
    """Write the figures that `Meter.read` returned for people."""
    losses = "  ".join(
        f"{name.removeprefix('loss/')} {value:.3f}" + _accuracy(name, figures)
        for name, value in figures.items()
        if name.startswith("loss/")
    )
    speed, wait = figures["images_per_s"], 100 * figures["data_wait"]
    return f"{losses}  {speed:.0f} images/s, {wait:.0f}% waiting for data"


def _accuracy(loss: str, figures: dict[str, float]) -> str:
    """Show the top-1 accuracy of `loss/NAME`, where it has one."""
    name = loss.replace("loss", "top1", 1)
    return f" (top-1 {figures[name]:.1f})" if name in figures else ""
