"""Reading a partition as settings say: images, features in their place, shares of the training."""

from dataclasses import replace
from typing import Any

from ancor.data import division, features, scan
from ancor.data.partition import Partition
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
    root = config.root
    if root is not None and not (is_packed(root) or "root" in config.spec.takes):
        note = f"`root` {root!r} is not read: {config.dataset} needs no files"
        loaded = replace(loaded, notes=(*loaded.notes, note))
    return scan.without_unreadable(loaded) if skip_bad_images else loaded


def _features(config: Any, partition: str) -> Partition:
    loaded = features.load(partition, config.features)
    if loaded.dataset != config.dataset:
        raise InputError(
            f"`features` {config.features!r} are of {loaded.dataset}, not of {config.dataset}; "
            "leave `dataset` out"
        )
    return loaded
