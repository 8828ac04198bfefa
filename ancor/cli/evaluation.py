"""What the commands that evaluate a trained encoder share: the model, the data, agreement."""

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ancor import checkpoint
from ancor.cli.data_flags import data_config
from ancor.data.catalog import DataConfig
from ancor.data.partition import Partition
from ancor.devices import autocast_dtype, pick_device
from ancor.errors import InputError
from ancor.evaluation.features import FeatureBank
from ancor.models.backbones import same_weights
from ancor.models.encoder import Encoder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """What is evaluated on what.

    Attributes:
        encoder: the trained encoder, on the device.
        content: its checkpoint.
        data: the dataset.
        partition: its evaluated partition.
        bank: makes a feature bank for an encoder of this architecture.
    """

    encoder: Encoder
    content: dict[str, Any]
    data: DataConfig
    partition: Partition
    bank: Callable[..., FeatureBank]


def read_subject(args: argparse.Namespace, only_base: bool) -> Subject:
    """Read the model and the data that the arguments name; InputError where they do not fit."""
    device = pick_device(args.device or "auto", args.gpu)
    dtype = autocast_dtype(args.precision or "fp32", device)
    encoder, content = checkpoint.load_encoder(args.model_path, args.head)
    _check_agreement(args, encoder, only_base)
    encoder = encoder.to(device, memory_format=torch.channels_last)
    data = data_config(args, content["config"]["data"])
    partition = data.load(args.partition)
    if content["config"]["selected_on"] == args.partition:
        log.info(
            "Notice: this encoder was chosen on the partition %r that is now evaluated, which "
            "flatters it; --partition test is fair, where the dataset has one",
            args.partition,
        )

    def bank(encoder: Encoder, embedding: bool) -> FeatureBank:
        return FeatureBank(
            encoder,
            partition.images,
            data.transforms,
            device,
            seed=args.seed,
            batch_size=args.test_batch_size,
            workers=args.num_workers,
            embedding=embedding,
            dtype=dtype,
        )

    return Subject(encoder, content, data, partition, bank)


def _check_agreement(args: argparse.Namespace, encoder: Encoder, only_base: bool) -> None:
    """Raise an InputError where flags contradict the file; what backbones lack is not compared."""
    given = {"arch": args.model, "head": args.head, "dim": args.cst_dim}
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
            f"{args.model_path!r} holds {found}; leave the flag out"
        )


def output_path(name: str | None) -> Path | None:
    """Turn a file's name into a path whose folder exists; InputError where it cannot be written."""
    if name is None:
        return None
    path = Path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a"):
            pass
    except OSError as error:
        raise InputError(f"cannot write {name!r} ({error.strerror}); name another file") from error
    return path
