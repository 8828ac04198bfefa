"""Grocery Store (Klasson, Zhang and Kjellstrom, WACV 2019, arXiv 1901.00711): shelves in shops.

81 products in 43 kinds (the paper counts 42), photographed by telephones. Of 31 kinds there is one
product alone: they train, and are in 5-way and all-way episodes, but in no intra-class one.
"""

import csv
import os
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ancor.data import files
from ancor.data.hierarchy import Hierarchy
from ancor.data.images import ImageFiles
from ancor.data.partition import Partition
from ancor.errors import InputError, capped

ADDRESS = "https://github.com/marcusklasson/GroceryStoreDataset"
CLONE = "GroceryStoreDataset"
INSIDE = "dataset"  # the clone's folder of what is read here
TABLE = "classes.csv"
FILES = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
LAYOUT = f"the clone of {ADDRESS}, or its folder 'dataset': {TABLE}, train.txt, val.txt, test.txt"
COLUMNS = (
    "Class Name (str)",
    "Class ID (int)",
    "Coarse Class Name (str)",
    "Coarse Class ID (int)",
)


class Row(NamedTuple):
    """A line of a partition's list: a path below the folder, and its labels."""

    path: str
    fine: int
    coarse: int


def load(partition: str, root: str | None, *, download: bool = False) -> Partition:
    """Read a partition, images in the order of the authors' list."""
    if download and (root is None or not is_there(Path(root))):
        files.clone("grocery", root, ADDRESS, CLONE)
    folder = _folder(files.required_root("grocery", root, LAYOUT))
    hierarchy = _hierarchy(folder / TABLE)
    path = folder / FILES[partition]
    rows = _rows(path, hierarchy)
    split = [os.path.split(row.path) for row in rows]
    listed = [
        (os.path.join(folder, inside), [name for _, name in of])
        for inside, of in groupby(split, lambda pair: pair[0])
    ]
    missing = [row.path for row in rows if not (folder / row.path).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(rows)} images that {str(path)!r} lists are not in "
            f"{str(folder)!r}: {capped(map(repr, missing))}; fetch them again from {ADDRESS}"
        )
    fine = np.array([row.fine for row in rows])
    return Partition.from_fine(
        "grocery", partition, ImageFiles(listed), fine, hierarchy, layout=repr(str(path))
    )


def is_there(root: Path) -> bool:
    """Tell whether a folder holds the data."""
    return any(map(_complete, _places(root)))


def _places(root: Path) -> tuple[Path, ...]:
    return root, root / INSIDE, root / CLONE / INSIDE


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (TABLE, *FILES.values()))


def _folder(root: Path) -> Path:
    for folder in _places(root):
        if _complete(folder):
            return folder
    raise InputError(
        f"no {TABLE}, train.txt, val.txt and test.txt of Grocery Store in {str(root)!r} or its "
        f"folder {INSIDE!r}; git clone {ADDRESS} there, or give `download`"
    )


def _lines(path: Path) -> list[list[str]]:
    """Read the fields of each line, without outer blanks; empty lines are passed over."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            found = [[field.strip() for field in line] for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {str(path)!r} ({error}); fetch it again") from error
    return found


def _hierarchy(path: Path) -> Hierarchy:
    """Read the table of classes; both levels are numbered from 0 without gaps."""
    header, *lines = _lines(path) or [[]]
    if not set(COLUMNS) <= set(header):
        raise InputError(
            f"the first line of {str(path)!r} is {capped(map(repr, header)) or 'empty'}; expected "
            f"the columns {', '.join(COLUMNS)}: fetch it again"
        )
    places = [header.index(name) for name in COLUMNS]
    fine: dict[int, tuple[str, int]] = {}
    coarse: dict[int, str] = {}
    for line in lines:
        try:
            name, number, kind, of = (line[place] for place in places)
            given = (name, int(of)), kind
            known = fine.setdefault(int(number), given[0]), coarse.setdefault(int(of), kind)
        except (IndexError, ValueError) as error:
            raise InputError(
                f"{str(path)!r} has the line {','.join(line)!r:.80}; expected a name and a number "
                "of the class, and of its coarse class: fetch it again"
            ) from error
        if known != given:
            raise InputError(
                f"{str(path)!r} gives class {number} or coarse class {of} two names; fetch it again"
            )
    for numbers in (fine, coarse):
        if sorted(numbers) != list(range(len(numbers))) or not numbers:
            raise InputError(
                f"{str(path)!r} numbers its classes {capped(map(str, sorted(numbers))) or 'not'}; "
                "expected 0, 1, 2 and so on: fetch it again"
            )
    table = [fine[number] for number in range(len(fine))]
    return Hierarchy(
        coarse_names=tuple(coarse[number] for number in range(len(coarse))),
        fine_names=tuple(name for name, _ in table),
        coarse_of_fine=tuple(number for _, number in table),
    )


def _rows(path: Path, hierarchy: Hierarchy) -> list[Row]:
    """Read a partition's list, whose labels have to be those of the table of classes."""
    rows = []
    for line in _lines(path):
        try:
            name, fine, coarse = line
            row = Row(os.path.normpath(name), int(fine), int(coarse))
        except ValueError as error:
            raise InputError(
                f"{str(path)!r} has the line {', '.join(line)!r:.80}; expected a path, the number "
                "of its class and that of its coarse class: fetch it again"
            ) from error
        if os.path.isabs(row.path) or row.path.startswith(os.pardir):
            raise InputError(
                f"{str(path)!r} lists {name!r:.80}, which is outside its folder; fetch it again"
            )
        known = 0 <= row.fine < hierarchy.num_fine
        if not known or hierarchy.coarse_of_fine[row.fine] != row.coarse:
            raise InputError(
                f"{str(path)!r} gives {row.path!r} the classes {row.fine} and {row.coarse}, which "
                f"{TABLE} does not have together; fetch both again"
            )
        rows.append(row)
    return rows
