"""Roll back a step with non-finite gradients without a device-to-host sync."""

import logging
from collections import defaultdict

import torch
from torch import Tensor

from ancor.errors import RunError
from ancor.training.metrics import Failure
from ancor.training.progress import Progress

log = logging.getLogger(__name__)


class StepGuard:
    """Keeps what a step changes before its gradient is known, and puts it back if need be.

    Args:
        tensors: what forward passes change: batch-norm statistics, the key encoder's weights. Each
            is dense, in whatever memory format.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        by_type = defaultdict(list)
        for tensor in tensors:
            flat = tensor.detach().as_strided((tensor.numel(),), (1,))  # as it lies in memory
            by_type[tensor.dtype].append(flat)
        self._groups = list(by_type.values())
        self._kept: list[Tensor] = []

    def remember(self) -> None:
        """Note the tensors as they are."""
        if self._kept:  # there is no room for both in a step's peak
            for kept, group in zip(self._kept, self._groups, strict=True):
                torch.cat(group, out=kept)
        else:
            self._kept = [torch.cat(group) for group in self._groups]

    def settle(self, good: Tensor) -> None:
        """Put the tensors back to what was noted, unless `good`, a boolean (), holds."""
        if good.device.type == "cpu":
            if not good:
                self._put(self._kept)
            return
        now = [torch.cat(group) for group in self._groups]
        self._put([torch.where(good, *both) for both in zip(now, self._kept, strict=True)])

    def _put(self, values: list[Tensor]) -> None:
        for group, value in zip(self._groups, values, strict=True):
            torch._foreach_copy_(group, value.split([flat.numel() for flat in group]))


def count_undone(progress: Progress, failures: list[Failure], steps: int, allowed: int) -> None:
    """Count the steps that were undone among the last ones; RunError where they are too many.

    Args:
        progress: where the count of the run is.
        failures: those steps.
        steps: steps since the last print.
        allowed: how many may be undone in the run.
    """
    for failure in failures:
        progress.undone += 1
        step = progress.step - steps + failure.place + 1
        what = f"the {failure.name} became {failure.value} at step {step}"
        if progress.undone > allowed:
            raise RunError(
                f"{what}, which was undone; lower `lr`, look at the images, or let up to N "
                "such steps pass by `skip_nonfinite` N"
            )
        log.warning("%s; the step was undone", what.capitalize())
