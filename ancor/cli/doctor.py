"""Say whether this machine computes what it should, and as fast as it can."""

import argparse
from collections.abc import Iterator

from ancor.cli.arguments import Parser, add_json_flag, main_of, print_report, say
from ancor.doctor.environment import environment
from ancor.doctor.report import WRONG, Finding, as_dict, summary
from ancor.doctor.run import findings
from ancor.errors import RunError
from ancor.runtime.devices import count_gpus, describe, pick_device

EXAMPLE = """examples:
  python -m ancor doctor
  python -m ancor doctor --gpu --json doctor.json"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor doctor", description=__doc__, epilog=EXAMPLE)
    parser.add_argument(
        "--gpu",
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
    """Print what is found, as it is; a check that failed is an error."""
    quiet, found = args.json == "-", []
    for finding in _findings(args, quiet):
        found.append(finding)
        if not quiet:
            say(finding.line())
    print_report(as_dict(found), ["", summary(found)], args.json)
    if wrong := [each.name for each in found if each.verdict == WRONG]:
        raise RunError(f"wrong here: {', '.join(wrong)}")


def _findings(args: argparse.Namespace, quiet: bool) -> Iterator[Finding]:
    yield from environment()
    if not args.gpu:
        return
    device = pick_device(args.device)
    if not quiet:
        none = "" if count_gpus() else ": there is no CUDA device"
        say("")
        say(f"On {describe(device)}{none}")
    yield from findings(device)


main = main_of(build_parser, command)
