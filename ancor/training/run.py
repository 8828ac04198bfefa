"""A whole training run: from a configuration to a folder of files."""

import json
import logging
import platform
import shlex
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import ancor
from ancor import checkpoint, devices
from ancor.data.images import GreyImages
from ancor.data.inspection import report_skipped
from ancor.data.partition import Partition
from ancor.errors import InputError, MissingPartition, choose
from ancor.logs import RunLog, shows_bars
from ancor.methods.ancor import Ancor
from ancor.methods.queues import queue_bytes
from ancor.seeding import seeded
from ancor.training.batches import TrainingBatches
from ancor.training.loop import Trainer
from ancor.training.run_files import (
    RunConfig,
    RunSaver,
    check_resumable,
    open_directory,
    restore,
)
from ancor.training.validation import Validator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Launch:
    """Where and how a run is carried out; none of it changes what is computed.

    Attributes:
        folder: output directory.
        device: where the work runs.
        precision: of the network's passes (`ancor.devices.PRECISIONS`).
        content: checkpoint to go on from, read already; None: a fresh start.
        resumed_from: its path.
        start_epoch: number to count epochs from, instead of the checkpoint's or 0.
        overwrite: replace an earlier run in the folder.
        quiet: no progress bars.
        augment_on: who changes colours and blurs: `workers`, `device`, or `auto` (the device where
            it is a GPU); they agree to the rounding of a pixel.
    """

    folder: Path
    device: torch.device
    precision: str = "auto"
    content: dict[str, Any] | None = None
    resumed_from: Path | None = None
    start_epoch: int | None = None
    overwrite: bool = False
    quiet: bool = False
    augment_on: str = "auto"


def train(config: RunConfig, launch: Launch, notes: list[str]) -> None:
    """Train, writing everything into the launch's folder.

    Args:
        config: what to train; the number of classes is filled in from the data.
        launch: where.
        notes: lines for the log, told after the summary.

    Raises:
        InputError: the configuration, the data or the folder will not do; nothing was written.
        RunError: training failed.
    """
    config.method.check(config.encoder.head)
    dtype = devices.autocast_dtype(launch.precision, launch.device)
    if launch.start_epoch is not None and launch.start_epoch < 0:
        raise InputError(f"--start-epoch {launch.start_epoch}: 0 or more are needed")
    partition = config.data.load("train")
    labels = partition.labels(config.training.mode)
    names = partition.hierarchy.names(config.training.mode)
    config = replace(config, encoder=replace(config.encoder, num_classes=len(names)))
    if launch.content is not None:
        check_resumable(launch.content, config, launch.resumed_from)
    _check_queue_fits(config, launch.device)
    method = build_method(config)
    if config.training.init_from is not None and launch.content is None:
        checkpoint.start_from(method, config.training.init_from)
    method.to(launch.device, memory_format=torch.channels_last)
    workers = _workers(config, partition)
    validate, reason = _validator(config, method, launch.device, workers, dtype)
    if validate is None or config.training.select == "last":
        config = replace(config, selected_on="last")
    batches = TrainingBatches(
        partition,
        labels,
        config.data.transforms,
        method.views,
        config.training.batch_size,
        config.training.seed,
        workers,
        launch.device,
        augments_on_device(launch.augment_on, launch.device),
    )
    open_directory(launch.folder, launch.overwrite)
    first_step = launch.content["progress"]["step"] if launch.content else 0
    with RunLog(launch.folder, first_step, shows_bars(launch.quiet)) as run_log:
        _write_configuration(config, launch)
        for line in _summary(config, launch, partition, method, batches, workers, dtype):
            log.info(line)
        for line in [*notes, *_notices(config, method, batches, reason)]:
            log.info("%s", line)
        saver = RunSaver(launch.folder, config)
        trainer = Trainer(
            method, batches, config.training, run_log, validate, saver, dtype, launch.quiet
        )
        _resume(trainer, launch)
        _show_batch(run_log, batches, config)
        trainer.fit()
        for read in [partition] if validate is None else [partition, validate.partition]:
            report_skipped(read)
        log.info("Done: %d steps; files in %s", trainer.progress.step, launch.folder)


def build_method(config: RunConfig) -> Ancor:
    """Build the method with its start weights, a function of the configuration and the seed."""
    with seeded(config.training.seed, "weights"):
        return Ancor(config.encoder, config.method)


def _check_queue_fits(config: RunConfig, device: torch.device) -> None:
    method, encoder = config.method, config.encoder
    if not method.contrastive:
        return
    size = queue_bytes(method.queue, encoder.num_classes, encoder.dim, method.queue_length)
    free = devices.available_memory(device)
    if size > free:
        fits = method.queue_length * free // size
        raise InputError(
            f"--queue-k {method.queue_length}: the queue would take {_megabytes(size)} and "
            f"{_megabytes(free)} are free on {device}; --queue-k {fits} would just fit"
        )


def _workers(config: RunConfig, partition: Partition) -> int:
    """Loading processes: as asked; else none for small images in memory, and the CPUs otherwise."""
    if config.training.workers is not None:
        return config.training.workers
    return 0 if isinstance(partition.images, GreyImages) else devices.usable_cpus()


