"""Say what a dataset on disk is like, and what in it would stop a run."""

import argparse

from ancor.cli.arguments import Parser, add_json_flag, main_of, print_report, say
from ancor.cli.data_flags import add_data_flags
from ancor.cli.options import add_settings
from ancor.data.file_config import CheckConfig
from ancor.errors import RunError
from ancor.evaluation.config import EvaluationConfig
from ancor.runtime.settings import with_flags
from ancor.safe_io.writing import output_path, write_result

EXAMPLE = """example:
  python -m ancor check-data --dataset digits"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor check-data", description=__doc__, epilog=EXAMPLE)
    add_data_flags(parser, default="what --data holds, else digits")
    problem = "call classes with fewer images a problem, not a note"
    episodes = ("n_queries", "equal_queries")
    add_settings(parser, EvaluationConfig, "", episodes, filled=True, equal_queries=problem)
    add_settings(parser, CheckConfig, "check", filled=True)
    add_json_flag(parser)
    return parser


def command(args: argparse.Namespace) -> None:
    """Check as the arguments say."""
    from ancor.data import episodes, guess, report, resolve

    guessed = []
    if args.dataset is None and args.features is None:
        args.dataset, *guessed = guess.guess(args.root) if args.root else ("digits",)
    shots, queries = CheckConfig(args.n_shots).n_shots, args.n_queries
    protocol = episodes.Protocol(n_shots=shots, n_queries=queries, equal_queries=args.equal_queries)
    page, data = output_path(args.html), resolve.resolve_data(vars(args), None)
    doubted = []
    if args.model_path is not None:
        from ancor.evaluation import outliers

        doubted = outliers.find(data, args.model_path)
    found = report.check(data, protocol, args.deep, doubted)
    found["notes"][:0] = guessed
    for kind in ("problems", "notes"):
        found[kind] = [with_flags(line) for line in found[kind]]
    if page is not None:
        from ancor.plots import check_page

        write_result(page, check_page.page(data, found))
    print_report(found, report.lines(found), args.json)
    if page is not None and args.json != "-":
        say(f"Wrote {page}")
    if found["problems"]:
        count = len(found["problems"])
        raise RunError(f"{count} {'problem' if count == 1 else 'problems'} would stop a run")


main = main_of(build_parser, command)
