"""All checks, in the order in which they matter."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ancor.methods.registry import METHODS
from ancor.runtime.devices import count_gpus, describe, pick_device
from ancor.training.doctor import checks, speed
from ancor.training.doctor.environment import environment
from ancor.training.doctor.report import OK, Finding
from ancor.training.doctor.workload import Size


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


def examine(
    gpu: bool = False, device: str = "auto", scope: Scope | None = None
) -> Iterator[Finding]:
    """Yield what is found, as it is found.

    Args:
        gpu: whether steps are checked too, not only what is here.
        device: where they are: auto, cuda, mps or cpu.
        scope: how much is done; None: a CPU is asked for less than a GPU.

    Raises:
        InputError: there is no such device.
    """
    found = pick_device(device)
    yield from environment()
    if gpu:
        yield from steps(found, scope or (SMALL if found.type == "cpu" else FULL))


def steps(device: torch.device, scope: Scope) -> Iterator[Finding]:
    """Yield what each check of steps on a device finds."""
    none = "" if count_gpus() else "; there is no CUDA device: this is checked, by less"
    yield Finding("device", OK, f"{describe(device)}{none}", {"type": device.type})
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
