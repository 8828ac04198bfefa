"""Say what a file is; of weights, their encoder, classes, epoch, sizes and names."""

import argparse

from ancor.cli.arguments import Parser, add_json_flag, main_of, print_report
from ancor.runtime.lazy import Lazy
from ancor.safe_io.own_files import recognized

description = Lazy("ancor.checkpoints.description")
EXAMPLE = """example, after the one of train.py --help:
  python -m ancor inspect runs/digits/model_best.pth.tar"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor inspect", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("file", metavar="FILE", help="ours, the paper's, MoCo, SwAV, torchvision")
    add_json_flag(parser)
    return parser


def command(args: argparse.Namespace) -> None:
    """Inspect as the arguments say."""
    known = recognized(args.file)
    if known is not None and not known.weights:
        report = {"file": args.file, "is": known.what, "taken_by": known.taken}
        print_report(report, [f"{args.file!r} is {known}"], args.json)
        return
    report = description.describe(args.file)
    print_report(report, description.lines(report), args.json)


main = main_of(build_parser, command)
