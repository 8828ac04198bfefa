"""A whole training run: from a configuration to a folder of files."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ancor.checkpoints.pretrained import Pretrained
from ancor.data.features import FeatureRows
from ancor.data.images import GrayImages
from ancor.data.partition import Partition
from ancor.data.scan import report_skipped
from ancor.errors import InputError, Interrupted, RunError
from ancor.methods.balance import unequal_classes
from ancor.methods.base import Method
from ancor.methods.registry import build_method, method_spec
from ancor.models.groups import frozen_groups, synchronized
from ancor.models.recomputing import recompute_activations
from ancor.runtime import devices, distributed
from ancor.runtime.compiler import without_compiler
from ancor.runtime.devices import Runtime, shapes_only
from ancor.runtime.lazy import Lazy
from ancor.runtime.logging import NoLog, RunLog, shows_bars
from ancor.runtime.seeding import seeded
from ancor.runtime.trackers import check_tracker, open_tracker
from ancor.training import outcome
from ancor.training.batches import TrainingBatches, augments_on_device, check_parts
from ancor.training.config import RunConfig
from ancor.training.metrics import Meter
from ancor.training.provenance import write_configuration
from ancor.training.resume import go_on
from ancor.training.run_folder import RunSaver, clear, is_of, open_directory
from ancor.training.start import check_features, start_of
from ancor.training.state import check_resumable
from ancor.training.summary import notices, summary
from ancor.training.trainer import Trainer
from ancor.training.validation import Validator, validation_of

log = logging.getLogger(__name__)
pictures = Lazy("ancor.training.pictures")  # scikit-learn and matplotlib, after some epochs
Save = Callable[[Trainer, bool, bool], None]  # see `Trainer`


@dataclass(frozen=True)
class Launch:
    """Where and how a run is carried out; none of it changes what is computed.

    Attributes:
        folder: output directory; None: nothing is written.
        runtime: where and how the network's passes run; of its workers the settings decide.
        content: checkpoint to go on from, read already; None: a fresh start.
        resumed_from: its path.
        start_epoch: number to count epochs from, instead of the checkpoint's or 0.
        overwrite: replace an earlier run in the folder.
        augment_on: who changes colors and blurs: `workers`, `device`, or `auto` (the device where
            it is a GPU); they agree to the rounding of a pixel.
        log: one of `ancor.runtime.trackers.TRACKERS`, which shows the figures too.
        flags: what was given of this, as a command that goes on with the run has to give it again.
    """

    folder: Path | None
    runtime: Runtime
    content: dict[str, Any] | None = None
    resumed_from: Path | None = None
    start_epoch: int | None = None
    overwrite: bool = False
    augment_on: str = "auto"
    log: str = "tensorboard"
    flags: tuple[str, ...] = ()

    @property
    def goes_on(self) -> bool:
        """Whether the folder's own run goes on, which `overwrite` then leaves there."""
        return self.content is not None and is_of(self.folder, self.resumed_from)


@dataclass
class Prepared:
    """A run that is ready to be fitted; nothing of it was written.

    Attributes:
        config: what is trained, with all that the training set tells.
        launch: where and how; its runtime has the run's workers.
        partitions: the training images, and those that were read for validation, if any.
        method: what is trained.
        batches: the training images as batches.
        validate: scores the encoder, or None.
        notes: lines for the log, told after the summary.
    """

    config: RunConfig
    launch: Launch
    partitions: list[Partition]
    method: Method
    batches: TrainingBatches
    validate: Validator | None
    notes: list[str]


def train(config: RunConfig, launch: Launch, notes: Sequence[str] = ()) -> None:
    """Train, writing everything into the launch's folder: `prepare`, then `fit`."""
    fit(prepare(config, launch, notes))


def prepare(
    config: RunConfig,
    launch: Launch,
    notes: Sequence[str] = (),
    partition: Partition | None = None,
    validation: Partition | None = None,
) -> Prepared:
    """Read the images and build all that is trained.

    Args:
        config: what to train; the number of classes is filled in from the data.
        launch: where and how.
        notes: lines for the log.
        partition: the training images; None: those of the dataset.
        validation: those of validation; None: likewise.

    Raises:
        InputError: the configuration or the data will not do.
    """
    check_tracker(launch.log, launch.folder)
    method_spec(config.method.name).load().check(config.encoder.head, config.method)
    device = launch.runtime.device
    epochs = config.training.epochs
    if launch.start_epoch is not None and not 0 <= launch.start_epoch < epochs:
        raise InputError(
            f"`start_epoch` {launch.start_epoch}: expected 0 to {epochs - 1}, below `epochs`"
        )
    if config.training.sync_bn and distributed.world_size() > 1 and device.type != "cuda":
        raise InputError(f"`sync_bn` works on CUDA devices only, not on {device.type}")
    config, start, told = start_of(config, launch.content)  # before what takes long to read
    partition = partition or config.data.load("train")
    config = _completed(config, partition)
    if launch.content is not None:
        notes = [*notes, *check_resumable(launch.content, config, launch.resumed_from)]
    if launch.overwrite and launch.goes_on:
        notes = [*notes, "`overwrite` replaces nothing, as the run in the folder goes on"]
    notes = [*notes, *told]
    method = _built(config, partition, launch, start)
    runtime = replace(launch.runtime, workers=_workers(config, partition))
    launch = replace(launch, runtime=runtime)
    validate, seen, reason = validation_of(config, method.encoder, runtime, validation)
    if validate is None or config.training.select == "last":
        config = replace(config, selected_on="last")
    batches = _batches(config, partition, method, launch)
    told = [*notices(config, partition, method, batches, reason, seen)]
    told += validate.notes if validate else []
    partitions = [partition] if seen is None else [partition, seen]
    return Prepared(config, launch, partitions, method, batches, validate, [*notes, *told])


