"""Configurations from plain containers, which a file brought and anybody may have written."""

from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ancor.errors import InputError, did_you_mean

T = TypeVar("T")


def from_dict(kind: type[T], values: Any, source: str) -> T:
    """Build a dataclass from a mapping of its fields, of which some may be missing.

    Lists, which JSON makes of tuples, become tuples again.

    Args:
        kind: a dataclass of plain fields.
        values: what should be such a mapping.
        source: what errors call the place that it came from.

    Raises:
        InputError: it is no mapping, or a field is not known or of another type.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{source}: {values!r:.80} is not a table of settings; use another file")
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    for name, value in values.items():
        if name not in known:
            raise InputError(
                f"{source}: setting {name!r:.80} is not known{did_you_mean(name, known)}; known: "
                f"{', '.join(known)}"
            )
        if not fits(value, hints[name]):
            raise InputError(
                f"{source}: setting {name!r}: expected {type_name(hints[name])}, got "
                f"{value!r:.80}; fix the file, or use another"
            )
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def fits(value: Any, hint: Any) -> bool:
    """Return whether a plain value is what a type hint asks for."""
    if get_origin(hint) in (Union, UnionType):
        return any(fits(value, part) for part in get_args(hint))
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        if not isinstance(value, list | tuple):
            return False
        if parts[-1] is Ellipsis:
            return all(fits(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(map(fits, value, parts))
    if type(value) is int and abs(value) >= 2**63:
        return False
    if hint is float:
        return type(value) in (int, float)
    if isinstance(value, str) and "\0" in value:  # which no path and no name can have
        return False
    return type(value) is (type(None) if hint is None else hint)


def type_name(hint: Any) -> str:
    """Name a type hint for messages."""
    return getattr(hint, "__name__", str(hint)) if get_origin(hint) is None else str(hint)
