"""Write a dataset's images into one file, which --data takes in place of their folder."""

import argparse

from ancor.cli.arguments import Parser, main_of
from ancor.cli.data_flags import add_data_flags
from ancor.cli.options import add_settings
from ancor.data.file_config import PackConfig

EXAMPLE = "example:\n  python -m ancor pack --dataset digits --out digits.pack"


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor pack", description=__doc__, epilog=EXAMPLE)
    add_data_flags(parser, default="what --data holds")
    add_settings(parser, PackConfig, "pack", filled=True)
    parser.add_argument("--out", required=True, metavar="FILE", help="the file that is written")
    return parser


def command(args: argparse.Namespace) -> None:
    """Pack as the arguments say."""
    from ancor.data import pack, resolve

    config = PackConfig(args.size, args.encoding, args.quality)
    pack.pack(resolve.resolve_data(vars(args), None), config, args.out)


main = main_of(build_parser, command, logs=True)
