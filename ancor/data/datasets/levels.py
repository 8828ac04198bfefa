"""Folders of any depth, of which two levels are the coarse and the fine classes."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ancor.data.files import listing
from ancor.errors import InputError


class Leaf(NamedTuple):
    """A folder of images, with its coarse class and, where known, its fine class (else empty)."""

    coarse: str
    fine: str
    folder: str
    images: list[str]


def read_levels(
    folder: Path, coarse_level: str | None, fine_level: str | None, others: list[str]
) -> list[Leaf]:
    """List the folders of images below a folder, all as deep; files not read go to `others`.

    Args:
        folder: whose entries are level 1.
        coarse_level: number of a level; None: 1.
        fine_level: likewise, below it; None: the lowest.
        others: is extended.

    Raises:
        InputError: folders are not as deep as each other, there is no such level, or a level that
            is chosen has a name in two places.
    """
    leaves = list(_leaves(folder, (), others))
    depths = {len(parts): parts for parts, _ in leaves}
    if len(depths) > 1:
        shallow, deep = (depths[pick(depths)] for pick in (min, max))
        raise InputError(
            f"{str(folder.joinpath(*shallow))!r} is at level {len(shallow)} and "
            f"{str(folder.joinpath(*deep))!r} at {len(deep)}; with `coarse_level` or `fine_level` "
            "all folders of images have to be as deep"
        )
    depth = max(depths, default=0)
    coarse = _number("coarse_level", coarse_level or "1", depth)
    fine = depth if fine_level is None else _number("fine_level", fine_level, depth)
    if fine < coarse or (fine == coarse and fine_level is not None):
        raise InputError(
            f"`fine_level` {fine} is not below `coarse_level` {coarse}; expected a higher number, "
            f"up to {depth}"
        )
    for level in {coarse, fine}:
        _check_names(folder, level, [parts for parts, _ in leaves])
    return [
        Leaf(
            parts[coarse - 1],
            parts[fine - 1] if fine > coarse else "",
            str(folder.joinpath(*parts)),
            images,
        )
        for parts, images in leaves
    ]


def chosen_columns(levels: tuple[str | None, str | None]) -> dict[str, str]:
    """Return which columns of a table are `coarse` and `fine`; level 2 is the column `level2`."""
    given = zip(levels, ("coarse", "fine"), strict=True)
    return {f"level{name}" if name.isdigit() else name: of for name, of in given if name}


def _leaves(
    folder: Path, parts: tuple[str, ...], others: list[str]
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield the names on the way to each folder of images, and its images."""
    place = folder.joinpath(*parts)
    inside = listing(place)
    others += inside.others
    if inside.images and (inside.folders or not parts):
        beside = inside.folders[0] if inside.folders else "no class folder"
        raise InputError(
            f"{str(place / inside.images[0])!r} is beside {beside!r}; move images into the folders "
            "of the lowest level"
        )
    if not inside.folders and parts:
        yield parts, inside.images
    for name in inside.folders:
        yield from _leaves(folder, (*parts, name), others)


def _number(setting: str, text: str, depth: int) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= depth:
        raise InputError(
            f"`{setting}` {text!r:.80}: expected the number of a level of folders, 1 to {depth}; "
            "names are columns of labels.csv, which is not there"
        )
    return int(text)


def _check_names(folder: Path, level: int, ways: list[tuple[str, ...]]) -> None:
    """Raise an InputError where one name stands for two classes of a level."""
    seen: dict[str, tuple[str, ...]] = {}
    for parts in ways:
        way = parts[:level]
        before = seen.setdefault(way[-1], way)
        if before != way:
            raise InputError(
                f"{str(folder.joinpath(*before))!r} and {str(folder.joinpath(*way))!r} are two "
                f"folders of level {level} with one name, and classes are known by it; rename one"
            )
