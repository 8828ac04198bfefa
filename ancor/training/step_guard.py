"""Roll back a step with non-finite gradients without a device-to-host sync."""

from collections import defaultdict

import torch
from torch import Tensor


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
