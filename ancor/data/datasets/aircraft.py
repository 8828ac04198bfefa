"""FGVC-Aircraft (Maji et al., 2013, arXiv 1306.5151): variants within manufacturers or families."""

import os
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ancor.data.files import download, required_root
from ancor.data.hierarchy import Hierarchy
from ancor.data.images import ImageFiles
from ancor.data.partition import Partition
from ancor.errors import InputError, choose

if TYPE_CHECKING:
    from torchvision.datasets import FGVCAircraft

    from ancor.data.catalog import DataConfig

COARSE_LEVELS = ("manufacturer", "family")
SPLITS = {"train": "train", "validation": "val", "test": "test"}
LAYOUT = "fgvc-aircraft-2013b/data/{images/*.jpg,variants.txt,images_variant_train.txt,...}"


def load(config: "DataConfig", partition: str) -> Partition:
    """Read a partition, with the coarse classes of `config.coarse_level`."""
    choose("--coarse-level", config.coarse_level, COARSE_LEVELS)
    if config.download:
        download(config, "FGVCAircraft", split=SPLITS[partition])
    root = required_root(config, LAYOUT)
    fine = _read(root, partition, "variant")
    coarse = _read(root, partition, config.coarse_level)
    if fine._image_files != coarse._image_files:
        raise InputError(
            f"the lists of variants and of {config.coarse_level} labels in {str(root)!r} name "
            "different images; fetch the archive again"
        )
    hierarchy = Hierarchy.from_labels(
        fine._labels,
        coarse._labels,
        fine_names=tuple(fine.classes),
        coarse_names=tuple(coarse.classes),
        source=f"fgvc-aircraft in {str(root)!r}",
    )
    split = [os.path.split(path) for path in fine._image_files]
    listed = [(folder, [name for _, name in part]) for folder, part in groupby(split, _first)]
    return Partition.from_fine(
        config.dataset,
        partition,
        ImageFiles(listed),
        fine._labels,
        hierarchy,
        layout=f"fgvc-aircraft-2013b in {str(root)!r}",
    )


def _first(pair: tuple[str, str]) -> str:
    return pair[0]


def _read(root: Path, partition: str, level: str) -> "FGVCAircraft":
    """Return torchvision's dataset of one level of labels, which reads lists and no images."""
    from torchvision.datasets import FGVCAircraft

    try:
        return FGVCAircraft(root, split=SPLITS[partition], annotation_level=level)
    except (RuntimeError, OSError, KeyError, ValueError) as error:
        raise InputError(
            f"no FGVC-Aircraft in {str(root)!r} ({error}); it is {LAYOUT}: unpack "
            "fgvc-aircraft-2013b.tar.gz there, or give --download"
        ) from error
