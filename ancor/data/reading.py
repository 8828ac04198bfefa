"""Reading a partition as settings say: images, features in their place, shares of the training."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from ancor.data import division, features, scan
from ancor.data.fields import PERMISSIONS
from ancor.data.packed import PackedImages
from ancor.data.partition import Partition
from ancor.data.registry import DATASETS
from ancor.errors import InputError
from ancor.safe_io.own_files import is_packed


def read(config: Any, partition: str, skip_bad_images: bool) -> Partition:
    """Read a partition.

    Args:
        config: a `DataConfig`, which says of which data.
        partition: a name of `ancor.data.config.PARTITIONS`.
        skip_bad_images: whether images that cannot be read are left out, instead of an error.

    Raises:
        MissingPartition: the dataset has no such partition.
        InputError: files are missing or broken.
    """
    if config.features is not None:
        return _features(config, partition)
    shares = config.shares
    if shares and partition in ("train", *shares):
        whole = config.spec.load("train", config)
        loaded = division.part_of(whole, partition, shares, config.partition_seed)
    else:
        loaded = config.spec.load(partition, config)
    notes = (*loaded.notes, *_unread(config), *_enlarged(config, loaded))
    loaded = replace(loaded, notes=notes)
    return scan.without_unreadable(loaded) if skip_bad_images else loaded


def _unread(config: Any) -> Iterator[str]:
    """Yield a note on each setting that was given and means nothing to the dataset, or alone."""
    dataset, takes = config.dataset, config.spec.takes
    if config.root is not None and not (is_packed(config.root) or "root" in takes):
        yield f"`root` {config.root!r} is not read: {dataset} needs no files"
    theirs = {name for spec in DATASETS.values() for name in spec.takes} - {*PERMISSIONS, "root"}
    defaults = {setting.name: setting.default for setting in fields(config)}
    for name in sorted(theirs - {*takes, "dataset"}):
        value = getattr(config, name)
        if value != defaults[name]:
            yield f"`{name}` {value!r} is not read: it means nothing to {dataset}"
    if config.partition_seed and not config.shares:
        yield (
            f"`partition_seed` {config.partition_seed} is not read: it draws the shares that "
            "`val_fraction` and `test_fraction` name, and neither is given"
        )


def _enlarged(config: Any, loaded: Partition) -> Iterator[str]:
    """Yield a note where evaluation enlarges what packing made smaller."""
    side = loaded.images.made_smaller if isinstance(loaded.images, PackedImages) else None
    spec = config.transforms
    if side is not None and spec.crop_mode != "border" and side < spec.resize:
        yield (
            f"images were packed at {side} pixels of the shorter side, and evaluation enlarges "
            f"them to {spec.resize} (`image_size` {spec.size}); pack their folder again with "
            f"`size` {spec.resize}"
        )


def _features(config: Any, partition: str) -> Partition:
    loaded = features.load(partition, config.features)
    if loaded.dataset != config.dataset:
        raise InputError(
            f"`features` {config.features!r} are of {loaded.dataset}, not of {config.dataset}; "
            "leave `dataset` out"
        )
    return loaded
