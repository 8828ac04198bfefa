"""Write a labels.csv that divides the images of a folder, near duplicates on one side."""

import argparse

from ancor.cli.arguments import Parser, main_of, say
from ancor.cli.data_flags import add_data_flags

EXAMPLE = """example:
  python -m ancor partition --data photos --val-fraction 0.1 --test-fraction 0.2"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor partition", description=__doc__, epilog=EXAMPLE)
    add_data_flags(parser, default="folder")
    parser.add_argument("--output", metavar="FILE", help="(default: labels.csv in --data)")
    return parser


def command(args: argparse.Namespace) -> None:
    """Divide as the arguments say."""
    from ancor.data import partition_table, resolve

    config = resolve.resolve_data({**vars(args), "dataset": args.dataset or "folder"}, None)
    path = partition_table.target(config, args.output)
    counts = partition_table.write(config, path)
    say(f"Wrote {path}: {', '.join(f'{counts[name]} {name}' for name in sorted(counts))}")


main = main_of(build_parser, command)
