"""The table labels.csv of a user's own images."""

import csv
import io
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ancor.data.files import ENDS, HOW_TO_READ, KINDS, folders_below, formats
from ancor.data.images import ImageFiles
from ancor.data.partition import Partition
from ancor.errors import InputError, MissingPartition, capped

NAME = "labels.csv"
COLUMNS = ("path", "coarse", "fine", "partition")
PARTITIONS = {
    "": "train",
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
}
DELIMITERS = ",;\t|"
# What others write where `PARTITIONS` stand; a column of nothing else is one of partitions.
PARTITION_WORDS = {*PARTITIONS, "training", "valid", "dev", "eval", "evaluation", "testing"}


class Row(NamedTuple):
    """A line of the table."""

    line: int
    path: str
    coarse: str
    fine: str
    partition: str


def load(
    partition: str,
    root: Path,
    table: Path,
    chosen: Mapping[str, str],
    *,
    allow_outside_root: bool = False,
    skip_bad_images: bool = False,
) -> Partition:
    """Read a partition in the order of the table's lines (see `ancor.data.datasets.folder`).

    Columns that `chosen` names stand for those that it says.
    """
    rows, notes = read(table, chosen)
    kept = [row for row in rows if row.partition == partition]
    if not kept:
        raise MissingPartition(
            f"{str(table)!r} has no line of the partition {partition!r}; add some in the column "
            "partition, take a share of the training images by `val_fraction` or `test_fraction`, "
            "or take another partition"
        )
    _check_paths(table, root, kept, allow_outside_root)
    if not skip_bad_images:
        _check_kinds(table, kept)
    with_fine = [bool(row.fine) for row in kept]
    if any(with_fine) and not all(with_fine):
        raise InputError(
            f"line {kept[with_fine.index(False)].line} of {str(table)!r} has no fine class and "
            f"others of the partition {partition!r} have one; give all of them or none"
        )
    training = [row.coarse for row in rows if row.partition == "train"]
    found = Partition.from_names(
        "folder",
        partition,
        ImageFiles([(str(root), [os.path.normpath(row.path) for row in kept])], upright=True),
        np.array([row.coarse for row in kept], dtype=object),
        np.array([row.fine for row in kept], dtype=object) if with_fine[0] else None,
        tuple(training if partition != "train" else ()),
        layout=repr(str(table)),
    )
    return replace(found, notes=(*notes, *_unlisted(table, root, rows, allow_outside_root)))


def read(table: Path, chosen: Mapping[str, str]) -> tuple[list[Row], list[str]]:
    """Read all lines, with columns renamed as `chosen` says, and what has to be said of them.

    Raises:
        InputError: the table is not in UTF-8, lacks a column or has one twice or of a wrong name;
            or a line has another number of fields, leaves path or coarse class empty, names
            another partition, or lists an image again.
    """
    header, records = _records(table, chosen)
    notes = _unread_columns(table, header, records)
    merged: dict[tuple[str, str], set[str]] = defaultdict(set)
    lines: dict[str, int] = {}
    rows = []
    for line, fields in records:
        given = dict(zip(header, fields, strict=True))
        row = _row(table, line, given)
        before = lines.setdefault(os.path.normpath(row.path), line)
        if before != line:
            raise InputError(
                f"{row.path!r} is listed twice in {str(table)!r}, lines {before} and {line}; "
                "an image has one line"
            )
        for level in ("coarse", "fine"):
            name = given.get(level, "")
            merged[level, name.strip()].add(name)
        rows.append(row)
    notes += [
        f"{capped(map(repr, sorted(forms)))} in {table.name} are one {level} class: outer blanks "
        "do not count"
        for (level, name), forms in merged.items()
        if name and len(forms) > 1
    ]
    broken = [name for _, name in merged if "\n" in name or "\r" in name]
    if broken:
        shown = capped(map(repr, broken))
        notes.append(f"class names of several lines in {table.name} (a quote too few?): {shown}")
    return rows, notes


