"""Say whether this machine computes what it should, and as fast as it can."""

import argparse

from ancor.cli.arguments import Parser, add_json_flag, main_of, print_report, say
from ancor.errors import RunError
from ancor.runtime.lazy import Lazy
from ancor.training.doctor.report import WRONG, as_dict, summary

doctor = Lazy("ancor.training.doctor.run")
EXAMPLE = """examples:
  python -m ancor doctor
  python -m ancor doctor --gpu --json doctor.json"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor doctor", description=__doc__, epilog=EXAMPLE)
    parser.add_argument(
        "--gpu",
        dest="check_gpu",
        action="store_true",
        help="check the GPU: parity, precision, resume, several processes, speed, memory; without "
        "one, the same on the CPU, smaller",
    )
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="of --gpu: auto, cuda, mps or cpu"
    )
    add_json_flag(parser)
    return parser


def command(args: argparse.Namespace) -> None:
    """Print what is found, as it is found; a check that failed is an error."""
    found = []
    for finding in doctor.examine(args.check_gpu, args.device):
        found.append(finding)
        if args.json != "-":
            say(finding.line())
    print_report(as_dict(found), ["", summary(found)], args.json)
    if wrong := [each.name for each in found if each.verdict == WRONG]:
        raise RunError(f"wrong here: {', '.join(wrong)}")


main = main_of(build_parser, command)
