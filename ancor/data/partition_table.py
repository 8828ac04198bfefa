"""Which image is in which partition, as a table that can be read again in place of a drawing."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ancor.data import division
from ancor.data.config import DataConfig
from ancor.data.datasets import labels_csv
from ancor.data.images import ImageFiles
from ancor.data.packed import PackedImages
from ancor.errors import InputError
from ancor.runtime.text import write_csv
from ancor.safe_io.writing import output_path


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
    """Write which training image is in which partition, as a labels.csv that `labels` reads.

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
    found = division.assigned(whole, config.shares, config.partition_seed)
    levels = {"coarse": whole.coarse_labels}
    if whole.fine_labels is not None:
        levels["fine"] = whole.fine_labels
    names = [[whole.hierarchy.names(level)[n] for n in of] for level, of in levels.items()]
    paths = [whole.images.name(index) for index in range(len(whole))]
    if isinstance(whole.images, ImageFiles) and config.root is not None:
        paths = [os.path.relpath(each, config.root) for each in paths]
    if isinstance(whole.images, PackedImages):  # of the folder that was packed
        paths = [whole.images.path(index) for index in range(len(whole))]
    write_table(path, ["path", *levels, "partition"], zip(paths, *names, found, strict=True))
    return dict(Counter(found.tolist()))


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
