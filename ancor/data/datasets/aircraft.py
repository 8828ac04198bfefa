"""FGVC-Aircraft (Maji et al., 2013, arXiv 1306.5151): variants within manufacturers or families."""

import os
from itertools import groupby
from pathlib import Path

from torchvision.datasets import FGVCAircraft

from ancor.data import files
from ancor.data.hierarchy import Hierarchy
from ancor.data.images import ImageFiles
from ancor.data.partition import Partition
from ancor.errors import InputError, choose
from ancor.safe_io.broken import BROKEN

COARSE_LEVELS = ("manufacturer", "family")
FINE_LEVELS = ("variant", "family")
SPLITS = {"train": "train", "validation": "val", "test": "test"}
LAYOUT = "fgvc-aircraft-2013b/data/{images/*.jpg,variants.txt,images_variant_train.txt,...}"


def load(
    partition: str,
    root: str | None,
    *,
    download: bool = False,
    coarse_level: str = "manufacturer",
    fine_level: str | None = None,
) -> Partition:
    """Read a partition, with the classes of `coarse_level` and `fine_level` (default: variant)."""
    fine_level = fine_level or FINE_LEVELS[0]
    choose("`coarse_level`", coarse_level, COARSE_LEVELS)
    choose("`fine_level`", fine_level, FINE_LEVELS)
    if coarse_level == fine_level:
        raise InputError(f"`coarse_level` and `fine_level` are both {fine_level}; expected two")
    if download:
        files.download("aircraft", root, "FGVCAircraft", split=SPLITS[partition])
    folder = files.required_root("aircraft", root, LAYOUT)
    fine = _read(folder, partition, fine_level)
    coarse = _read(folder, partition, coarse_level)
    if fine._image_files != coarse._image_files:
        raise InputError(
            f"the lists of {fine_level} and of {coarse_level} labels in {str(folder)!r} name "
            "different images; fetch the archive again"
        )
    hierarchy = Hierarchy.from_labels(
        fine._labels,
        coarse._labels,
        fine_names=tuple(fine.classes),
        coarse_names=tuple(coarse.classes),
        source=f"fgvc-aircraft in {str(folder)!r}",
    )
    split = [os.path.split(path) for path in fine._image_files]
    listed = [(folder, [name for _, name in part]) for folder, part in groupby(split, _first)]
    return Partition.from_fine(
        "aircraft",
        partition,
        ImageFiles(listed),
        fine._labels,
        hierarchy,
        layout=f"fgvc-aircraft-2013b in {str(folder)!r}",
    )


def _first(pair: tuple[str, str]) -> str:
    return pair[0]


def _read(root: Path, partition: str, level: str) -> FGVCAircraft:
    """Return torchvision's dataset of one level of labels, which reads lists and no images."""
    try:
        return FGVCAircraft(root, split=SPLITS[partition], annotation_level=level)
    except BROKEN as error:
        raise InputError(
            f"no FGVC-Aircraft in {str(root)!r} ({error}); it is {LAYOUT}: unpack "
            "fgvc-aircraft-2013b.tar.gz there, or give `download`"
        ) from error
