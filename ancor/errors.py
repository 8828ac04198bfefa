"""The ways in which a command ends badly."""

import pickle
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Any

# What an unpickler may raise on bytes that are no whole pickle.
BROKEN_PICKLE = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
)


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
    if value not in accepted:
        shown = capped(sorted(accepted), most=20)  # class names may be thousands
        near = did_you_mean(value, accepted)
        raise InputError(f"{what} {value!r} is not known{near}; accepted: {shown}")
    return value


def did_you_mean(value: Any, accepted: Iterable[str]) -> str:
    """Return `, did you mean X?` for the accepted name that nearly matches, else nothing."""
    plain = {name.lower().replace("_", "-"): name for name in accepted}
    near = get_close_matches(str(value).lower().replace("_", "-"), plain, n=1, cutoff=0.7)
    return f", did you mean {plain[near[0]]}?" if near else ""


def capped(words: Iterable[str], most: int = 5) -> str:
    """Join words for a message: the first `most`, and how many more there are."""
    rest = iter(words)
    shown = ", ".join(islice(rest, most))
    more = sum(1 for _ in rest)
    return f"{shown} and {more} more" if more else shown
