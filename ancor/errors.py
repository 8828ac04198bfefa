"""The ways in which a command ends badly."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Any

LONGEST = 100  # characters of a value that are shown, and of a name that is compared


class InputError(ValueError):
    """A mistake in what was given: an argument, a file, a folder.

    The message is one line: the offending value, what is accepted, and what to do. The scripts
    print it to stderr and exit with status 2.
    """


class MissingPartition(InputError):
    """A dataset that has no such partition, or none of which the labels are known.

    Training takes it for an answer (it goes on without validation), evaluation for a mistake.
    """


class RunError(RuntimeError):
    """A run that started well and failed (a loss that is not finite, data that vanished).

    The scripts print the message to stderr and exit with status 1.
    """


class Interrupted(Exception):
    """A signal asked a run to stop, and it did, having saved.

    The scripts print the message to stderr and exit with status 128 + `number`.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


def choose(what: str, value: str, accepted: Collection[str]) -> str:
    """Return `value` if it is one of `accepted`, else raise an InputError that lists them."""
    if type(value).__hash__ is None or value not in accepted:  # a list, as files may hold
        shown = capped(sorted(accepted), most=20)  # class names may be thousands
        near = did_you_mean(value, accepted)
        raise InputError(f"{what} {value!r:.{LONGEST}} is not known{near}; accepted: {shown}")
    return value


def did_you_mean(value: Any, accepted: Iterable[str]) -> str:
    """Return `, did you mean X?` for accepted names like a value, else nothing.

    They begin with the value (up to three do), or nearly match it, or have it inside.
    """
    text = _plain(value)
    if not 0 < len(text) <= LONGEST:
        return ""
    names = {_plain(name): name for name in accepted if len(name) <= LONGEST}
    longer = [name for name in names if name.startswith(text)]
    close = get_close_matches(text, names, n=1, cutoff=0.7)
    inside = [name for name in names if len(text) > 2 and text in name]
    near = next((found for found in (longer, close, inside) if 0 < len(found) <= 3), [])
    return f", did you mean {' or '.join(names[name] for name in near)}?" if near else ""


def _plain(name: Any) -> str:
    """Return a name without what is easily mistaken: case, `_` for `-`, the dashes of a flag."""
    return str(name).lower().replace("_", "-").lstrip("-")


def capped(words: Iterable[str], most: int = 5) -> str:
    """Join words for a message: the first `most`, each cut if long, and how many more there are."""
    rest = iter(words)
    shown = ", ".join(_cut(word) for word in islice(rest, most))
    more = sum(1 for _ in rest)
    return f"{shown} and {more} more" if more else shown


def _cut(word: str) -> str:
    return word if len(word) <= 2 * LONGEST else f"{word[: 2 * LONGEST]}..."


def lacks_memory(error: Exception) -> bool:
    """Tell whether an allocation failed; torch has no type of its own for the CPU's."""
    named = ("can't allocate memory", "out of memory", "Cannot allocate memory")
    return isinstance(error, MemoryError) or any(text in str(error) for text in named)
