"""Draw the training curves of runs, and tell their scores and the settings in which they differ."""

import argparse

from ancor.cli.arguments import Parser, main_of, say
from ancor.cli.pictures import add_output_flag, picture_path, save
from ancor.errors import InputError, capped

EXAMPLE = """example, after the one of train.py --help:
  python -m ancor compare runs/digits"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor compare", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder that train.py wrote")
    add_output_flag(parser, default="compare.png")
    return parser


def command(args: argparse.Namespace) -> None:
    """Compare as the arguments say."""
    from ancor.plots import curves
    from ancor.training import comparison

    runs = comparison.read_runs(args.runs)
    drawn, unit = comparison.curves(runs)
    if not curves.panels(drawn):
        raise InputError(f"no curve in {capped(map(repr, args.runs))}; train longer")
    path = picture_path(args.output or "compare.png")
    for line in [*comparison.scores(runs), "", *comparison.differences(runs)]:
        say(line)
    save(curves.curves_figure(drawn, unit), path)


main = main_of(build_parser, command)
