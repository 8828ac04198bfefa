"""A proposed division into sub-classes on disk: a labels.csv, and a folder of images for each."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ancor.data.datasets import labels_csv
from ancor.data.images import ImageFiles
from ancor.data.partition import Partition
from ancor.data.partition_table import write_table
from ancor.data.transforms import pixels_of
from ancor.errors import InputError

FOLDER = "images"
LONGEST = 100  # characters of a folder's name


def check_folder(folder: Path) -> None:
    """Make a folder for a division; InputError where something is in it, or it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        filled = any(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"cannot write into `output` {str(folder)!r} ({error.strerror}); name another folder"
        ) from error
    if filled:
        raise InputError(
            f"`output` {str(folder)!r} is there and not empty; name a new folder, or empty it"
        )


class Written(NamedTuple):
    """Images of sub-classes, written.

    Attributes:
        root: folder that the paths begin at.
        paths: of each image, (N,), as a table names it.
        told: a line on what was done.
    """

    root: str
    paths: list[str]
    told: str


def write(
    folder: Path,
    partition: Partition,
    subclasses: Sequence[tuple[int, np.ndarray]],
    root: str | None = None,
) -> Written:
    """Write the images of sub-classes as `images/<coarse class>/<number>/*`.

    Image files are linked, or copied where the file system has no links; other images are written
    as PNG files.

    Args:
        folder: where to.
        partition: the images.
        subclasses: for each, the number of its coarse class and those of its images; the number of
            a sub-class inside its coarse class is by this order, from 1.
        root: folder of the dataset's files, at which paths of files begin; None, or where some are
            not inside: the folder that holds all.

    Raises:
        OSError: an image cannot be written.
    """
    if isinstance(partition.images, ImageFiles):
        return _write_links(folder, partition, subclasses, root)
    paths = [""] * len(partition)
    for images, inside in _folders(partition, subclasses):
        (folder / inside).mkdir(parents=True)
        for image in images.tolist():
            paths[image] = f"{inside}/{image}.png"
            pixels = pixels_of(partition.images[image]).permute(1, 2, 0)
            Image.fromarray(np.ascontiguousarray(pixels)).save(folder / paths[image])
    return Written(str(folder), paths, f"{len(paths)} images, which are in no files, as PNG files")


def _write_links(
    folder: Path,
    partition: Partition,
    subclasses: Sequence[tuple[int, np.ndarray]],
    root: str | None,
) -> Written:
    root, paths = relative_paths(partition, root)
    files = [os.path.join(os.path.abspath(root), path) for path in paths]
    copied = 0
    for images, inside in _folders(partition, subclasses):
        (folder / inside).mkdir(parents=True)
        for image in images.tolist():
            target = folder / inside / f"{image}_{os.path.basename(files[image])}"
            copied += not _linked(files[image], target)
    how = f"{len(files)} images as links"
    if copied:
        how += f", of which {copied} became copies, as links cannot be made there"
    return Written(root, paths, how)


def relative_paths(partition: Partition, root: str | None) -> tuple[str, list[str]]:
    """Return the paths of image files as a table names them, (N,), and the folder they begin at.

    Args:
        partition: image files.
        root: the folder; None, or where some are not inside: the one that holds all.
    """
    files = [os.path.abspath(partition.images.name(image)) for image in range(len(partition))]
    home = os.path.abspath(root or os.sep)
    if root is None or os.path.commonpath([home, *files]) != home:
        root = home = os.path.commonpath([os.path.dirname(file) for file in files])
    return root, [os.path.relpath(file, home) for file in files]


def write_labels(
    folder: Path, partition: Partition, paths: Sequence[str], fine: Sequence[str]
) -> Path:
    """Write the labels.csv of a division, by each image's path and the name of its sub-class.

    All images are there to be trained on, whatever partition they are from.

    Raises:
        InputError: a path or name is not text.
        OSError: it cannot be written.
    """
    table = folder / labels_csv.NAME
    coarse = [partition.hierarchy.coarse_names[number] for number in partition.coarse_labels]
    rows = zip(paths, coarse, fine, ["train"] * len(partition), strict=True)
    write_table(table, labels_csv.COLUMNS, rows)
    return table


def _folders(
    partition: Partition, subclasses: Sequence[tuple[int, np.ndarray]]
) -> Iterator[tuple[np.ndarray, str]]:
    """Yield the images of each sub-class and its folder; no two coarse classes share one."""
    names: dict[int, str] = {}
    counts: dict[int, int] = {}
    for coarse, images in subclasses:
        if coarse not in names:
            # Neither hidden, nor above or inside another folder, nor too long for a file system.
            name = re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", partition.hierarchy.coarse_names[coarse])
            name = os.fsencode(name.strip(" ."))[:LONGEST].decode(errors="ignore") or "_"
            taken = {other.casefold() for other in names.values()}
            while name.casefold() in taken:
                name += "_"
            names[coarse] = name
        counts[coarse] = counts.get(coarse, 0) + 1
        yield images, f"{FOLDER}/{names[coarse]}/{counts[coarse]}"


def _linked(source: str, target: Path) -> bool:
    """Link a file, or else copy it; return which."""
    try:
        target.symlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
        return False
    return True
