"""Flags made of settings."""

import argparse
from collections.abc import Iterable, Mapping
from functools import partial
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ancor.runtime.settings import Setting, as_words, settings_of

METAVARS = {int: "N", float: "X", str: "NAME"}


def add_settings(
    parser: argparse.ArgumentParser,
    kind: type,
    group: str,
    only: Iterable[str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    filled: bool = False,
    **about: str,
) -> argparse._ArgumentGroup:
    """Add a flag for each setting of a dataclass.

    Args:
        parser: where flags go, into groups by title.
        kind: the dataclass; the name of a field is the flag's `dest`.
        group: the group of settings that name none.
        only: names of the settings; None: all. Those that the parser has are passed over.
        defaults: what `--help` shows instead of the fields' defaults.
        filled: whether a flag that is not given has its field's default, or else the parser's
            `argument_default`.
        about: other words for `--help`, by name.

    Returns:
        The group.
    """
    hints = get_type_hints(kind)
    taken = {action.dest for action in parser._actions}
    for name, (field, setting) in settings_of(kind).items():
        if name in taken or (only is not None and name not in only):
            continue
        default = (defaults or {}).get(name, field.default)
        help_text = about.get(name, setting.help) + _default(default, setting)
        flags = setting.flags or (f"--{name.replace('_', '-')}",)
        options = _options(hints[name], setting)
        group_of(parser, setting.group or group).add_argument(
            *flags,
            dest=name,
            default=field.default if filled else parser.argument_default,
            help=help_text,
            **options,
        )
    return group_of(parser, group)


def group_of(parser: argparse.ArgumentParser, title: str) -> argparse._ArgumentGroup:
    """Return the parser's group of a title, a new one if there is none."""
    found = (group for group in parser._action_groups if group.title == title)
    return next(found, None) or parser.add_argument_group(title)


def flags_of(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return the first long flag of each setting that a parser has."""
    return {
        action.dest: flag
        for action in parser._actions
        for flag in reversed(action.option_strings)
        if flag.startswith("--")
    }


def _default(default: Any, setting: Setting) -> str:
    if default is None:
        return f" (default: {setting.unset})" if setting.unset else ""
    if default is False:
        return ""
    return f" (default: {as_words(default)})"


def _number_or_word(kind: type, text: str) -> Any:
    """Return a number of a kind; what is none stays text, which the setting's check judges."""
    try:
        return kind(text)
    except ValueError:
        return text


def _options(hint: Any, setting: Setting) -> dict[str, Any]:
    """Return how argparse reads a value of a type."""
    if get_origin(hint) in (Union, UnionType):
        hint, *others = (part for part in get_args(hint) if part is not type(None))
        if str in others:  # such as auto in place of a number
            return {"type": partial(_number_or_word, hint), "metavar": setting.metavar}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction if setting.negatable else "store_true"}
    options: dict[str, Any] = {}
    if setting.const is not None:
        options = {"nargs": "?", "const": setting.const}
    if get_origin(hint) is tuple:
        hint, *others = get_args(hint)
        some = "+" if setting.check is not None else "*"
        options["nargs"] = some if others == [Ellipsis] else 1 + len(others)
    return options | {"type": hint, "metavar": setting.metavar or METAVARS[hint]}
