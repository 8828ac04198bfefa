"""The flags that say which images, and how the network sees them."""

import argparse
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ancor.errors import InputError

if TYPE_CHECKING:
    from ancor.data.catalog import DataConfig

log = logging.getLogger(__name__)

DATASET_HELP = (
    "living17, nonliving26, entity13, entity30, breeds, tiered, cifar100, aircraft, folder, "
    "fashion-mnist, digits, glyphs"
)
# Which flag sets which attribute of `ancor.data.catalog.DataConfig`.
DATA_FLAGS = {
    "dataset": "dataset",
    "root": "data",
    "image_size": "image_size",
    "mean": "mean",
    "std": "std",
    "crop_scale": "crop_scale",
    "download": "download",
    "skip_bad_images": "skip_bad_images",
    "split": "split",
    "breeds_info": "breeds_info",
    "breeds_level": "breeds_level",
    "breeds_ancestor": "breeds_ancestor",
    "breeds_subclasses": "breeds_subclasses",
    "coarse_level": "coarse_level",
    "allow_outside_root": "allow_outside_root",
}
# What only a flag allows: no file may, as anybody may have written it.
PERMISSIONS = ("download", "skip_bad_images", "allow_outside_root")


def widening(told: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Say what a file allows and no flag does, which is therefore not allowed.

    Args:
        told: what a file says, by flag.
        given: the flags.
    """
    flags = [flag for flag in PERMISSIONS if told.get(flag) and not given.get(flag)]
    return [
        f"Notice: the file was made with --{flag.replace('_', '-')}, which a file cannot allow; "
        "give the flag again if that is meant"
        for flag in flags
        if flag != "download"  # of files that are there by now
    ]


def add_data_flags(parser: argparse.ArgumentParser, default: str) -> argparse._ArgumentGroup:
    """Add the flags; `default` tells of the dataset that is taken."""
    group = parser.add_argument_group("data")
    add = group.add_argument
    add("--dataset", metavar="NAME", help=f"one of {DATASET_HELP} (default: {default})")
    add("--data", "--data-root", metavar="DIR", help="folder of the dataset's files")
    add("--download", action="store_true", help="fetch missing files, where that is possible")
    add(
        "--skip-bad-images",
        action="store_true",
        help="leave out images that cannot be read, and list them at the end",
    )
    add_preprocessing_flags(group)
    _add_layout_flags(parser.add_argument_group("data of one kind"))
    return group


def add_preprocessing_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags that change how the network sees images."""
    group.add_argument(
        "--image-size",
        type=int,
        metavar="PX",
        help="side of the images (default: the dataset's)",
    )
    for name in ("mean", "std"):
        group.add_argument(
            f"--{name}",
            type=float,
            nargs=3,
            metavar=("R", "G", "B"),
            help=f"{name} of each channel of images scaled to 0-1 (default: the dataset's)",
        )


def add_crop_flag(group: argparse._ArgumentGroup) -> None:
    """Add the flag of the commands that draw training views."""
    group.add_argument(
        "--crop-scale",
        type=float,
        nargs=2,
        metavar=("LEAST", "MOST"),
        help="share of an image's area that a training crop takes (default: the dataset's)",
    )


def _add_layout_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags that mean something for one family of datasets."""
    add = group.add_argument
    add(
        "--split",
        metavar="NAME",
        help="BREEDS: train on the source and evaluate on the target half of every superclass, "
        "divided as good, bad or rand (default: no division)",
    )
    add("--breeds-info", metavar="DIR", help="BREEDS: folder of another class hierarchy")
    add("--breeds-level", type=int, metavar="L", help="breeds: depth of its superclasses")
    add("--breeds-ancestor", metavar="WNID", help="breeds: what all of them lie under")
    add("--breeds-subclasses", type=int, metavar="N", help="breeds: classes a superclass")
    add(
        "--coarse-level",
        metavar="NAME",
        help="aircraft: manufacturer or family (default: manufacturer)",
    )
    add(
        "--allow-outside-root",
        action="store_true",
        help="folder: labels.csv may name files outside --data",
    )


def data_config(args: argparse.Namespace, trained_on: dict[str, Any] | None = None) -> "DataConfig":
    """Return the DataConfig of the arguments.

    Args:
        args: parsed flags; those not given are None or False.
        trained_on: a file's own configuration, which the flags change; another --dataset replaces
            it whole. None: the flags stand alone.

    Raises:
        InputError: nothing names a dataset, or a value is not accepted.
    """
    from ancor.data.catalog import DATASETS, DataConfig
    from ancor.runtime.from_dict import built

    if args.dataset is None and getattr(args, "data", None) is not None:
        args.dataset = _told_by_folder(args.data, (trained_on or {}).get("dataset"))
    if trained_on is None and args.dataset is None:
        raise InputError(
            "--dataset is needed, as the file does not tell which images it was made from; "
            f"accepted: {', '.join(DATASETS)}"
        )
    given = {field: getattr(args, flag, None) for field, flag in DATA_FLAGS.items()}
    given = {field: value for field, value in given.items() if value not in (None, False)}
    base = {} if trained_on is None else {k: v for k, v in trained_on.items() if k in DATA_FLAGS}
    if "dataset" in given and DataConfig(given["dataset"]).dataset != base.get("dataset"):
        base = {}
    for line in widening(base, given):
        log.info("%s", line)
    base = {field: value for field, value in base.items() if field not in PERMISSIONS}
    return built(DataConfig, {**base, **given}, "the file's settings")


def _told_by_folder(root: str, trained_on: str | None) -> str | None:
    """Return the dataset that --data holds, where it is certainly not the file's; else None."""
    from pathlib import Path

    from ancor.data.guess import candidates, guess

    names = candidates(Path(root)) if Path(root).is_dir() else ()
    if not names or trained_on in names:
        return None
    name, line = guess(root)
    log.info("Notice: %s", line)
    return name
