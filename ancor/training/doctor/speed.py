"""How fast steps are on a device, what feeds them, and the memory that they take."""

import math
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from time import perf_counter

import torch

from ancor.data.registry import DATASETS
from ancor.runtime.devices import autocast_dtype, usable_cpus, used_memory
from ancor.runtime.text import megabytes
from ancor.training.batches import TrainingBatches
from ancor.training.doctor.report import LOOK, OK, Finding
from ancor.training.doctor.workload import (
    Size,
    build,
    draw,
    drawn_partition,
    name_of,
    passes_alone,
    trainer_of,
)
from ancor.training.metrics import Meter

SLOW = 1.5  # a step beside its networks' bare work


def step(device: torch.device, size: Size, turns: int) -> tuple[Finding, float]:
    """Time steps of ANCOR beside its networks' bare work; return images/s too."""
    method = build("ancor", size, device)
    batch, name = draw(method, size, device), "auto"
    trainer, meter = trainer_of(method, size, device, name), Meter()
    dtype = name_of(autocast_dtype(name, device) or torch.float32)
    ours = seconds_of(lambda: trainer.step(batch, meter), device, turns)
    bare = seconds_of(passes_alone(method, batch, device, name), device, turns)
    ratio, rate = ours / bare, size.images / ours
    figures = {"size": str(size), "dtype": dtype, "ms": 1e3 * ours, "bare_ms": 1e3 * bare}
    text = (
        f"{size}, {dtype}: {1e3 * ours:.1f} ms, {ratio:.2f} times its networks' bare work; "
        f"{rate:.0f} images/s"
    )
    verdict = OK if ratio <= SLOW else LOOK
    return Finding(f"step {size.arch}", verdict, text, {**figures, "images_per_s": rate}), rate


def loader(device: torch.device, size: Size, batches: int, needed: float) -> Finding:
    """Time what brings images to the device, beside the images/s that a step takes."""
    workers = min(usable_cpus(), 16) if device.type == "cuda" else 0
    partition = drawn_partition(4 * size.images, size.pixels, size.classes)
    spec = replace(DATASETS["cifar100"].transforms, size=size.pixels)
    views, on_device = ("strong", "strong"), device.type == "cuda"
    brings = TrainingBatches(
        partition, partition.coarse_labels, spec, views, size.images, 0, workers, device, on_device
    )
    taken, started = 0, 0.0
    for epoch in range(1 + math.ceil(batches / len(brings))):
        for batch in brings.epoch(epoch):
            if epoch == 0:  # while processes start
                started = perf_counter()
            else:
                taken += len(batch.labels)
    _finish(device)
    rate = taken / (perf_counter() - started)
    text = (
        f"{workers or 'no'} loading processes bring {rate:.0f} images/s of {size.pixels} px from "
        f"memory, two views each; a step takes {needed:.0f}"
    )
    figures = {"images_per_s": rate, "workers": workers, "needed": needed}
    verdict = OK if rate >= needed else LOOK
    return Finding(f"loader {size.arch}", verdict, text, figures)


def memory(device: torch.device, size: Size) -> Finding:
    """Tell the memory that steps with each kind of queue take."""
    found = {}
    for kind, name in (("none", "ce"), ("single", "moco"), ("multi", "ancor")):
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        trainer = trainer_of(build(name, size, device), size, device, "auto")
        for number in range(2):
            trainer.step(draw(trainer.method, size, device, number), Meter())
        found[kind] = used_memory(device)
        del trainer
    what = "peak" if device.type == "cuda" else "resident set, which includes PyTorch's own"
    shown = ", ".join(f"{kind} {megabytes(value)}" for kind, value in found.items())
    return Finding("step memory", OK, f"{size}, by kind of queue: {shown} ({what})", found)


def seconds_of(work: Callable[[], object], device: torch.device, turns: int) -> float:
    """Return the median time of some work, after three times of it."""
    for _ in range(3):
        work()
    found = []
    for _ in range(turns):
        _finish(device)
        started = perf_counter()
        work()
        _finish(device)
        found.append(perf_counter() - started)
    return median(found)


def _finish(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()
