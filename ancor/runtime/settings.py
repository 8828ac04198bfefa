"""A setting in one place: a dataclass field with its default, its help, its flag and its check.

Nothing here imports torch: command lines are parsed before it is needed.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, get_type_hints

from ancor.errors import InputError, choose
from ancor.runtime.from_dict import fits, type_name


@dataclass(frozen=True)
class Check:
    """What a value has to be.

    Attributes:
        holds: whether a value is accepted.
        expected: what is expected, in words that follow "expected".
        names: the accepted values that a message lists, where they are names.
    """

    holds: Callable[[Any], bool]
    expected: str
    names: Collection[str] = ()

    def require(self, what: str, value: Any) -> None:
        """Raise an InputError where a value, or an item of a tuple, is not accepted."""
        items = value if isinstance(value, tuple | list) else (value,)
        if self.names:
            for item in items:
                if not self.holds(item):
                    choose(what, item, self.names)
        elif not all(map(self.holds, items)):
            shown = " ".join(map(str, items))
            raise InputError(f"{what} {shown:.80}: expected {self.expected}")


@dataclass(frozen=True)
class Setting:
    """What a field says of itself.

    Attributes:
        help: what the setting does, as `--help` shows it.
        check: what its value has to be; None, the value, is never checked.
        flags: its flags, if they are not the field's name alone.
        group: the group of `--help` that lists it.
        metavar: how `--help` calls the value.
        negatable: whether `--no-<flag>` turns it off.
        unset: what `--help` says of a default that is None; empty: nothing.
        const: the value of a flag that is given without one; None: it takes one.
    """

    help: str
    check: Check | None = None
    flags: tuple[str, ...] = ()
    group: str = ""
    metavar: str | tuple[str, ...] | None = None
    negatable: bool = False
    unset: str = ""
    const: Any = None


def setting(
    default: Any, help: str, check: Check | None = None, *, kw_only: bool = False, **about: Any
) -> Any:
    """Make a dataclass field that is a setting; `about` goes to `Setting`."""
    metadata = {"setting": Setting(help, check, **about)}
    return field(default=default, metadata=metadata, kw_only=kw_only)


def settings_of(kind: type) -> dict[str, tuple[Field, Setting]]:
    """Return the settings among a dataclass's fields, by name."""
    return {f.name: (f, f.metadata["setting"]) for f in fields(kind) if "setting" in f.metadata}


def defaults_of(kind: type) -> dict[str, Any]:
    """Return the defaults of a dataclass's fields that have one."""
    return {f.name: f.default for f in fields(kind) if f.default is not MISSING}


_FLAGS: dict[str, str] = {}  # of the command that runs, by setting


def show_as(flags: Mapping[str, str]) -> None:
    """Let messages show a command's flags for the settings that they name."""
    _FLAGS.clear()
    _FLAGS.update(flags)


def with_flags(message: str) -> str:
    """Return a message with flags, if a command runs, for the settings that backticks name."""

    def shown(found: re.Match) -> str:
        name, flag = found[1], _FLAGS.get(found[1].removeprefix("no_"))
        if flag is None or name in _FLAGS:
            return _FLAGS.get(name, found[0])
        return f"{flag[:2]}no-{flag[2:]}"

    return re.sub(r"`(\w+)`", shown, message)


def check_settings(config: Any) -> None:
    """Raise an InputError for the first setting of a dataclass whose type or check does not hold.

    A message names the field in backticks; a command shows the field's flag in its place.
    """
    hints = get_type_hints(type(config))
    for name, (_, about) in settings_of(type(config)).items():
        value = getattr(config, name)
        if not fits(value, hints[name]):
            expected = about.check.expected if about.check else type_name(hints[name])
            shown = as_words(value) if isinstance(value, tuple | list) else repr(value)
            raise InputError(f"`{name}` {shown:.80}: expected {expected}")
        if value is not None and about.check is not None:
            about.check.require(f"`{name}`", value)


def as_words(value: Any) -> str:
    """Write a value as a command has it, the items of a tuple one after the other."""
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def as_typed(name: str, value: Any) -> str:
    """Write a setting as a command has it, its name in backticks, which `with_flags` replaces.

    One that is on or off has no value: `mlp`, `no_mlp`.
    """
    if isinstance(value, bool):
        return f"`{name}`" if value else f"`no_{name}`"
    return f"`{name}` {as_words(value)}".rstrip()


def at_least(low: int | float) -> Check:
    """Accept finite numbers from `low` on."""
    return Check(lambda value: low <= value < math.inf, f"{low} or more")


def above(low: int | float) -> Check:
    """Accept finite numbers above `low`."""
    return Check(lambda value: low < value < math.inf, f"a finite number above {low}")


def between(low: int | float, high: int | float) -> Check:
    """Accept numbers from `low` to `high`."""
    return Check(lambda value: low <= value <= high, f"{low} to {high}")


def one_of(names: Collection[str]) -> Check:
    """Accept some names, and those that a table of them is given later."""
    return Check(lambda value: value in names, f"one of {', '.join(names)}", names)
