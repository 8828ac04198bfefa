"""BREEDS: superclasses of ImageNet, with the numbering of the paper."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ancor.data.datasets.breeds_classes import (
    INFO_FILES,
    LEVELS,
    SETS,
    ClassTable,
    computed_table,
    is_known,
    known_table,
)
from ancor.data.datasets.imagenet import LAYOUT, images_by_class
from ancor.data.files import required_root
from ancor.data.hierarchy import Hierarchy
from ancor.data.images import ImageFiles
from ancor.data.partition import Partition
from ancor.errors import InputError, MissingPartition

if TYPE_CHECKING:
    from ancor.data.catalog import DataConfig

FOLDERS = {"train": "train", "validation": "val"}


def load(config: "DataConfig", partition: str) -> Partition:
    """Read a partition: images in the order of WordNet ids, then of file names.

    The coarse label is the superclass's position in the table, the fine label the running number
    of the class over the table. With a split, `train` holds the source halves of the superclasses
    and `validation` the target halves.
    """
    if partition == "test":
        raise MissingPartition(
            f"{config.dataset} has no test partition, as ImageNet's test images have no labels; "
            "accepted: train, validation"
        )
    root = required_root(config, LAYOUT)
    table = class_table(config, root)
    rows = table.half(training=partition == "train")
    wnids = [wnid for row in rows for wnid in row]
    listed, layout, notes = images_by_class(
        root, FOLDERS[partition], {wnid: table.class_names[wnid] for wnid in wnids}
    )
    hierarchy = Hierarchy(
        coarse_names=table.names,
        fine_names=tuple(table.class_names[wnid] for wnid in wnids),
        coarse_of_fine=tuple(coarse for coarse, row in enumerate(rows) for _ in row),
    )
    fine_of_listed = np.argsort(wnids)
    fine_labels = np.repeat(fine_of_listed, [len(names) for _, names in listed])
    images = ImageFiles(listed)
    found = Partition.from_fine(config.dataset, partition, images, fine_labels, hierarchy, layout)
    return replace(found, notes=tuple(notes))


def class_table(config: "DataConfig", root: Path | None) -> ClassTable:
    """Return the superclasses: committed, or computed for another hierarchy or level.

    Args:
        config: the DataConfig.
        root: folder of the images; a folder BREEDS in it may hold a hierarchy.
    """
    info = _hierarchy_folder(config, root)
    if config.dataset in SETS:
        if info is None or is_known(info):
            return known_table(config.dataset, config.split)
        level, ancestor, subclasses = LEVELS[config.dataset]
    else:
        level, ancestor = config.breeds_level, config.breeds_ancestor
        subclasses = config.breeds_subclasses
        if info is None or level is None:
            raise InputError(
                "--dataset breeds needs --breeds-level L and the hierarchy files "
                f"{', '.join(INFO_FILES)} in --breeds-info DIR or in a folder BREEDS in --data"
            )
    return computed_table(Path(os.path.realpath(info)), level, ancestor, subclasses, config.split)


def _hierarchy_folder(config: "DataConfig", root: Path | None) -> Path | None:
    if config.breeds_info is not None:
        return Path(config.breeds_info)
    inside = None if root is None else root / "BREEDS"
    if inside is not None and any((inside / name).is_file() for name in INFO_FILES):
        return inside
    return None
