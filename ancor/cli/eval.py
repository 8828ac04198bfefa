"""Score an encoder by few-shot episodes: 5-way and all-way, or inside coarse classes."""

import argparse
from typing import TYPE_CHECKING

from ancor.cli.arguments import Parser, run
from ancor.cli.scoring import add_scoring_flags, score_models

if TYPE_CHECKING:
    from ancor.cli.evaluation import Subject
    from ancor.models.encoder import Encoder

EXAMPLE = """example, after the one of train.py --help:
  python eval.py --model_path runs/digits/model_best.pth.tar --partition test"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="eval.py", description=__doc__, epilog=EXAMPLE)
    add_scoring_flags(parser, many=False)
    parser.add_argument_group("baseline").add_argument(
        "--untrained",
        action="store_true",
        help="score the same network before training too, and the gain with its interval",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run eval.py and return its exit status."""
    return run(build_parser(), command, argv)


def command(args: argparse.Namespace) -> None:
    """Evaluate as the arguments say."""
    from ancor.evaluation.predictors import single
    from ancor.runtime.logging import configure_console

    configure_console()
    kind = "features" if args.only_base else "embedding"
    score_models(
        args, "eval", single(args.cls), lambda _: [kind], _untrained if args.untrained else None
    )


def _untrained(subject: "Subject") -> "Encoder":
    """Build the encoder that the subject's training started from."""
    import torch

    from ancor.models.encoder import Encoder
    from ancor.runtime.seeding import seeded

    with seeded(subject.content["config"]["training"].get("seed", 0), "weights"):
        encoder = Encoder(subject.encoder.config)
    return encoder.to(subject.settings.device, memory_format=torch.channels_last)
