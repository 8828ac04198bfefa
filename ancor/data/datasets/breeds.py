"""BREEDS: superclasses of ImageNet, with the numbering of the paper."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from ancor.data.datasets.breeds_classes import (
    INFO_FILES,
    LEVELS,
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
from ancor.data.registry import SETS
from ancor.errors import InputError, MissingPartition

FOLDERS = {"train": "train", "validation": "val"}


def load(
    partition: str,
    root: str | None,
    *,
    dataset: str,
    split: str | None = None,
    breeds_info: str | None = None,
    breeds_level: int | None = None,
    breeds_ancestor: str | None = None,
    breeds_subclasses: int | None = None,
) -> Partition:
    """Read a partition: images in the order of WordNet ids, then of file names.

    The coarse label is the superclass's position in the table, the fine label the running number
    of the class over the table. With a split, `train` holds the source halves of the superclasses
    and `validation` the target halves.
    """
    if partition == "test":
        raise MissingPartition(
            f"{dataset} has no test partition, as ImageNet's test images have no labels; "
            "accepted: train, validation"
        )
    folder = required_root(dataset, root, LAYOUT)
    choice = (breeds_level, breeds_ancestor, breeds_subclasses)
    table = class_table(dataset, split, breeds_info or _hierarchy_in(folder), *choice)
    rows = table.half(training=partition == "train")
    wnids = [wnid for row in rows for wnid in row]
    listed, layout, notes = images_by_class(
        folder, FOLDERS[partition], {wnid: table.class_names[wnid] for wnid in wnids}
    )
    hierarchy = Hierarchy(
        coarse_names=table.names,
        fine_names=tuple(table.class_names[wnid] for wnid in wnids),
        coarse_of_fine=tuple(coarse for coarse, row in enumerate(rows) for _ in row),
    )
    fine_of_listed = np.argsort(wnids)
    fine_labels = np.repeat(fine_of_listed, [len(names) for _, names in listed])
    images = ImageFiles(listed)
    found = Partition.from_fine(dataset, partition, images, fine_labels, hierarchy, layout)
    return replace(found, notes=tuple(notes))


def class_table(
    dataset: str,
    split: str | None = None,
    info: Path | str | None = None,
    level: int | None = None,
    ancestor: str | None = None,
    subclasses: int | None = None,
) -> ClassTable:
    """Return the superclasses: committed, or computed for another hierarchy or level.

    Args:
        dataset: one of `SETS`, or `breeds`.
        split: how superclasses are halved, of `ancor.data.registry.SPLITS`; None: not at all.
        info: folder of the hierarchy; None: the committed one.
        level, ancestor, subclasses: of `breeds` (`breeds_classes.computed_table`).
    """
    info = None if info is None else Path(info)
    if dataset in SETS:
        if info is None or is_known(info):
            return known_table(dataset, split)
        level, ancestor, subclasses = LEVELS[dataset]
    elif info is None or level is None:
        raise InputError(
            "dataset breeds needs `breeds_level` L and the hierarchy files "
            f"{', '.join(INFO_FILES)} in `breeds_info` DIR or in a folder BREEDS in `root`"
        )
    return computed_table(Path(os.path.realpath(info)), level, ancestor, subclasses, split)


def _hierarchy_in(root: Path) -> Path | None:
    """Return the folder BREEDS inside the images' folder, where it holds a hierarchy."""
    inside = root / "BREEDS"
    return inside if any((inside / name).is_file() for name in INFO_FILES) else None
