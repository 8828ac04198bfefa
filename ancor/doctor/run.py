"""All checks of a device, in the order in which they matter."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ancor.doctor import checks, speed
from ancor.doctor.report import Finding
from ancor.doctor.workload import Size
from ancor.methods.registry import METHODS


@dataclass(frozen=True)
class Scope:
    """How much the checks do.

    Attributes:
        methods: whose parity is checked.
        steps: the sizes of which steps are timed.
        turns: steps of a timing.
        loaded: batches that the loader is timed by.
    """

    methods: tuple[str, ...]
    steps: tuple[Size, ...]
    turns: int
    loaded: int


FULL = Scope(
    tuple(METHODS),
    (Size("resnet12", 32, 256, 20, 4096), Size("resnet50", 224, 128, 17, 65536)),
    20,
    40,
)
SMALL = Scope(tuple(METHODS), (Size("conv4", 32, 64, 5, 256),), 5, 4)


def findings(device: torch.device, scope: Scope | None = None) -> Iterator[Finding]:
    """Yield what each check of a device finds, as they end.

    Args:
        device: which one.
        scope: how much is done; None: a CPU is asked for less than a GPU.
    """
    scope = scope or (SMALL if device.type == "cpu" else FULL)
    yield checks.parity(device, scope.methods)
    yield checks.precision(device)
    yield checks.waiting(device, scope.methods)
    yield checks.resuming(device)
    yield checks.processes(device)
    for size in scope.steps:
        step, images = speed.step(device, size, scope.turns)
        yield step
        yield speed.loader(device, size, scope.loaded, images)
    yield speed.memory(device, scope.steps[0])
