"""Score two encoders in a row: the first tells the coarse class, the second the fine one in it."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ancor.cli.arguments import Parser, run
from ancor.cli.scoring import add_scoring_flags, require_models, score_models

if TYPE_CHECKING:
    from ancor.cli.evaluation import Subject

EXAMPLE = """example, of two runs on digits, the coarse model first:
  python cascade.py --model_path runs/a/model_best.pth.tar runs/b/model_best.pth.tar"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="cascade.py", description=__doc__, epilog=EXAMPLE)
    add_scoring_flags(parser, many=True)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run cascade.py and return its exit status."""
    return run(build_parser(), command, argv)


def command(args: argparse.Namespace) -> None:
    """Evaluate as the arguments say."""
    from ancor.evaluation.predictors import cascade
    from ancor.runtime.logging import configure_console

    configure_console()
    require_models(args, "cascade", at_least=2, at_most=2)

    def kinds(subjects: "Sequence[Subject]") -> list[str]:
        _check_coarse(subjects[0])
        return ["predicted class", "features" if args.only_base else "embedding"]

    score_models(args, "cascade", cascade(args.cls), kinds)


def _check_coarse(subject: "Subject") -> None:
    """Raise an InputError where a model cannot tell the dataset's coarse classes."""
    from ancor.errors import InputError

    weight, coarse = subject.encoder.class_weight, subject.partition.hierarchy.num_coarse
    if weight is None or len(weight) != coarse:
        count = 0 if weight is None else len(weight)
        have = "no classifier" if weight is None else f"a classifier of {count or 'other'} classes"
        raise InputError(
            f"{subject.path!r} has {have} (head {subject.encoder.config.head!r}), and the first "
            f"model of a cascade tells the {coarse} coarse classes of {subject.data.dataset!r}; "
            "give a file trained with --mode coarse and --head seq, fork or cls"
        )
