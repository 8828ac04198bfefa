"""Text that strangers chose (names of classes, files and runs) in reports, tables and pictures."""

import csv
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# What makes a spreadsheet read a cell as a formula; the wide forms do in East Asian settings.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def printable(text: str) -> str:
    """Escape, as Python would, what breaks a line, steers a terminal or is no valid text.

    Escaped are control characters, line breaks, marks that turn the direction of writing, and the
    bytes of a file's name that are not UTF-8; blanks of other scripts stay.
    """
    return "".join(
        c
        if c.isprintable() or unicodedata.category(c) == "Zs"
        else c.encode("unicode_escape").decode()
        for c in text
    )


def shortened(name: str, most: int) -> str:
    """Return a name of at most `most` characters, cut with an ellipsis."""
    return name if len(name) <= most else name[: most - 1] + "…"


def write_csv(path: Path | str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table in UTF-8 that spreadsheets read as data.

    Strings are printable, and have an apostrophe in front where they would be formulas; numbers are
    written as they are. A string that is a formatted number must not begin with a sign.

    Raises:
        OSError: it cannot be written.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return ("'" if value.startswith(FORMULA) else "") + printable(value)
