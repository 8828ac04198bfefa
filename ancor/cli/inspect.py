"""Say what a file is; of weights, their encoder, classes, epoch, sizes and names."""

import argparse
from collections.abc import Iterator
from typing import Any

from ancor.cli.arguments import Parser, add_json_flag, main_of, print_report
from ancor.errors import capped
from ancor.runtime.text import printable
from ancor.safe_io.own_files import recognized

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
    from ancor.checkpoints.checkpoint import describe

    known = recognized(args.file)
    if known is not None and not known.weights:
        report = {"file": args.file, "is": known.what, "taken_by": known.taken}
        print_report(report, [f"{args.file!r} is {known}"], args.json)
        return
    report = describe(args.file)
    print_report(report, _lines(report), args.json)


def _lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield the report for people."""
    head = {
        "architecture": f"{report['arch']}, {report['parameters'] / 1e6:.2f} M parameters",
        "head": report["head"] + (" + mlp" if report["mlp"] else ""),
        "embedding": report["dim"],
        "classes": report["num_classes"],
        "named": capped(report["class_names"]) or None,
        "epoch": report["epoch"],
        "trained on": report["dataset"],
        "chosen on": report["selected_on"],
        "file": f"{report['bytes'] / 2**20:.1f} MB",
    }
    for name, value in head.items():
        yield f"{name:<14}{'unknown' if value is None else printable(value, 1200)}"
    for part, size in report["parts"].items():
        yield f"  {part:<12}{size['tensors']} tensors, {size['bytes'] / 2**20:.1f} MB"
    for kind in ("missing", "unexpected"):
        names = report[kind]
        shown = capped(f"{name!r:.120}" for name in names)
        yield f"{kind:<14}{len(names)} names{': ' + shown if names else ''}"


main = main_of(build_parser, command)