def augments_on_device(name: str, device: torch.device) -> bool:
    """Tell whether the device changes colours and blurs; InputError for an unknown name."""
    choose("--augment-on", name, ("workers", "device", "auto"))
    return name == "device" or (name == "auto" and device.type == "cuda")


def _validator(
    config: RunConfig,
    method: Ancor,
    device: torch.device,
    workers: int,
    dtype: torch.dtype | None,
) -> tuple[Validator | None, str | None]:
    """Return the validation and no reason, or None and why there is none."""
    episodes = config.training.val_episodes
    if episodes == 0:
        return None, "--val-episodes 0"
    try:
        partition = config.data.load("validation")
    except MissingPartition as error:
        return None, str(error)
    if partition.fine_labels is None:
        return None, "the validation partition has no fine labels"
    try:
        validator = Validator(
            partition, config.data, method.encoder, device, episodes, workers, dtype
        )
    except InputError as error:  # classes too small for an episode: no reason not to train
        return None, str(error)
    return validator, None


def _resume(trainer: Trainer, launch: Launch) -> None:
    if launch.content is not None:
        restore(trainer, launch.content)
        log.info("Going on from %s after epoch %d", launch.resumed_from, trainer.progress.epoch)
    if launch.start_epoch is not None:
        trainer.progress.epoch = launch.start_epoch


def _summary(
    config: RunConfig,
    launch: Launch,
    partition: Partition,
    method: Ancor,
    batches: TrainingBatches,
    workers: int,
    dtype: torch.dtype | None,
):
    """Yield the lines that tell what is about to happen."""
    precision = "fp32" if dtype is None else f"{str(dtype).removeprefix('torch.')} autocast"
    training, encoder, hierarchy = config.training, config.encoder, partition.hierarchy
    yield f"ANCOR {ancor.__version__}, torch {torch.__version__}, {devices.describe(launch.device)}"
    counts = Counter(partition.labels(training.mode).tolist())
    yield (
        f"Data      {config.data.dataset}: {len(partition)} training images of "
        f"{config.data.transforms.size} px, {hierarchy.num_coarse} coarse and "
        f"{hierarchy.num_fine or 'unknown'} fine classes; training on {training.mode} labels, "
        f"{min(counts.values())}-{max(counts.values())} images a class"
    )
    millions = sum(p.numel() for p in method.encoder.parameters()) / 1e6
    yield (
        f"Model     {encoder.arch}{' + mlp' if encoder.mlp else ''}, head {encoder.head}, "
        f"embedding {encoder.dim}, {millions:.2f} M parameters"
    )
    pairs = zip(config.method.calculators, config.method.losses, strict=True)
    yield f"Losses    {', '.join('/'.join(pair) for pair in pairs)}" + (
        f"; metric {config.method.metric}, temperature {config.method.temperature}, "
        f"key momentum {config.method.encoder_momentum}"
        if method.queue is not None
        else "; no keys are computed"
    )
    if method.queue is not None:
        shape = tuple(method.queue.queue.shape)
        yield (
            f"Queue     {config.method.queue}, {' x '.join(map(str, shape))}, "
            f"{_megabytes(method.queue.queue.nbytes)}"
        )
    yield (
        f"Schedule  {training.epochs} epochs of {len(batches)} steps of {batches.batch_size} "
        f"images, rate {training.lr}, {'cosine' if training.cos else 'steps'}; "
        f"{workers} loading processes, {precision}"
    )
    yield f"Output    {launch.folder}"


def _notices(config: RunConfig, method: Ancor, batches: TrainingBatches, reason: str | None):
    """Yield what a user might trip over."""
    training = config.training
    if batches.batch_size < training.batch_size:
        yield (
            f"The training set is smaller than a batch of {training.batch_size}: "
            f"a batch is all {batches.batch_size} images"
        )
    if training.cos and training.epochs < training.num_cycles:
        yield (
            f"--num-cycles {training.num_cycles} is more than {training.epochs} epochs: "
            f"every epoch is a cycle, at rate {training.lr}"
        )
    if reason is not None:
        yield f"No validation ({reason}); model_best will be the last epoch"
    if method.queue is not None and not config.method.drop_unfilled:
        yield (
            "While the queue still holds random start values, the contrastive loss is expected "
            "to rise"
        )


def _show_batch(run_log: RunLog, batches: TrainingBatches, config: RunConfig) -> None:
    """Put a picture of the first training images into TensorBoard, one row a view."""
    from torchvision.utils import make_grid

    count = min(16, batches.batch_size)
    grid = make_grid(batches.preview(count), nrow=count)
    run_log.board.add_image("augmented batch", grid, 0)


def _write_configuration(config: RunConfig, launch: Launch) -> None:
    """Write config.json and command.txt."""
    packages = ("torch", "torchvision", "numpy", "scikit-learn")
    environment = {
        "versions": {"ancor": ancor.__version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in packages},
        "git": _git_revision(),
        "host": platform.node(),
        "device": devices.describe(launch.device),
    }
    text = json.dumps({**config.plain(), "environment": environment}, indent=2)
    (launch.folder / "config.json").write_text(text + "\n", encoding="utf-8")
    command = shlex.join(["python", *sys.argv])
    (launch.folder / "command.txt").write_text(command + "\n", encoding="utf-8")


def _git_revision() -> str | None:
    """Commit of the checkout that this package lies in; None where there is none."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MB"
