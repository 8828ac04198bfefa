"""Draw the training curves of runs, and tell their scores and the settings in which they differ."""

import argparse
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ancor.cli.arguments import Parser, run, say
from ancor.cli.pictures import add_output_flag, picture_path, save
from ancor.runtime.text import columns, printable

if TYPE_CHECKING:
    from ancor.training.read_run import Run

EXAMPLE = """example, after the one of train.py --help:
  python -m ancor compare runs/digits"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor compare", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder that train.py wrote")
    add_output_flag(parser, default="compare.png")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run compare and return its exit status."""
    return run(build_parser(), command, argv)


def command(args: argparse.Namespace) -> None:
    """Compare as the arguments say."""
    from ancor.errors import InputError, capped
    from ancor.plots.curves import curves_figure, panels
    from ancor.training.read_run import read_run

    runs = dict(zip(_names(args.runs), map(read_run, args.runs), strict=True))
    curves = {name: run.curves for name, run in runs.items()}
    if not panels(curves):
        raise InputError(f"no curve in {capped(map(repr, args.runs))}; train longer")
    path = picture_path(args.output or "compare.png")
    for line in [*_scores(runs), "", *_differences(runs)]:
        say(line)
    save(curves_figure(curves), path)


def _names(folders: list[str]) -> list[str]:
    """Name runs by their folders, and by their whole paths where folders are called alike."""
    from pathlib import Path

    from ancor.errors import InputError, capped

    paths = [Path(os.path.realpath(folder)) for folder in folders]  # which bears loops of links
    if len(set(paths)) < len(paths):
        raise InputError(f"{capped(map(repr, folders))}: give each run once")
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(Path(f)) for f in folders]


def _scores(runs: "dict[str, Run]") -> Iterator[str]:
    """Yield a table of each run's final and best scores."""
    scores = {name: run.final_scores() for name, run in runs.items()}
    kinds = dict.fromkeys(kind for own in scores.values() for kind in own)
    rows = [
        [name, *(f"{own[kind]:.3f}" if kind in own else "-" for kind in kinds)]
        for name, own in scores.items()
    ]
    titles = [kind.removeprefix("validation/") for kind in kinds]
    yield from columns([[printable(word, 80) for word in row] for row in [["run", *titles], *rows]])


def _differences(runs: "dict[str, Run]") -> Iterator[str]:
    """Yield a table of the settings in which the runs differ."""
    settings = {name: run.settings for name, run in runs.items()}
    names = dict.fromkeys(name for own in settings.values() for name in own)
    rows = []
    for name in names:
        values = [str(own.get(name, "-")) for own in settings.values()]
        if len(set(values)) > 1:
            rows.append([name, *values])
    if rows:
        yield from columns([[printable(w, 80) for w in row] for row in [["setting", *runs], *rows]])
    elif len(runs) > 1:
        yield "The runs' settings are the same"