def _records(
    table: Path, chosen: Mapping[str, str]
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the columns' names, and the fields of each line after its number."""
    records: list[tuple[int, list[str]]] = []
    end = 0
    try:
        text = table.read_bytes().decode("utf-8-sig")
        if "\0" in text:
            raise csv.Error("it holds zero bytes, as UTF-16 does")
        header, delimiter = _header(text, table, chosen)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        for fields in reader:
            if fields:
                records.append((end + 1, fields))
            end = reader.line_num  # a field in quotes may span several lines
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(
            f"{str(table)!r} cannot be read as CSV in UTF-8 (line {line}: byte "
            f"{error.object[error.start]:#x}); save it as such"
        ) from error
    except (OSError, csv.Error) as error:
        raise InputError(
            f"{str(table)!r} cannot be read as CSV in UTF-8 (line {end + 1}: {error}); save it as "
            "such"
        ) from error
    for line, fields in records[1:]:
        if len(fields) < len(header):
            raise InputError(
                f"line {line} of {str(table)!r} has no {header[len(fields)]}: it has "
                f"{len(fields)} of the {len(header)} fields of the first line; leave fields empty, "
                "but not out"
            )
        if len(fields) > len(header):
            raise InputError(
                f"line {line} of {str(table)!r} has {len(fields)} fields and the first line "
                f"{len(header)}; put a field that holds {delimiter!r} in quotes"
            )
    return header, records[1:]


def _header(text: str, table: Path, chosen: Mapping[str, str]) -> tuple[list[str], str]:
    """Return the columns' names and the delimiter: the one by which all needed ones are there."""
    column, found = {of: f"{of} (another is chosen)" for of in chosen.values()} | chosen, {}
    for delimiter in DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        names = (name.strip() for name in next(filter(None, reader), ()))
        found[delimiter] = [column.get(name, name) for name in names]
    needed = {name: name for name in COLUMNS[:2]} | {of: name for name, of in chosen.items()}
    fitting = [d for d, header in found.items() if needed.keys() <= set(header)]
    if len(fitting) > 1:
        raise InputError(
            f"the first line of {str(table)!r} can be split at {' or '.join(map(repr, fitting))}; "
            "use one of them only"
        )
    header = found[fitting[0]] if fitting else max(found.values(), key=len)
    missing = [name for of, name in needed.items() if of not in header]
    if missing:
        raise InputError(
            f"{str(table)!r} lacks the column {' and '.join(missing)}; its first line has "
            f"{capped(map(repr, header)) or 'none'}, and path,coarse[,fine][,partition] is needed"
        )
    twice = [needed.get(n, n) for n, count in Counter(header).items() if count > 1 and n]
    if twice:
        raise InputError(f"{str(table)!r} has the column {twice[0]!r} twice; keep one")
    return header, fitting[0]


def _unread_columns(
    table: Path, header: list[str], records: list[tuple[int, list[str]]]
) -> list[str]:
    """Return a note on columns that are not read; refuse those that were meant to be."""
    unread = [name for name in header if name not in COLUMNS]
    for name in unread:
        folded, position = name.casefold(), header.index(name)
        meant = folded if folded in COLUMNS else None
        if meant is None and "partition" not in header:
            values = {fields[position].strip().casefold() for _, fields in records} - {""}
            named = folded in ("set", "subset") or "split" in folded or "partition" in folded
            meant = "partition" if named or (values and values <= PARTITION_WORDS) else None
        if meant is not None:
            raise InputError(
                f"{str(table)!r} has the column {name!r}, which is not read; name it {meant!r} "
                "if it is that, or remove it"
            )
    if not unread:
        return []
    alone = "" if "partition" in header else "; without a column partition all lines are training"
    return [f"columns of {table.name} that are not read: {capped(map(repr, unread))}{alone}"]


def _row(table: Path, line: int, given: dict[str, str]) -> Row:
    fields = {name: given.get(name, "").strip() for name in COLUMNS}
    # A path keeps its blanks: they may belong to the file's name.
    row = Row(line, **fields | {"path": given["path"]})
    if not row.path.strip() or not row.coarse:
        raise InputError(
            f"line {line} of {str(table)!r} has no {'coarse' if row.path.strip() else 'path'}; "
            "every line needs both path and coarse"
        )
    if row.partition not in PARTITIONS:
        raise InputError(
            f"line {line} of {str(table)!r} has the partition {row.partition!r}; accepted: "
            "train, val, validation, test, or empty (train)"
        )
    return row._replace(partition=PARTITIONS[row.partition])


def _check_paths(table: Path, root: Path, rows: list[Row], allow_outside_root: bool) -> None:
    """Raise an InputError where files are missing or are outside the root."""
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
                    f"{row.path!r}, line {row.line} of {table.name}, is outside {str(root)!r}; "
                    "give `allow_outside_root` if that is meant"
                )
        if not os.path.isfile(path):
            missing.append(row)
    if missing:
        listed = capped(f"{row.path!r} (line {row.line})" for row in missing)
        listed += next(filter(None, (_nearby(root, row.path) for row in missing)), "")
        raise InputError(f"{len(missing)} files of {table.name} are not in {str(root)!r}: {listed}")


def _nearby(root: Path, path: str) -> str:
    """Tell of the file that was meant, where blanks, backslashes or Unicode forms hide it."""
    plain = path.strip().replace("\\", "/")
    for form in (plain, *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD"))):
        if form != path and os.path.isfile(os.path.join(root, form)):
            return f"; {path!a} is there as {form!a}: correct the column path"
    return ""


def _unlisted(table: Path, root: Path, rows: list[Row], allow_outside_root: bool) -> list[str]:
    """Return the line on images that are there and that no line of the table names."""
    real_folder = cache(os.path.realpath)
    listed: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        folder, name = os.path.split(os.path.join(root, os.path.normpath(row.path)))
        listed[real_folder(folder)].add(name)
    unlisted = []
    try:
        for folder, inside in folders_below(root, listed if allow_outside_root else ()):
            below = os.path.relpath(folder, real_folder(root))
            pictures = [*inside.images, *(n for n in inside.others if n.lower().endswith(ENDS))]
            missed = (name for name in pictures if name not in listed.get(folder, ()))
            unlisted += [os.path.normpath(os.path.join(below, name)) for name in missed]
    except InputError as error:
        return [f"not all images that {table.name} does not list could be counted: {error}"]
    if not unlisted:
        return []
    are = "image is" if len(unlisted) == 1 else "images are"
    named = capped(map(repr, sorted(unlisted)))
    return [f"{len(unlisted)} {are} not in {table.name} and not read: {named}"]


def _check_kinds(table: Path, rows: list[Row]) -> None:
    """Raise an InputError where images are of a kind that cannot be read here."""
    for kind in KINDS.keys() - set(formats()):
        found = [row for row in rows if row.path.lower().endswith(KINDS[kind])]
        if found:
            raise InputError(
                f"{len(found)} files of {str(table)!r} are {kind} images, {found[0].path!r} "
                f"first; {HOW_TO_READ[kind]}"
            )
