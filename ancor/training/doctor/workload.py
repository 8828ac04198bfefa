"""A training step on drawn images: of any method, beside its networks' bare work."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ancor.data.hierarchy import Hierarchy
from ancor.data.images import ColorImages
from ancor.data.partition import Partition
from ancor.methods.base import Batch, Method
from ancor.methods.registry import METHODS, build_method
from ancor.runtime.devices import autocast_dtype
from ancor.runtime.settings import settings_of
from ancor.training.config import TrainConfig
from ancor.training.metrics import Meter
from ancor.training.resolve import mode_of, resolve
from ancor.training.trainer import Trainer

LAYOUT = torch.channels_last


@dataclass(frozen=True)
class Size:
    """How large a step is.

    Attributes:
        arch: the backbone.
        pixels: side of an image.
        images: of a batch.
        classes: coarse classes.
        queue: keys of a ring.
        known: images of the training set, of which some methods keep something.
    """

    arch: str
    pixels: int
    images: int
    classes: int
    queue: int
    known: int = 2000

    def __str__(self) -> str:
        return f"{self.arch}, {self.images} images of {self.pixels} px, queue {self.queue}"


@dataclass(frozen=True)
class NoImages:
    """What a trainer needs to know of its batches, where it is handed each."""

    batch_size: int
    device: torch.device


def build(
    name: str, size: Size, device: torch.device, dtype: torch.dtype = torch.float32
) -> Method:
    """Build a method of the table with its own defaults; start weights are always the same.

    Args:
        name: of `ancor.methods.registry.METHODS`.
        size: of its steps.
        device: where it is to be.
        dtype: of its weights.
    """
    given = {"name": name, "arch": size.arch, "mode": mode_of(name)}
    if "queue_length" in settings_of(METHODS[name].config):
        given["queue_length"] = size.queue
    config, _ = resolve({"dataset": "cifar100", **given})
    labels = torch.arange(size.known) % size.classes
    own = config.method.resolved(torch.bincount(labels).tolist(), size.images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method = build_method(replace(config.encoder, num_classes=size.classes), own, labels)
    return method.to(device=device, dtype=dtype, memory_format=LAYOUT).train()


def draw(method: Method, size: Size, device: torch.device, number: int = 0) -> Batch:
    """Draw a batch in the type of the method's weights; the same of a number on every device."""
    drawing = torch.Generator().manual_seed(number)
    dtype = next(method.encoder.parameters()).dtype
    indices = torch.randperm(size.known, generator=drawing)[: size.images]
    shape = size.images, 3, size.pixels, size.pixels
    views = tuple(
        torch.randn(shape, generator=drawing).to(device, dtype).contiguous(memory_format=LAYOUT)
        for _ in method.views
    )
    return Batch(views, indices % size.classes, indices)


def drawn_partition(count: int, pixels: int, classes: int) -> Partition:
    """Return random images of `pixels` a side, with random coarse labels."""
    labels = torch.randint(0, classes, (count,)).numpy()
    drawn = torch.randint(0, 256, (count, 3, pixels, pixels), dtype=torch.uint8)
    names = Hierarchy(tuple(map(str, range(classes))))
    return Partition("benchmark", "train", ColorImages(drawn.numpy()), labels, None, names)


def trainer_of(
    method: Method, size: Size, device: torch.device, precision: str = "fp32"
) -> Trainer:
    """Return what takes the method's steps."""
    batches, dtype = NoImages(size.images, device), autocast_dtype(precision, device)
    trainer = Trainer(method, batches, TrainConfig(), None, None, None, dtype, quiet=True)
    method.prepare(device)
    return trainer


def losses_of_steps(trainer: Trainer, size: Size, steps: int, first: int = 0) -> list[list[float]]:
    """Take steps, each of its own batch, and return the losses of each."""
    found = []
    for number in range(first, first + steps):
        meter = Meter()
        trainer.step(draw(trainer.method, size, trainer.batches.device, number), meter)
        figures, _ = meter.read()
        found.append([value for name, value in figures.items() if name.startswith("loss/")])
    return found


def passes_alone(
    method: Method, batch: Batch, device: torch.device, precision: str
) -> Callable[[], None]:
    """Return the work of a method's networks alone: passes, backward pass, update, average."""
    query, key = method.encoder, method.key_encoder
    dtype = autocast_dtype(precision, device)
    trained = [each for each in query.parameters() if each.requires_grad]
    fused = device.type in ("cpu", "cuda")
    optimizer = torch.optim.SGD(trained, 0.03, 0.9, weight_decay=1e-4, fused=fused)
    if key is not None:
        theirs, ours = key.shared_parameters(), query.shared_parameters()

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            if key is not None:
                with torch.no_grad():
                    torch._foreach_lerp_(theirs, ours, 1e-3)
                    key(batch.views[1])
            _, *outputs = query(torch.cat(batch.views) if key is None else batch.views[0])
        sum(each.float().sum() for each in outputs if each is not None).backward()
        optimizer.step()

    return step


def name_of(dtype: torch.dtype) -> str:
    """Return a type's short name."""
    names = {torch.float64: "fp64", torch.float32: "fp32"}
    return names.get(dtype, str(dtype).removeprefix("torch."))
