"""Say which encoder and classifier suit one's images best: by leaving each labeled image out."""

import argparse

from ancor.cli.arguments import Parser, add_device_flags, add_json_flag, main_of, print_report
from ancor.errors import InputError
from ancor.evaluation.config import INDUCTIVE, as_penalty

EXAMPLE = """example, after the ones of train.py --help and ancor predict --help:
  python -m ancor choose --model-path runs/digits/model_best.pth.tar \
--support runs/images/support --cls LR Ridge Proto"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor choose", description=__doc__, epilog=EXAMPLE)
    models = parser.add_argument_group("encoders")
    models.add_argument(
        "--arch",
        nargs="+",
        default=[],
        metavar="NAME",
        help="backbones of a library with its weights: timm:NAME, torchvision:NAME; or NAME=FILE",
    )
    models.add_argument(
        "--model-path", nargs="+", default=[], metavar="FILE", help="files that eval.py reads"
    )
    add = parser.add_argument_group("classes").add_argument
    add(
        "--support",
        required=True,
        metavar="DIR",
        help="folder of one folder a class; the only image of a class is not left out",
    )
    names = ", ".join(INDUCTIVE)
    add(
        "--cls",
        dest="classifier",
        nargs="+",
        default=list(INDUCTIVE),
        metavar="NAME",
        help=f"classifiers (default: all: {names})",
    )
    add("--C", type=as_penalty, default=1.0, metavar="C", help="of LR: as in eval.py (default: 1)")
    add(
        "--n-augmentations",
        type=int,
        default=5,
        metavar="A",
        help="augmented copies of each image, left out with it (default: 5)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of the copies (default: 0)")
    add_json_flag(parser.add_argument_group("report"))
    add_device_flags(parser, precision="fp32", batch_size=256)
    return parser


def command(args: argparse.Namespace) -> None:
    """Compare as the arguments say."""
    from ancor.fewshot import choosing
    from ancor.runtime import devices

    sources = [*args.model_path, *args.arch]
    if not sources:
        raise InputError("`model_path` or `arch` is needed: the encoders to compare")
    options = {
        "device": devices.pick_device(args.device or "auto", args.gpu),
        "precision": args.precision or "fp32",
        "batch_size": args.batch_size,
        "quiet": False,
    }
    chosen = choosing.choose(
        sources, args.support, args.classifier, args.C, args.n_augmentations, args.seed, **options
    )
    print_report(chosen.as_dict(), chosen.lines(), args.json)


main = main_of(build_parser, command, logs=True)
