"""Score two or more encoders together: by one classifier on their features side by side."""

import argparse

from ancor.cli.arguments import Parser, run
from ancor.cli.scoring import add_scoring_flags, require_models, score_models

EXAMPLE = """example, of two runs on digits:
  python concat.py --model_path runs/a/model_best.pth.tar runs/b/model_best.pth.tar"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="concat.py", description=__doc__, epilog=EXAMPLE)
    add_scoring_flags(parser, many=True)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run concat.py and return its exit status."""
    return run(build_parser(), command, argv)


def command(args: argparse.Namespace) -> None:
    """Evaluate as the arguments say."""
    from ancor.evaluation.predictors import concat
    from ancor.runtime.logging import configure_console

    configure_console()
    require_models(args, "concat", at_least=2)
    kind = "features" if args.only_base else "embedding"
    score_models(args, "concat", concat(args.cls), lambda subjects: [kind] * len(subjects))
