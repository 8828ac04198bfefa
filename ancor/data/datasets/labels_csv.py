"""The table labels.csv of a user's own images."""

import csv
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ancor.errors import InputError, MissingPartition

if TYPE_CHECKING:
    from ancor.data.catalog import DataConfig
    from ancor.data.partition import Partition

NAME = "labels.csv"
COLUMNS = ("path", "coarse", "fine", "partition")
PARTITIONS = {
    "": "train",
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
}


class Row(NamedTuple):
    """A line of the table."""

    line: int
    path: str
    coarse: str
    fine: str
    partition: str


def load(config: "DataConfig", root: Path, partition: str) -> "Partition":
    """Read a partition in the order of the table's lines (see `ancor.data.datasets.folder`)."""
    from ancor.data.datasets.folder import labelled
    from ancor.data.images import ImageFiles

    table = root / NAME
    rows = read(table)
    kept = [row for row in rows if row.partition == partition]
    if not kept:
        raise MissingPartition(
            f"{str(table)!r} has no line of the partition {partition!r}; add some in the column "
            "partition, or use another --partition"
        )
    _check_paths(root, kept, config.allow_outside_root)
    with_fine = [bool(row.fine) for row in kept]
    if any(with_fine) and not all(with_fine):
        raise InputError(
            f"line {kept[with_fine.index(False)].line} of {str(table)!r} has no fine class and "
            f"others of the partition {partition!r} have one; give all of them or none"
        )
    training = [row.coarse for row in rows if row.partition == "train"]
    return labelled(
        config,
        partition,
        ImageFiles([(str(root), [os.path.normpath(row.path) for row in kept])], upright=True),
        np.array([row.coarse for row in kept], dtype=object),
        np.array([row.fine for row in kept], dtype=object) if with_fine[0] else None,
        tuple(training if partition != "train" else ()),
        layout=repr(str(table)),
    )


def read(table: Path) -> list[Row]:
    """Read all lines.

    Raises:
        InputError: the table is not CSV in UTF-8, lacks a column, leaves a path or coarse class
            empty, names another partition, or lists an image twice.
    """
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            rows = list(_rows(csv.DictReader(file), table))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{str(table)!r} cannot be read as CSV in UTF-8 ({error}); save it as such"
        ) from error
    seen: dict[str, int] = {}
    for row in rows:
        before = seen.setdefault(os.path.normpath(row.path), row.line)
        if before != row.line:
            raise InputError(
                f"{row.path!r} is listed twice in {str(table)!r}, lines {before} and {row.line}; "
                "an image has one line"
            )
    return rows


def _rows(reader: csv.DictReader, table: Path) -> Iterator[Row]:
    header = tuple(name.strip() for name in reader.fieldnames or ())
    reader.fieldnames = list(header)
    missing = [name for name in COLUMNS[:2] if name not in header]
    if missing:
        raise InputError(
            f"{str(table)!r} lacks the column {' and '.join(missing)}; its first line is "
            f"{','.join(header)!r}, and path,coarse[,fine][,partition] is needed"
        )
    for record in reader:
        fields = {name: (record.get(name) or "").strip() for name in COLUMNS}
        # A path keeps its spaces: they may belong to the file's name.
        row = Row(reader.line_num, **fields | {"path": record["path"] or ""})
        if not row.path or not row.coarse:
            raise InputError(
                f"line {row.line} of {str(table)!r} has no {'coarse' if row.path else 'path'}; "
                "every line needs both path and coarse"
            )
        if row.partition not in PARTITIONS:
            raise InputError(
                f"line {row.line} of {str(table)!r} has the partition {row.partition!r}; accepted: "
                "train, val, validation, test, or empty (train)"
            )
        yield row._replace(partition=PARTITIONS[row.partition])


def _check_paths(root: Path, rows: list[Row], allow_outside_root: bool) -> None:
    """Raise an InputError where files are missing or lie outside the root."""
    home = os.path.realpath(root)
    real_folder = cache(os.path.realpath)
    missing = []
    for row in rows:
        path = os.path.join(root, os.path.normpath(row.path))
        if not allow_outside_root:
            folder, name = os.path.split(path)
            real = os.path.join(real_folder(folder), name)
            real = os.path.realpath(real) if os.path.islink(real) else real
            if os.path.commonpath([home, real]) != home:
                raise InputError(
                    f"{row.path!r}, line {row.line} of {NAME}, lies outside {str(root)!r}; give "
                    "--allow-outside-root if that is meant"
                )
        if not os.path.isfile(path):
            missing.append(row)
    if missing:
        raise InputError(
            f"{len(missing)} files of {NAME} are not in {str(root)!r}: "
            + ", ".join(f"{row.path!r} (line {row.line})" for row in missing[:5])
            + (", ..." if len(missing) > 5 else "")
        )
