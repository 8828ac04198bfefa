"""List the training methods: labels used, source, what each keeps, and defaults of its own."""

import argparse

from ancor.cli import train
from ancor.cli.arguments import Parser, add_json_flag, main_of, print_report
from ancor.cli.options import flags_of
from ancor.methods.registry import overview, overview_lines
from ancor.runtime.settings import show_as, with_flags
from ancor.training.resolve import paper_defaults

EXAMPLE = """example:
  python -m ancor methods --json"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor methods", description=__doc__, epilog=EXAMPLE)
    add_json_flag(parser)
    return parser


def command(args: argparse.Namespace) -> None:
    """Print the table."""
    show_as(flags_of(train.build_parser()))
    table = overview(paper_defaults())
    print_report(table, map(with_flags, overview_lines(table)), args.json)


main = main_of(build_parser, command)
