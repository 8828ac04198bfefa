"""What a run says before it starts."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

import ancor
from ancor.data.features import FeatureRows, about
from ancor.data.notes import class_notes, name_notes, partition_notes
from ancor.data.partition import Partition
from ancor.data.transform_spec import VIEW_KINDS
from ancor.methods.balance import class_shares
from ancor.methods.base import Method
from ancor.models.maps import PHOTOGRAPH, map_side
from ancor.models.names import RESNETS, SMALL, library_of
from ancor.runtime import devices, distributed
from ancor.runtime.devices import Runtime
from ancor.training.batches import TrainingBatches
from ancor.training.config import RunConfig, TrainConfig
from ancor.training.fine_tuning import freezing_notices, what_trains

CIFAR = 64  # pixels, up to which images are taken for as small as CIFAR's


def summary(
    config: RunConfig,
    folder: Path | None,
    runtime: Runtime,
    partition: Partition,
    method: Method,
    batches: TrainingBatches,
) -> Iterator[str]:
    """Yield the lines that tell what is about to happen."""
    dtype = runtime.dtype
    precision = "fp32" if dtype is None else f"{str(dtype).removeprefix('torch.')} autocast"
    training, encoder, hierarchy = config.training, config.encoder, partition.hierarchy
    device = devices.describe(runtime.device)
    yield f"ANCOR {ancor.__version__}, torch {torch.__version__}, {device}"
    counts = Counter(partition.labels(training.mode).tolist())
    yield (
        f"Data      {config.data.dataset}: {_inputs(config, partition)}, "
        f"{hierarchy.num_coarse} coarse and "
        f"{hierarchy.num_fine or 'unknown'} fine classes; training on {training.mode} labels, "
        f"{min(counts.values())}-{max(counts.values())} images a class"
    )
    yield from _views(config, partition, method)
    millions = sum(p.numel() for p in method.encoder.parameters()) / 1e6
    yield (
        f"Model     {encoder.arch}{' + mlp' if encoder.mlp else ''}, head {encoder.head}, "
        f"embedding {encoder.dim}, {millions:.2f} M parameters"
    )
    for title, line in method.describe():
        yield f"{title:<9} {line}"
    yield f"{'Trains':<9} {what_trains(method, training)}"
    rise = f" after {training.warmup_epochs:g} epochs of warm-up" if training.warmup_epochs else ""
    rise += " as SupContrast has it" if training.rates == "supcontrast" else ""
    yield (
        f"Schedule  {training.epochs} epochs of {len(batches)} steps of {batches.batch_size} "
        f"images, rate {training.lr}, {'cosine' if training.cos else 'steps'}{rise}; {precision}"
    )
    share = distributed.rank_slice(batches.batch_size)
    yield (
        f"Processes {distributed.world_size()} on {distributed.nodes()} nodes, "
        f"{share.stop - share.start} images of a batch in {training.accumulate} passes and "
        f"{runtime.workers} loading processes each"
    )
    yield f"Output    {folder or 'none'}"


def _inputs(config: RunConfig, partition: Partition) -> str:
    if isinstance(partition.images, FeatureRows):
        width = partition.images.rows.shape[2]
        return f"{width} features each of {len(partition)} training images"
    return f"{len(partition)} training images of {config.data.transforms.size} px"


def _views(config: RunConfig, partition: Partition, method: Method) -> Iterator[str]:
    if isinstance(partition.images, FeatureRows):
        made = about(config.data.features).get("augmentation")
        yield f"Views     {partition.images.views} of each image in the file, {made}"
        return
    views = {kind: VIEW_KINDS[kind](config.data.transforms) for kind in method.views}
    for kind, spec in views.items():
        of_kind = f" ({kind} views)" if len(views) > 1 else ""
        yield f"Augment   {spec.augmentation()}{of_kind}"


def notices(
    config: RunConfig,
    partition: Partition,
    method: Method,
    batches: TrainingBatches,
    reason: str | None,
    validation: Partition | None = None,
) -> Iterator[str]:
    """Yield what a user might trip over."""
    training = config.training
    labels, names = partition.labels(training.mode), partition.hierarchy.names(training.mode)
    parts = [partition] if validation is None else [partition, validation]
    of_classes = class_notes(labels, names, training.mode)
    for note in [*partition_notes(parts), *name_notes(parts), *of_classes]:
        yield f"Notice: {note}"
    if distributed.restarts_may_hang():
        yield (
            "A restart by torchrun can hang: start it with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in "
            "the environment"
        )
    if batches.batch_size < training.batch_size:
        yield (
            f"The training set is smaller than a batch of {training.batch_size}: "
            f"a batch is all {batches.batch_size} images"
        )
    kinds = dict.fromkeys(method.views)
    if len(kinds) > len({VIEW_KINDS[kind](config.data.transforms) for kind in kinds}):
        yield (
            f"{config.method.name} compares {' and '.join(kinds)} views, and both are the same "
            "here: `augment` auto, color or full makes the strong ones differ"
        )
    if not isinstance(partition.images, FeatureRows):
        yield from _map_notices(config, method.encoder.backbone)
    yield from _balance_notices(config, Counter(labels.tolist()))
    yield from freezing_notices(training, config.encoder.embeds)
    if training.warmup_epochs >= training.epochs:
        yield (
            f"`warmup_epochs` {training.warmup_epochs:g} with {training.epochs} epochs: the rate "
            f"never reaches {training.lr}"
        )
    yield from _cycle_notices(training)
    if reason is not None:
        yield f"No validation ({reason}); model_best will be the last epoch"
    yield from method.notices(Counter(partition.labels(training.mode).tolist()).values())


def _cycle_notices(training: TrainConfig) -> Iterator[str]:
    """Yield where the cycles of the paper's cosine do not fit the epochs."""
    if not training.cos or training.rates != "paper" or training.warmup_epochs:
        return
    epochs, cycles = training.epochs, training.num_cycles
    length = epochs // cycles
    if length < 2 and cycles > 1:
        yield (
            f"`num_cycles` {cycles} with {epochs} epochs: every epoch is a cycle, at rate "
            f"{training.lr}"
        )
    elif epochs % length:
        yield (
            f"`num_cycles` {cycles} does not divide {epochs} epochs: cycles have {length}, and the "
            f"last one ends after {epochs % length}, at rate {training.rate(epochs - 1):.3g}"
        )


