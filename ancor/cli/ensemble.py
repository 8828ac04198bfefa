"""Score two or more encoders together: by the mean of their classifiers' probabilities."""

import argparse

from ancor.cli.arguments import Parser, run
from ancor.cli.scoring import add_scoring_flags, require_models, score_models

EXAMPLE = """example, of two runs on digits:
  python ensemble.py --model_path runs/a/model_best.pth.tar runs/b/model_best.pth.tar"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ensemble.py", description=__doc__, epilog=EXAMPLE)
    add_scoring_flags(parser, many=True)
    parser.add_argument_group("ensemble").add_argument(
        "--average",
        default="geometric",
        metavar="NAME",
        help="mean of the probabilities: geometric or arithmetic (default: geometric)",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run ensemble.py and return its exit status."""
    return run(build_parser(), command, argv)


def command(args: argparse.Namespace) -> None:
    """Evaluate as the arguments say."""
    from ancor.evaluation.predictors import ensemble
    from ancor.runtime.logging import configure_console

    configure_console()
    require_models(args, "ensemble", at_least=2)
    kind = "features" if args.only_base else "embedding"
    predict = ensemble(args.cls, args.average)
    score_models(args, "ensemble", predict, lambda subjects: [kind] * len(subjects))
