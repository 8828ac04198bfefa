"""Grocery's photographs in folders, as somebody has them who knows the kinds and no more."""

import csv
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.shared import shared


class Photograph(NamedTuple):
    """A file, its kind, such as Milk, and its product, such as Arla-Standard-Milk."""

    path: Path
    coarse: str
    fine: str


def photographs(part: str) -> Iterator[Photograph]:
    """Yield the photographs of a partition, in the order of its list."""
    root = shared("grocery/dataset")
    with open(root / "classes.csv", newline="", encoding="utf-8") as file:
        rows = {int(row["Class ID (int)"]): row for row in csv.DictReader(file)}
    for line in (root / f"{part}.txt").read_text().splitlines():
        path, fine, _ = (each.strip() for each in line.split(","))
        row = rows[int(fine)]
        yield Photograph(root / path, row["Coarse Class Name (str)"], row["Class Name (str)"])


def lay_out_kinds(folder: Path, kinds: Collection[str]) -> int:
    """Copy the training photographs of some kinds, a folder each; return how many there are."""
    chosen = [each for each in photographs("train") if each.coarse in kinds]
    for each in chosen:
        _copy(each.path, folder / each.coarse)
    return len(chosen)


def lay_out_products(folder: Path, names: dict[str, str]) -> int:
    """Copy the test photographs of some products into folders of names; return how many."""
    chosen = [each for each in photographs("test") if each.fine in names]
    for each in chosen:
        _copy(each.path, folder / names[each.fine])
    return len(chosen)


def product_of(path: str) -> str:
    """Return the product that a training photograph's name tells."""
    return Path(path).stem.rpartition("_")[0]


def _copy(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / path.name)
