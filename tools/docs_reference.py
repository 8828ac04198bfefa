"""The reference of the site: commands with their flags, and the Python names.

Commands are read off their parsers, Python names off their docstrings, by mkdocstrings.
"""

import argparse
import re
from collections.abc import Iterator

import ancor
from ancor.__main__ import COMMANDS, function_of

# What the public functions take and return, and what a new method or dataset is made of.
TAKEN = (
    "ancor.fewshot.image_encoder.ImageEncoder",
    "ancor.fewshot.support_set.Features",
    "ancor.fewshot.api.Dataset",
    "ancor.data.partition.Partition",
    "ancor.data.hierarchy.Hierarchy",
    "ancor.evaluation.report.Result",
    "ancor.evaluation.report.Report",
)
SETTINGS = (
    "ancor.data.config.DataConfig",
    "ancor.models.config.EncoderConfig",
    "ancor.training.config.TrainConfig",
    "ancor.evaluation.config.EvaluationConfig",
)
EXTENDED = (
    "ancor.methods.base.Method",
    "ancor.methods.base.Batch",
    "ancor.methods.config.MethodConfig",
    "ancor.runtime.settings.setting",
    "ancor.errors.InputError",
)


def reference() -> dict[str, str]:
    """Return the pages of the reference, text by name."""
    pages = {f"{name}.md": "\n".join(command_page(name)) + "\n" for name in COMMANDS}
    return {"commands.md": commands_page(), "python.md": python_page(), **pages}


def commands_page() -> str:
    """Return the list of commands."""
    lines = [
        "# Commands",
        "",
        "`ancor COMMAND`, or `python -m ancor COMMAND` in a clone, where `train`, `eval`, "
        "`ensemble`, `concat`, `cascade` and `tsne` are scripts too: `python train.py`. The pages "
        "are made of the commands' own parsers.",
        "",
        "| command | to |",
        "| --- | --- |",
        *(f"| [{name}]({name}.md) | {escaped(about)} |" for name, (_, about) in COMMANDS.items()),
    ]
    return "\n".join(lines) + "\n"


def command_page(name: str) -> Iterator[str]:
    """Yield the lines of a command's page: what it does, its flags by group, its example."""
    parser: argparse.ArgumentParser = function_of(name, "build_parser")()
    yield from (f"# ancor {name}", "", escaped(parser.description or ""), "")
    for group in parser._action_groups:
        actions = [a for a in group._group_actions if a.help != argparse.SUPPRESS]
        if actions:
            yield from (f"## {group.title}", "", escaped(group.description or ""), "")
            yield from ("| flag | value | what it does |", "| --- | --- | --- |")
            yield from (row(parser, action) for action in actions)
            yield ""
    if parser.epilog:
        yield from ("## Example", "", "```text", parser.epilog, "```")


def row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return a flag's line: its spellings, its value, its help with the default."""
    formatter = parser._get_formatter()
    names = action.option_strings or [action.dest]
    value = ""
    if action.nargs != 0:
        default = formatter._get_default_metavar_for_optional(action)
        value = f"`{formatter._format_args(action, default)}`"
    text = formatter._expand_help(action) if action.help else ""
    return f"| {', '.join(f'`{each}`' for each in names)} | {value} | {escaped(text)} |"


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is, flags as code."""
    text = re.sub(r"([\\*_|\[\]<])", r"\\\1", text)
    return re.sub(r"(?<![\w\\-])(--[a-z][\w-]*)", r"`\1`", text)


def python_page() -> str:
    """Return the page of the public names; mkdocstrings puts their docstrings in."""
    public = [f"{getattr(ancor, name).__module__}.{name}" for name in ancor.__all__]
    shown = {full: f"ancor.{full.rpartition('.')[2]}" for full in public}
    parts = [
        "# Python",
        "",
        "`import ancor` gives the names of the first section, and imports PyTorch when one is "
        "used. Settings are fields of the classes of the third; each is a flag of a command too.",
    ]
    sections = {
        "The names of `ancor`": public,
        "What they take and return": TAKEN,
        "Settings": SETTINGS,
        "To extend it": EXTENDED,
    }
    for title, names in sections.items():
        parts += ["", f"## {title}"]
        for name in names:
            options = ["    options:", "      heading_level: 3"]
            if name in shown:
                options += [f"      heading: {shown[name]}"]
            parts += ["", f"::: {name}", *options]
    return "\n".join(parts) + "\n"
