"""Text that strangers chose (names of classes, files and runs) in reports, tables and pictures."""

import codecs
import csv
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ancor.errors import InputError
from ancor.safe_io.writing import result_file

LONGEST_LINE = 4000  # characters of a message, which may hold anybody's names
# What makes a spreadsheet read a cell as a formula; the wide forms do in East Asian settings.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
NEGATIVE = re.compile(r"-\d+(\.\d+)?", re.ASCII)  # a formatted number, which no formula is


def printable(text: object, most: int | None = None) -> str:
    """Escape, as Python would, what breaks a line, steers a terminal or is no valid text.

    Escaped are control characters, line breaks, marks that turn the direction of writing, and the
    bytes of a file's name that are not UTF-8; blanks of other scripts stay.

    Args:
        text: a string, or another plain value, of which the repr is taken.
        most: characters to show; None: all.
    """
    text = text if isinstance(text, str) else repr(text)
    if most is not None and len(text) > most:
        text = text[: most - 3] + "..."
    return "".join(
        c
        if c.isprintable() or unicodedata.category(c) == "Zs"
        else c.encode("unicode_escape").decode()
        for c in text
    )


def megabytes(size: int) -> str:
    """Write a size in bytes for people."""
    return f"{size / 2**20:,.1f} MB"


def check_utf8(what: str, path: Path | str) -> None:
    """Raise an InputError where a folder for TensorBoard has a name that is not UTF-8.

    Everything else reads and writes such names, which Linux allows.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} {str(path)!r} is not UTF-8, and TensorBoard's files can have no other name; "
            "name another folder"
        ) from error


def shortened(name: str, most: int) -> str:
    """Return a name of at most `most` characters, cut before its end: that often tells it apart."""
    end = most // 3
    return name if len(name) <= most else f"{name[: most - 1 - end]}…{name[len(name) - end :]}"


def installed_name() -> str | None:
    """Return how the program was called if not by a script: `ancor` or `python -m ancor`."""
    called = Path(sys.argv[0])
    if called.stem == "ancor":
        return "ancor"
    return "python -m ancor" if called.parts[-2:] == ("ancor", "__main__.py") else None


def command_line(command: str, *words: object) -> str:
    """Write a command with a script of its own for a shell, called as this program was."""
    shown = installed_name()
    if shown is None:
        script = Path(sys.argv[0] or "python").with_name(f"{command}.py")
        shown = f"python {shlex.quote(str(script if script.is_file() else script.name))}"
    else:
        shown += f" {command}"
    return f"{shown} {shlex.join(map(str, words))}"


def columns(rows: Sequence[Sequence[str]], right: int = 0) -> Iterator[str]:
    """Yield rows of words (R, C) as lines, the words of a column below each other.

    Args:
        rows: of equal length.
        right: how many columns, counted from the last, are moved to the right, as numbers are.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        left = len(row) - right
        words = [*map(str.ljust, row[:left], widths), *map(str.rjust, row[left:], widths[left:])]
        yield "  ".join(words).rstrip()


def write_csv(
    path: Path | str,
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
    read_again: bool = False,
) -> None:
    """Write a table in UTF-8 that spreadsheets read as data.

    Strings are printable, and have an apostrophe in front where they would be formulas; numbers,
    formatted ones too, are written as they are. Each line is written as it comes.

    Args:
        path: the table's.
        header: names of the columns.
        rows: the lines.
        read_again: whether this toolkit reads it, as its strings are.

    Raises:
        OSError: it cannot be written.
        UnicodeEncodeError: a string that is read again is no text.
    """
    with result_file(path) as file:
        text = codecs.getwriter("utf-8")(file)
        writer = csv.writer(text, lineterminator="\n" if read_again else "\r\n")
        writer.writerow(header)
        writer.writerows(rows if read_again else ([_cell(value) for value in row] for row in rows))


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    formula = value.startswith(FORMULA) and not NEGATIVE.fullmatch(value)
    return ("'" if formula else "") + printable(value)
