"""An extension of griffe for `make docs`: in a docstring, `mean, std:` names two parameters."""

import re
from typing import Any

import griffe

JOINED = re.compile(r"^( +)(\*{0,2}\w+(?:, \*{0,2}\w+)+): \S")


class SplitNames(griffe.Extension):
    """Give each name of a joined item of a docstring an item of its own."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object that griffe has read."""
        if obj.docstring is not None:
            obj.docstring.value = split_names(obj.docstring.value)


def split_names(text: str) -> str:
    """Return a docstring in which every item has one name."""
    lines, made = text.splitlines(), []
    while lines:
        line = lines.pop(0)
        joined = JOINED.match(line)
        if joined is None:
            made.append(line)
            continue
        indent, names = joined[1], joined[2].split(", ")
        rest = [line.partition(":")[2]]
        while lines and lines[0].startswith(f"{indent} "):
            rest.append(lines.pop(0))
        made += [part for name in names for part in (f"{indent}{name}:{rest[0]}", *rest[1:])]
    return "\n".join(made)