def _map_notices(config: RunConfig, backbone: nn.Module) -> Iterator[str]:
    """Yield what to take in place of a backbone that leaves next to nothing of small images."""
    arch, size = config.encoder.arch, config.data.transforms.size
    side = map_side(backbone, size) if size < PHOTOGRAPH else None
    plain = library_of(arch)[1]
    # Of the ResNets there is another stem; those of four max-poolings leave 2 x 2 of 32 pixels.
    if side is None or side > (3 if plain in RESNETS else 1):
        return
    others = ["resnet12" if size > CIFAR else "resnet12forcifar"]
    others += [plain + SMALL] if plain in RESNETS and size <= CIFAR else []
    yield (
        f"`arch` {arch} leaves {side} x {side} of an image of {size} pixels, as it is made for "
        f"photographs: small ones are for `arch` {' or '.join(others)}; or give a larger "
        "`image_size`"
    )


def _balance_notices(config: RunConfig, images_of_class: Counter) -> Iterator[str]:
    """Yield how often images are seen, where that differs by class."""
    balance = config.training.balance
    if balance == "none":
        return
    counts = torch.tensor([*images_of_class.values()])
    times = class_shares(counts, balance) * counts.sum() / counts
    yield (
        f"`balance` {balance}: in an epoch an image of the smallest class, of {counts.min()}, is "
        f"seen {times.max():.2g} times, one of the largest, of {counts.max()}, {times.min():.2g}"
    )
    if getattr(config.method, "class_weighting", "none") != "none":
        yield "`balance` and `class_weighting` both favor small classes; one of them is enough"
