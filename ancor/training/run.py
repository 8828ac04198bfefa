"""A whole training run: from a configuration to a folder of files."""

import logging
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from ancor.data.images import GreyImages
from ancor.data.partition import Partition
from ancor.data.registry import BREEDS_SETS
from ancor.data.scan import report_skipped
from ancor.errors import InputError, RunError, choose
from ancor.methods.base import Method
from ancor.methods.registry import build_method, method_spec
from ancor.runtime import devices, distributed
from ancor.runtime.logging import NoLog, RunLog, shows_bars
from ancor.runtime.seeding import seeded
from ancor.training.batches import TrainingBatches
from ancor.training.config import RunConfig
from ancor.training.pictures import pictures_of
from ancor.training.provenance import write_configuration
from ancor.training.run_folder import RunSaver, open_directory
from ancor.training.state import check_resumable, restore, start_from
from ancor.training.summary import notices, summary
from ancor.training.trainer import Trainer
from ancor.training.validation import validation_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Launch:
    """Where and how a run is carried out; none of it changes what is computed.

    Attributes:
        folder: output directory.
        device: where the work runs.
        precision: of the network's passes (`ancor.runtime.devices.PRECISIONS`).
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
    method_spec(config.method.name).load().check(config.encoder.head, config.method)
    began = time.monotonic()
    dtype = devices.autocast_dtype(launch.precision, launch.device)
    if launch.start_epoch is not None and launch.start_epoch < 0:
        raise InputError(f"--start-epoch {launch.start_epoch}: 0 or more are needed")
    if config.training.sync_bn and distributed.world_size() > 1 and launch.device.type != "cuda":
        raise InputError(f"--sync-bn works on CUDA devices only, not on {launch.device.type}")
    partition = config.data.load("train")
    config = _completed(config, partition)
    if launch.content is not None:
        notes = [*notes, *check_resumable(launch.content, config, launch.resumed_from)]
    labels = torch.from_numpy(partition.labels(config.training.mode))
    with torch.device("meta"):
        method = build_method(config.encoder, config.method, labels)
    if config.training.accumulate > 1 and not method.accumulates:
        raise InputError(
            f"`accumulate` {config.training.accumulate}: {config.method.name} compares all images "
            "of a batch; leave it out"
        )
    method.check_memory(devices.available_memory(launch.device), launch.device)
    with seeded(config.training.seed, "weights"):
        method = build_method(config.encoder, config.method, labels)
    if config.training.init_from is not None and launch.content is None:
        start_from(method, config.training.init_from)
    method.to(launch.device, memory_format=torch.channels_last)
    workers = _workers(config, partition)
    validate, reason = validation_of(config, method.encoder, launch.device, workers, dtype)
    if validate is None or config.training.select == "last":
        config = replace(config, selected_on="last")
    batches = _batches(config, partition, method, workers, launch)
    first = distributed.is_first()
    first_step = launch.content["progress"]["step"] if launch.content else 0
    with ExitStack() as stack:
        run_log = NoLog()
        if first:
            metrics = stack.enter_context(open_directory(launch.folder, launch.overwrite))
            run_log = RunLog(launch.folder, metrics, first_step, shows_bars(launch.quiet))
        stack.enter_context(run_log)
        if first:
            write_configuration(config, launch.folder, launch.device)
        for line in summary(
            config, launch.folder, launch.device, partition, method, batches, workers, dtype
        ):
            log.info(line)
        told = validate.notes if validate else []
        seen = None if validate is None else validate.partition
        shown = [*notes, *notices(config, partition, method, batches, reason, seen), *told]
        for line in shown:
            log.info("%s", line)
        saver = RunSaver(launch.folder, config)
        draw = None
        if first and config.training.figure_freq:
            images = partition if validate is None else validate.partition
            draw = pictures_of(config, method.encoder, images, launch.device, workers, dtype)
        trainer = Trainer(
            method, batches, config.training, run_log, validate, saver, dtype, launch.quiet, draw
        )
        _resume(trainer, launch, config.fingerprint)
        _spread(method, config, launch.device)
        _show_batch(run_log, batches)
        trainer.fit()
        if saver.failed:
            raise RunError(f"the last save into {str(launch.folder)!r} failed ({saver.failed})")
        for read in [partition] if validate is None else [partition, validate.partition]:
            report_skipped(read)
        for line in _ended(config, launch, trainer, time.monotonic() - began):
            log.info("%s", line)


def _ended(config: RunConfig, launch: Launch, trainer: Trainer, seconds: float) -> Iterator[str]:
    """Yield what a run came to, and what follows."""
    done = trainer.progress
    time_taken = timedelta(seconds=round(seconds))
    yield f"Done: {done.step} steps in {time_taken}; files in {launch.folder}"
    if done.epoch < config.training.epochs:
        yield (
            f"Stopped before the last of {config.training.epochs} epochs; --resume auto goes on "
            f"(--output-dir {launch.folder})"
        )
    if config.selected_on != "last" and len(done.best_accs) > 1:
        epoch = f" after epoch {trainer.best_epoch}" if trainer.best_epoch else ""
        yield f"Best validation accuracy: {done.best_accs[-1]:.2f}{epoch}"
    best = launch.folder / "model_best.pth.tar"
    if best.exists():
        partition = "validation" if config.data.dataset in BREEDS_SETS else "test"
        yield f"Next: python eval.py --model_path {shlex.quote(str(best))} --partition {partition}"


def _completed(config: RunConfig, partition: Partition) -> RunConfig:
    """Fill in what only the training set tells: the number of classes, an `auto` queue length."""
    mode = config.training.mode
    names = partition.hierarchy.names(mode)
    counts = list(Counter(partition.labels(mode).tolist()).values())
    batch_size = config.training.batch_size * distributed.nodes()
    return replace(
        config,
        encoder=replace(config.encoder, num_classes=len(names)),
        method=config.method.resolved(counts, min(batch_size, len(partition))),
        classes=names,
        images=len(partition),
        fingerprint=partition.fingerprint(mode),
    )


def _batches(
    config: RunConfig, partition: Partition, method: Method, workers: int, launch: Launch
) -> TrainingBatches:
    """Return the batches; --batch-size is a node's."""
    training = config.training
    batch_size = training.batch_size * distributed.nodes()
    if min(batch_size, len(partition)) < distributed.world_size():
        raise InputError(
            f"--batch-size {training.batch_size}: fewer images than the "
            f"{distributed.world_size()} processes; each needs one"
        )
    return TrainingBatches(
        partition,
        partition.labels(training.mode),
        config.data.transforms,
        method.views,
        batch_size,
        training.seed,
        workers,
        launch.device,
        augments_on_device(launch.augment_on, launch.device),
    )


