"""The flags that say which images, and how the network sees them."""

import argparse
import logging
from collections.abc import Mapping
from typing import Any

from ancor.cli.options import add_settings
from ancor.data.config import DataConfig
from ancor.data.registry import DATASETS
from ancor.errors import InputError
from ancor.runtime.from_dict import from_dict
from ancor.runtime.settings import settings_of

log = logging.getLogger(__name__)

VIEWS = ("dataset", "image_size", "mean", "std")  # settings of how a network sees images
DATASET_HELP = ", ".join(DATASETS)
# What only a flag allows: no file may, as anybody may have written it.
PERMISSIONS = ("download", "skip_bad_images", "allow_outside_root")


def widening(told: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Say what a file allows and no flag does, which is therefore not allowed.

    Args:
        told: what a file says, by setting.
        given: the flags, by setting.
    """
    names = [name for name in PERMISSIONS if told.get(name) and not given.get(name)]
    return [
        f"Notice: the file was made with `{name}`, which a file cannot allow; "
        "give the flag again if that is meant"
        for name in names
        if name != "download"  # of files that are there by now
    ]


def add_data_flags(
    parser: argparse.ArgumentParser, default: str, crops: bool = False
) -> argparse._ArgumentGroup:
    """Add the flags that say which images.

    Args:
        parser: the command's.
        default: the dataset that is taken, for `--help`.
        crops: whether the command draws training views.
    """
    names = [name for name in settings_of(DataConfig) if crops or name != "crop_scale"]
    return add_settings(
        parser, DataConfig, "data", names, {"dataset": default}, dataset=f"one of {DATASET_HELP}"
    )


def add_view_flags(parser: argparse.ArgumentParser, group: str) -> None:
    """Add the flags that say how a network sees images that are of no dataset."""
    dataset = f"as the images of one of {DATASET_HELP}"
    add_settings(parser, DataConfig, group, VIEWS, {"dataset": None}, dataset=dataset)


def data_config(args: argparse.Namespace, trained_on: dict[str, Any] | None = None) -> DataConfig:
    """Return the DataConfig of the arguments.

    Args:
        args: parsed flags; those not given are None.
        trained_on: a file's own configuration, which the flags change; another --dataset replaces
            it whole. None: the flags stand alone.

    Raises:
        InputError: nothing names a dataset, or a value is not accepted.
    """
    root = getattr(args, "root", None)  # which commands that read no dataset lack
    if args.dataset is None and root is not None:
        args.dataset = _told_by_folder(root, (trained_on or {}).get("dataset"))
    known = settings_of(DataConfig)
    given = {name: value for name, value in vars(args).items() if name in known}
    given = {name: value for name, value in given.items() if value is not None}
    if trained_on is None and "dataset" not in given:
        raise InputError(
            "--dataset is needed, as the file does not tell which images it was made from; "
            f"accepted: {', '.join(DATASETS)}"
        )
    base = {} if trained_on is None else {k: v for k, v in trained_on.items() if k in known}
    if "dataset" in given and DataConfig(given["dataset"]).dataset != base.get("dataset"):
        base = {}
    for line in widening(base, given):
        log.info("%s", line)
    base = {field: value for field, value in base.items() if field not in PERMISSIONS}
    return from_dict(DataConfig, {**base, **given}, "the file's settings")


def _told_by_folder(root: str, trained_on: str | None) -> str | None:
    """Return the dataset that --data holds, where it is certainly not the file's; else None."""
    from pathlib import Path

    from ancor.data.guess import candidates

    names = candidates(Path(root)) if Path(root).is_dir() else ()
    if not names or trained_on in names:
        return None
    return guessed(root)


def guessed(root: str) -> str:
    """Return the dataset that --data is taken for, and say so; InputError where nothing tells."""
    from ancor.data.guess import guess

    name, line = guess(root)
    log.info("Notice: %s", line)
    return name
