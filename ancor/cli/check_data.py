"""Say what a dataset on disk is like, and what in it would stop a run."""

import argparse
from collections.abc import Iterator
from typing import Any

from ancor.cli.arguments import Parser, add_json_flag, print_report, run
from ancor.cli.data_flags import add_data_flags
from ancor.errors import RunError, capped
from ancor.runtime.settings import with_flags

EXAMPLE = """example:
  python -m ancor check-data --dataset digits"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor check-data", description=__doc__, epilog=EXAMPLE)
    add_data_flags(parser, default="what --data holds, else digits")
    episodes = parser.add_argument_group("episodes that every class must have images for")
    for name, default in (("shots", 1), ("queries", 15)):
        episodes.add_argument(
            f"--n-{name}",
            type=int,
            default=default,
            metavar="N",
            help=f"(default: {default})",
        )
    episodes.add_argument(
        "--equal-queries",
        action="store_true",
        help="call classes with fewer images a problem, not a note",
    )
    add_json_flag(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run check-data and return its exit status: 1 where something would stop a run."""
    return run(build_parser(), command, argv)


def command(args: argparse.Namespace) -> None:
    """Check as the arguments say."""
    from ancor.data.episodes import Protocol
    from ancor.data.guess import guess
    from ancor.data.report import check
    from ancor.data.resolve import resolve_data

    guessed = []
    if args.dataset is None:
        args.dataset, *guessed = guess(args.root) if args.root else ("digits",)
    protocol = Protocol(
        n_shots=args.n_shots, n_queries=args.n_queries, equal_queries=args.equal_queries
    )
    report = check(resolve_data(vars(args), None), protocol)
    report["notes"][:0] = guessed
    for kind in ("problems", "notes"):
        report[kind] = [with_flags(line) for line in report[kind]]
    print_report(report, _lines(report), args.json)
    if report["problems"]:
        count = len(report["problems"])
        raise RunError(f"{count} {'problem' if count == 1 else 'problems'} would stop a run")


def _lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield the report for people."""
    yield f"{report['dataset']} in {report['root']!r}" if report["root"] else report["dataset"]
    for name, found in report["partitions"].items():
        classes = ", ".join(f"{count} {level} classes" for level, count in found["classes"].items())
        yield f"{name}: {found['images']} images, {classes}; {found['layout'] or 'in memory'}"
        for level, counts in found["images_per_class"].items():
            sizes = [entry["images"] for entry in counts]
            yield f"  images a {level} class: {min(sizes)} to {max(sizes)}"
        if found["width"]:
            (narrow, wide), (low, high) = found["width"], found["height"]
            yield f"  width {narrow} to {wide} px, height {low} to {high} px"
        if found["too_small"]:
            names = capped(f"{c['name']!r} ({c['images']})" for c in found["too_small"])
            yield f"  fewer images than an episode asks for: {names}"
    yield from (f"note: {line}" for line in report["notes"])
    yield from (f"problem: {line}" for line in report["problems"])
