"""Figures of training steps, which stay on the device until a print asks for them."""

import math
import time
from collections.abc import Sequence
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


class _Step(NamedTuple):
    """A step's figures, the last of which is whether it was taken; and what it counted.

    `right` is (L, 2, C): of each loss with class logits and each class, the images whose class was
    the likeliest and all images; empty where classes are not counted.
    """

    figures: Tensor
    right: Tensor

    def on_host(self) -> "_Step":
        return _Step(self.figures.cpu(), self.right.cpu())


class Meter:
    """Collects the steps since the last print.

    Args:
        state: what `state` of another one returned, to go on from.
        classes: number of the classes, where accuracies are told by class too (`balanced`: their
            mean); 0: they are not.
    """

    def __init__(self, state: dict[str, Any] | None = None, classes: int = 0) -> None:
        self.classes = classes
        self._names: list[str] = list(state["names"]) if state else []
        self._counted: list[str] = []  # the losses of `_Step.right`
        steps = list(state["steps"]) if state else []
        # Files of earlier versions tell no counts.
        counts = (state or {}).get("right") or [torch.empty(0, 2, classes)] * len(steps)
        self._steps = [_Step(*each) for each in zip(steps, counts, strict=True)]
        self._images = 0  # of this process, since it started
        self._since: float | None = None  # when the clock was started, while it runs
        self._seconds = self._waited = 0.0

    def __len__(self) -> int:
        return len(self._steps)

    def state(self) -> dict[str, Any]:
        """Return what a resume needs, in plain containers and tensors on the host."""
        steps = [step.on_host() for step in self._steps]
        figures, counts = ([step[part] for step in steps] for part in (0, 1))
        return {"names": list(self._names), "steps": figures, "right": counts}

    def start(self) -> None:
        """Let the clock run, if it does not."""
        if self._since is None:
            self._since = time.perf_counter()

    def stop(self) -> None:
        """Halt the clock for what is no training, once the device has done the steps so far."""
        if self._since is not None:
            if self._steps:
                self._steps[-1].figures.cpu()
            self._seconds += time.perf_counter() - self._since
            self._since = None

    def rest(self, steps: int) -> "Meter":
        """Return a meter that begins with the last `steps` steps, undone ones left out."""
        meter = Meter(classes=self.classes)
        last = (step.on_host() for step in self._steps[max(0, len(self) - steps) :])
        meter._names, meter._steps = self._names, [step for step in last if step.figures[-1] > 0]
        return meter

    def waited(self, seconds: float) -> None:
        """Add time that the loop waited for data."""
        self._waited += seconds

    def add(
        self,
        parts: list[dict[str, LossTerm]],
        weights: list[float],
        good: Tensor,
        labels: Sequence[Tensor],
    ) -> None:
        """Add a step.

        Args:
            parts: losses of each of the parts that the step's batch was passed in.
            weights: shares of the parts in the batch.
            good: whether the step was taken, (); else it was undone.
            labels: of this process's images in each part.
        """
        named = [_named(losses) for losses in parts]
        self._names = list(named[0])
        figures = [
            torch.stack(list(figures.values())) * weight
            for figures, weight in zip(named, weights, strict=True)
        ]
        figures = torch.stack(figures).sum(0)
        figures = torch.cat([figures, good.to(figures.dtype)[None]])
        self._steps.append(_Step(figures, self._right(parts, labels) * good))
        self._images += sum(map(len, labels))

    def _right(self, parts: list[dict[str, LossTerm]], labels: Sequence[Tensor]) -> Tensor:
        """Count images by class, (L, 2, C), as `_Step` has them."""
        self._counted = [name for name, term in parts[0].items() if term.right is not None]
        self._counted *= self.classes > 0
        device = parts[0][next(iter(parts[0]))].value.device
        counts = torch.zeros(len(self._counted), 2, self.classes, device=device)
        for losses, of in zip(parts, labels, strict=True):
            for own, name in zip(counts, self._counted, strict=True):
                right = losses[name].right.float()
                seen = torch.stack([right, torch.ones_like(right)])
                # Of several views, one after another, all are counted.
                of_rows = of.to(device, non_blocking=True).repeat(len(right) // len(of))
                own.index_add_(1, of_rows, seen)
        return counts

    def read(self) -> tuple[dict[str, float], list[Failure]]:
        """Return means over the steps taken and all processes, and the steps that were undone.

        Beside the losses' figures (accuracies in percent) there are images/s of all processes and
        the share of time that was waited for data, both of the time that the clock ran, which is
        halted.
        """
        device = self._steps[-1].figures.device
        rows = average(torch.stack([step.figures.to(device) for step in self._steps])).cpu()
        taken = rows[rows.isfinite().all(1), :-1]
        means = (taken if len(taken) else rows[:, :-1]).mean(0).tolist()
        self.stop()
        figures = dict(zip(self._names, means, strict=True))
        figures = {k: 100 * v if k.startswith("top") else v for k, v in figures.items()}
        return {
            **figures,
            **self._balanced(),
            "images_per_s": world_size() * self._images / max(self._seconds, 1e-9),
            "data_wait": self._waited / max(self._seconds, 1e-9),
        }, [self._failure(place, row) for place, row in enumerate(rows.tolist()) if row[-1] < 1]

    def _balanced(self) -> dict[str, float]:
        """Return the mean over the classes seen of each one's top-1 accuracy, in percent."""
        if not self._counted:
            return {}
        whole = [step.right for step in self._steps if len(step.right)]
        right, images = average(sum(each.to(whole[-1].device) for each in whole)).cpu().unbind(1)
        of_class = (right / images).masked_fill(images == 0, math.nan)
        means = 100 * of_class.nanmean(1)
        names = (f"balanced/{name}" for name in self._counted)
        return dict(zip(names, means.tolist(), strict=True))

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
        for figure, value in zip(("loss", "top1", "top5"), term, strict=False)
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
    """Show the top-1 accuracies of `loss/NAME`, where it has some."""
    names = {"top-1": loss.replace("loss", "top1", 1)}
    names["balanced"] = loss.replace("loss", "balanced", 1)
    known = [f"{what} {figures[name]:.1f}" for what, name in names.items() if name in figures]
    return f" ({', '.join(known)})" if known else ""
