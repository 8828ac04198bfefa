"""What a test asks of a refusal: how it ended, that it is one line, and the names and values in it.

Sentences may be reworded. What was got, the flag or field, the file and what is accepted may not
get lost.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from ancor.errors import InputError

Word = str | re.Pattern  # a name, a value, a flag, a `field`, a file; or the form of one


def holds(text: str, word: Word) -> bool:
    """Tell whether a word stands whole in a text: 1 does not in 10, nor `lr` in `lr_step`."""
    if isinstance(word, re.Pattern):
        return bool(word.search(text))
    start = r"(?<!\w)" if re.match(r"\w", word) else ""
    end = r"(?!\w)" if re.search(r"\w$", word) else ""
    return bool(re.search(start + re.escape(word) + end, text))


def tells(text: str, *words: Word) -> bool:
    """Tell whether one line of a text holds all words."""
    return any(all(holds(line, word) for word in words) for line in text.splitlines())


def one_line(text: str, *words: Word) -> str:
    """Assert that a text is one line that holds all words, and return it."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].strip()
    missing = [word for word in words if not holds(lines[0], word)]
    assert not missing, f"{missing} not in {lines[0]}"
    return lines[0]


def refused(
    main: Callable[[Sequence[str]], int], argv: Sequence[str], capsys, *words: Word, status: int = 2
) -> str:
    """Assert that a command ends with a status and one line that holds all words; return it."""
    capsys.readouterr()
    try:
        found = main(argv)
    except SystemExit as ended:  # argparse's own way
        found = ended.code
    assert found == status
    return one_line(capsys.readouterr().err, *words)


@contextmanager
def refuses(*words: Word, kind: type[Exception] = InputError) -> Iterator[pytest.ExceptionInfo]:
    """Assert that a call raises an error of one line that holds all words.

    A `field` and the flag of its name are one word: the library knows fields, and a command shows
    flags in their place.
    """
    with pytest.raises(kind) as caught:
        yield caught
    one_line(_with_flags(str(caught.value)), *map(_with_flags, words))


def _with_flags(text: Word) -> Word:
    if isinstance(text, re.Pattern):
        return text
    return re.sub(r"`(\w+)`", lambda field: "--" + field[1].replace("_", "-"), text)
