"""Say what a dataset on disk is like, and what in it would stop a run."""

import argparse

from ancor.cli.arguments import Parser, add_json_flag, main_of, print_report
from ancor.cli.data_flags import add_data_flags
from ancor.errors import RunError
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


def command(args: argparse.Namespace) -> None:
    """Check as the arguments say."""
    from ancor.data import episodes, guess, report, resolve

    guessed = []
    if args.dataset is None:
        args.dataset, *guessed = guess.guess(args.root) if args.root else ("digits",)
    protocol = episodes.Protocol(
        n_shots=args.n_shots, n_queries=args.n_queries, equal_queries=args.equal_queries
    )
    found = report.check(resolve.resolve_data(vars(args), None), protocol)
    found["notes"][:0] = guessed
    for kind in ("problems", "notes"):
        found[kind] = [with_flags(line) for line in found[kind]]
    print_report(found, report.lines(found), args.json)
    if found["problems"]:
        count = len(found["problems"])
        raise RunError(f"{count} {'problem' if count == 1 else 'problems'} would stop a run")


main = main_of(build_parser, command)