def _spread(method: Method, config: RunConfig, device: torch.device) -> None:
    """Prepare the method's passes for several processes, and compile them, as asked."""
    if config.training.sync_bn and distributed.world_size() > 1:
        method.encoder = torch.nn.SyncBatchNorm.convert_sync_batchnorm(method.encoder)
    method.prepare(device, config.training.compile)


def _workers(config: RunConfig, partition: Partition) -> int:
    """Loading processes: as asked; else none for small images in memory, and the CPUs otherwise."""
    if config.training.workers is not None:
        return config.training.workers
    if isinstance(partition.images, GreyImages):
        return 0
    return max(1, devices.usable_cpus() // distributed.local_world_size())


def augments_on_device(name: str, device: torch.device) -> bool:
    """Tell whether the device changes colours and blurs; InputError for an unknown name."""
    choose("--augment-on", name, ("workers", "device", "auto"))
    return name == "device" or (name == "auto" and device.type == "cuda")


def _resume(trainer: Trainer, launch: Launch, fingerprint: str) -> None:
    if launch.content is not None:
        try:
            restore(trainer, launch.content)
        except (
            LookupError,
            TypeError,
            ValueError,
            ArithmeticError,
            AttributeError,
            RuntimeError,
        ) as error:
            raise InputError(
                f"{str(launch.resumed_from)!r} holds no state that this run can go on from "
                f"({error!r:.200}); give another file, or start afresh"
            ) from error
        _check_position(trainer, launch, fingerprint)
        done = trainer.progress
        part = f" and {done.position} batches" if done.position else ""
        log.info("Going on from %s after epoch %d%s", launch.resumed_from, done.epoch, part)
    if launch.start_epoch is not None:
        trainer.progress.epoch, trainer.progress.position = launch.start_epoch, 0


def _check_position(trainer: Trainer, launch: Launch, fingerprint: str) -> None:
    """Begin the epoch again where the images have changed; refuse a position beyond its end."""
    done, steps = trainer.progress, len(trainer.batches)
    told = launch.content["config"].get("fingerprint")
    if done.position and told and told != fingerprint:
        log.info("The epoch that was cut off begins again, as its images have changed")
        done.position = 0
    if done.position > steps:
        raise InputError(
            f"{str(launch.resumed_from)!r} stands after {done.position} batches of an epoch, which "
            f"has {steps}: it was trained on other images, or changed; give the images that it was "
            "trained on, or start a new run"
        )


def _show_batch(run_log: RunLog, batches: TrainingBatches) -> None:
    """Put a picture of the first training images into TensorBoard, one row a view."""
    from torchvision.utils import make_grid

    count = min(16, batches.batch_size)
    run_log.picture("augmented batch", make_grid(batches.preview(count), nrow=count))
