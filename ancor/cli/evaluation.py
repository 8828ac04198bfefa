"""What the commands that evaluate trained encoders share: the models, the data, agreement."""

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ancor.checkpoints import checkpoint
from ancor.checkpoints.classes import check_same_classes, match_classes
from ancor.cli.data_flags import data_config
from ancor.data.config import DataConfig
from ancor.data.notes import tell
from ancor.data.partition import Partition
from ancor.data.transform_spec import TransformSpec
from ancor.errors import InputError
from ancor.evaluation.dependencies import dependencies
from ancor.evaluation.feature_bank import FeatureBank
from ancor.evaluation.feature_cache import FeatureCache
from ancor.models.backbones import same_weights
from ancor.models.encoder import Encoder
from ancor.runtime.devices import autocast_dtype, check_workers, pick_device

log = logging.getLogger(__name__)
MODEL_FLAGS = {"arch": "model", "head": "head", "dim": "cst_dim"}


@dataclass(frozen=True)
class Settings:
    """How passes run: the fields that a `FeatureBank` has under these names, and the cache."""

    device: torch.device
    seed: int
    batch_size: int
    workers: int
    dtype: torch.dtype | None
    cache_folder: Path | None


@dataclass(frozen=True)
class Subject:
    """One model that is evaluated, and on what.

    Attributes:
        path: its file.
        encoder: the trained encoder, on the device.
        content: its checkpoint.
        data: the dataset.
        partition: the evaluated partition.
        settings: how passes run.
    """

    path: str
    encoder: Encoder
    content: dict[str, Any]
    data: DataConfig
    partition: Partition
    settings: Settings

    def bank(
        self,
        kind: str,
        encoder: Encoder | None = None,
        transforms: TransformSpec | None = None,
    ) -> FeatureBank:
        """Return a bank of its encoder, or of another one of the same architecture.

        `transforms` may differ from the dataset's.
        """
        given = vars(self.settings).copy()
        folder = given.pop("cache_folder")
        images, transforms = self.partition.images, transforms or self.data.transforms
        encoder = self.encoder if encoder is None else encoder
        bank = FeatureBank(encoder, images, transforms, kind=kind, quiet=False, **given)
        if folder is not None:
            depends_on = dependencies(bank, self.partition)
            bank.cache = FeatureCache(folder, depends_on, bank.width)
        return bank


def read_subjects(
    args: argparse.Namespace,
    only_base: bool,
    load: Callable[[DataConfig], Partition] | None = None,
) -> list[Subject]:
    """Read the models and the data that the arguments name; InputError where they do not fit.

    Args:
        args: the arguments.
        only_base: whether backbone features are all that is used.
        load: gives the images; None: those of the partition that the arguments name.
    """
    device = pick_device(args.device or "auto", args.gpu)
    settings = Settings(
        device,
        args.seed,
        args.test_batch_size,
        args.num_workers,
        autocast_dtype(args.precision or "fp32", device),
        Path(args.feature_cache) if args.feature_cache else None,
    )
    _check_numbers(settings)
    paths = args.model_path if isinstance(args.model_path, list) else [args.model_path]
    flags = {name: _for_each(args, flag, len(paths)) for name, flag in MODEL_FLAGS.items()}
    loaded = [
        checkpoint.load_encoder(path, head) for path, head in zip(paths, flags["head"], strict=True)
    ]
    for number, (path, (encoder, _)) in enumerate(zip(paths, loaded, strict=True)):
        given = {name: values[number] for name, values in flags.items()}
        _check_agreement(given, path, encoder, only_base)
    _check_alike(paths, loaded)
    check_same_classes(paths, [content for _, content in loaded])
    data = [data_config(args, content["config"]["data"]) for _, content in loaded]
    if load is not None:
        partition = load(data[0])
    else:
        if args.root is None and data[0].root is not None:
            log.info("Images are read from %r, as %r says", data[0].root, paths[0])
        partition = data[0].load(args.partition)
        tell(partition)
        _tell_selection(args, paths, loaded)
    for path, (encoder, content) in zip(paths, loaded, strict=True):
        match_classes(path, encoder, content, partition)
    return [
        Subject(
            path,
            encoder.to(device, memory_format=torch.channels_last),
            content,
            config,
            partition,
            settings,
        )
        for path, (encoder, content), config in zip(paths, loaded, data, strict=True)
    ]


def _tell_selection(args: argparse.Namespace, paths: Sequence[str], loaded: Sequence) -> None:
    """Log a notice for each encoder that was chosen on the partition it now meets."""
    for path, (_, content) in zip(paths, loaded, strict=True):
        if content["config"]["selected_on"] == args.partition:
            log.info(
                "Notice: the encoder of %r was chosen on the partition %r that is now evaluated, "
                "which flatters it; --partition test is fair, where the dataset has one",
                path,
                args.partition,
            )


def _check_numbers(settings: Settings) -> None:
    if settings.batch_size < 1:
        raise InputError(f"--test-batch-size {settings.batch_size}: at least 1 is needed")
    check_workers("--num-workers", settings.workers)


def _for_each(args: argparse.Namespace, flag: str, count: int) -> list:
    """Spread a flag's value, or its list of one, over the files; a longer list has one for each."""
    given = getattr(args, flag)
    values = given if isinstance(given, list) else [given]
    if len(values) not in (1, count):
        raise InputError(
            f"--{flag.removeprefix('cst_')} {' '.join(map(str, values))}: {len(values)} values for "
            f"{count} files of --model-path; give one for each, or one for all"
        )
    return values * count if len(values) == 1 else values


def _check_agreement(given: dict[str, Any], path: str, encoder: Encoder, only_base: bool) -> None:
    """Raise an InputError where flags contradict the file; what backbones lack is not compared."""
    for name, value in given.items():
        found = getattr(encoder.config, name)
        if value is None or same_weights(value, found):
            continue
        if only_base and name != "arch":
            log.info(
                "Notice: --%s %s given, %s in the file; backbone features use neither",
                name,
                value,
                found,
            )
            continue
        raise InputError(
            f"--{'model' if name == 'arch' else name} {value} was given and "
            f"{path!r} holds {found}; leave the flag out"
        )


def _check_alike(paths: Sequence[str], loaded: Sequence[tuple[Encoder, dict[str, Any]]]) -> None:
    """Raise an InputError where files tell that they were trained on different data or classes."""
    known = []
    for encoder, content in loaded:
        data = content["config"]["data"] or {}
        about = {"dataset": data.get("dataset"), "split": data.get("split")}
        classes = None if encoder.class_weight is None else encoder.config.num_classes
        known.append({**about, "number of classes": classes})
    for path, other in zip(paths[1:], known[1:], strict=True):
        for name, value in other.items():
            if None not in (value, known[0][name]) and value != known[0][name]:
                raise InputError(
                    f"the {name} is {known[0][name]!r} in {paths[0]!r} and {value!r} in {path!r}; "
                    "give models that were trained on the same data and labels"
                )


def output_path(name: str | None) -> Path | None:
    """Turn a file's name into a path whose folder exists; InputError where it cannot be written.

    A file that was not there is not there afterwards either.
    """
    if name is None:
        return None
    path = Path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        existed = path.exists()
        with open(path, "a"):
            pass
        if not existed:
            path.unlink()
    except OSError as error:
        raise InputError(f"cannot write {name!r} ({error.strerror}); name another file") from error
    return path
