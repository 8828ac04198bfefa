"""Which image is in which partition, as a table that can be read again in place of a drawing."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ancor.data import division
from ancor.data.config import PARTITIONS, DataConfig
from ancor.data.datasets import labels_csv
from ancor.data.datasets.levels import chosen_columns
from ancor.data.images import ImageFiles
from ancor.data.packed import PackedImages
from ancor.data.partition import Partition
from ancor.errors import InputError, MissingPartition
from ancor.runtime.text import write_csv
from ancor.safe_io.writing import output_path

log = logging.getLogger(__name__)


def target(config: DataConfig, named: str | None) -> Path:
    """Return the path of a table to write: as named, or labels.csv among the images.

    Raises:
        InputError: it cannot be written, or is there already.
    """
    if named is None and not os.path.isdir(config.root or ""):
        where = "no `root` is given" if config.root is None else f"`root` {config.root!r} is none"
        raise InputError(
            f"{labels_csv.NAME} goes into a folder, and {where}; give one, or `output`"
        )
    path = output_path(named or os.path.join(config.root, labels_csv.NAME))
    if path.exists():
        raise InputError(f"{str(path)!r} is there already; remove it, or name another `output`")
    return path


def write(config: DataConfig, path: Path) -> dict[str, int]:
    """Write which image is in which partition, as a labels.csv that `labels` reads.

    Beside the training images, divided, it lists those of the dataset's other partitions, where
    they are files: what reads the table reads no folder of a partition.

    Args:
        config: which images, and the shares.
        path: of the table; paths of image files in it are relative to the dataset's folder.

    Returns:
        How many images each partition has.

    Raises:
        InputError: no share is given, or a path or name is not text.
        OSError: it cannot be written.
    """
    if not config.shares:
        raise InputError(
            "nothing is to be divided; give `val_fraction` or `test_fraction`, such as 0.2"
        )
    whole = config.spec.load("train", config)
    parts = [(whole, division.assigned(whole, config.shares, config.partition_seed).tolist())]
    if isinstance(whole.images, ImageFiles | PackedImages):
        parts += [(part, [part.name] * len(part)) for part in _others(config)]
    fine = any(part.fine_labels is not None for part, _ in parts)
    columns = _columns(config, ("coarse", "fine") if fine else ("coarse",))
    rows = [row for part, of in parts for row in _rows(part, of, columns.values(), config.root)]
    write_table(path, ["path", *columns, "partition"], rows)
    return dict(Counter(row[-1] for row in rows))


def _others(config: DataConfig) -> Iterator[Partition]:
    """Yield the partitions beside the training images that are not made of these."""
    for name in PARTITIONS[1:]:
        if name in config.shares:
            continue
        try:
            part = config.spec.load(name, config)
        except MissingPartition:
            continue
        except InputError as error:
            log.info("Notice: the table has no partition %r: %s", name, error)
            continue
        yield part


def _columns(config: DataConfig, levels: Sequence[str]) -> dict[str, str]:
    """Return the level, `coarse` or `fine`, that each column tells.

    Those that the settings choose are there too, so that it is read with these and without.
    """
    chosen = {}
    if config.dataset == "folder":
        chosen = chosen_columns((config.coarse_level, config.fine_level))
    plain = {level: level for level in levels if chosen.get(level, level) == level}
    return plain | {name: level for name, level in chosen.items() if level in levels}


def _rows(
    part: Partition, of: Sequence[str], levels: Iterable[str], root: str | None
) -> Iterator[tuple[str, ...]]:
    """Yield an image's path, its class of each level (empty: not known) and its partition."""
    images, names = part.images, []
    for level in levels:
        known = level == "coarse" or part.fine_labels is not None
        theirs = part.hierarchy.names(level)
        names.append([theirs[n] for n in part.labels(level)] if known else [""] * len(part))
    paths = [images.name(index) for index in range(len(images))]
    if isinstance(images, ImageFiles) and root is not None:
        paths = [os.path.relpath(each, root) for each in paths]
    if isinstance(images, PackedImages):  # of the folder that was packed
        paths = [images.path(index) for index in range(len(images))]
    return zip(paths, *names, of, strict=True)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a labels.csv.

    Raises:
        InputError: a path or name is not text.
        OSError: it cannot be written.
    """
    try:
        write_csv(path, header, rows, read_again=True)
    except UnicodeEncodeError as error:
        raise InputError(
            "a table holds UTF-8 alone, and the name of a file or class has other bytes "
            f"({error.object[max(0, error.start - 40) : error.end]!a}); rename it"
        ) from error