def _built(
    config: RunConfig, partition: Partition, launch: Launch, start: Pretrained | None
) -> Method:
    """Build the method on the device, with the weights that it starts from."""
    labels = torch.from_numpy(partition.labels(config.training.mode))
    with shapes_only():
        method = build_method(config.encoder, config.method, labels)
    if config.training.accumulate > 1 and not method.accumulates:
        raise InputError(
            f"`accumulate` {config.training.accumulate}: {config.method.name} compares all images "
            "of a batch; leave it out"
        )
    frozen_groups(config.training.freeze, method.encoder.backbone)  # which must be there
    device = launch.runtime.device
    method.check_memory(devices.available_memory(device), device)
    with seeded(config.training.seed, "weights"):
        method = build_method(config.encoder, config.method, labels)
    for encoder in filter(None, (method.encoder, method.key_encoder)):
        if start is not None:
            encoder.backbone.load_state_dict(start.backbone.state_dict())
    if config.training.checkpoint_activations:
        recompute_activations(method.encoder.backbone)
    return method.to(device, memory_format=torch.channels_last)


def fit(run: Prepared, save: Save | None = None) -> None:
    """Train what is prepared, writing everything into the launch's folder, if it has one.

    Args:
        run: what `prepare` returned.
        save: is given to the `Trainer` in place of what writes the folder's checkpoints.

    Raises:
        InputError: the folder will not do; nothing was written.
        RunError: training failed.
    """
    config, launch, method, runtime = run.config, run.launch, run.method, run.launch.runtime
    first = distributed.is_main_process()
    first_step = launch.content["progress"]["step"] if launch.content else 0
    with ExitStack() as stack, without_compiler():  # which optimizers would import
        run_log = NoLog()
        if first and launch.folder is not None:
            metrics = stack.enter_context(open_directory(launch.folder))
            tracker = open_tracker(launch.log, launch.folder, config.plain(), launch.goes_on)
            if launch.overwrite and not launch.goes_on:  # not before the tracker is there
                clear(launch.folder, metrics)
            run_log = RunLog(launch.folder, metrics, first_step, shows_bars(runtime.quiet), tracker)
            write_configuration(config, launch.folder, runtime.device)
        stack.enter_context(run_log)
        train = run.partitions[0]
        lines = summary(config, launch.folder, runtime, train, method, run.batches)
        for line in [*lines, *run.notes]:
            log.info("%s", line)
        saver = save or RunSaver(launch.folder, config)
        draw = None
        if first and config.training.figure_freq and launch.folder is not None:
            images = run.validate.partition if run.validate else train
            draw = pictures.pictures_of(config, method.encoder, images, runtime)
        trainer = Trainer(
            *(method, run.batches, config.training, run_log, run.validate, saver),
            *(runtime.dtype, runtime.quiet, draw),
        )
        trainer.meter = Meter(classes=unequal_classes(train.labels(config.training.mode)))
        if launch.content is not None:
            go_on(trainer, launch.content, launch.resumed_from, config.fingerprint)
            if isinstance(saver, RunSaver):
                saver.take_best(trainer.progress, launch.content, launch.resumed_from)
        check_features(method, train.images)
        if launch.start_epoch is not None:
            trainer.begin_again(launch.start_epoch)
        _spread(method, config, runtime.device)
        shown = run.batches.picture(min(16, run.batches.batch_size))
        if shown is not None:
            run_log.picture("augmented batch", shown)
        try:
            trainer.fit()
        except Interrupted as ended:
            if launch.folder is None:
                raise
            told = outcome.stopped(config, saver, launch.flags)
            raise Interrupted(ended.number, f"{ended}, {told}") from ended
        if isinstance(saver, RunSaver) and saver.failed:
            raise RunError(f"the last save into {str(launch.folder)!r} failed ({saver.failed})")
        for read in run.partitions:
            report_skipped(read)
        if first and launch.folder is not None:
            for line in outcome.ended(config, launch.folder, launch.flags, trainer, run.partitions):
                log.info("%s", line)


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
        # Of a million files it takes seconds, on a network's disk minutes: once is enough.
        fingerprint=distributed.text_from_main(lambda: partition.fingerprint(mode)),
    )


def _batches(
    config: RunConfig, partition: Partition, method: Method, launch: Launch
) -> TrainingBatches:
    """Return the batches; `batch_size` is a node's."""
    training, runtime = config.training, launch.runtime
    batch_size = training.batch_size * distributed.nodes()
    check_parts(config, method, min(batch_size, len(partition)))
    return TrainingBatches(
        partition,
        partition.labels(training.mode),
        config.data.transforms,
        *(method.views, batch_size, training.seed),
        runtime.workers,
        runtime.device,
        augments_on_device(launch.augment_on, runtime.device),
        training.balance,
    )


def _spread(method: Method, config: RunConfig, device: torch.device) -> None:
    """Prepare the method's passes for several processes, and compile them, as asked."""
    if config.training.sync_bn and distributed.world_size() > 1:
        method.encoder = synchronized(method.encoder)
    method.prepare(device, config.training.compile)


def _workers(config: RunConfig, partition: Partition) -> int:
    """Loading processes: as asked; else none for small images in memory, and the CPUs otherwise."""
    if config.training.workers is not None:
        devices.check_workers(config.training.workers)
        return config.training.workers
    if isinstance(partition.images, GrayImages | FeatureRows):
        return 0
    return max(1, devices.usable_cpus() // distributed.local_world_size())
