"""Draw where an encoder looks: its embedding head at each position of the last feature map."""

import argparse

from ancor.cli.arguments import Parser, main_of
from ancor.cli.models import read_models_of, tell_skipped
from ancor.cli.pictures import (
    add_choice_flags,
    add_output_flag,
    add_picture_flags,
    beside_model,
    chosen_images,
    picture_path,
    save,
)
from ancor.errors import InputError

EXAMPLE = """example, after the one of train.py --help:
  python -m ancor localize --model-path runs/digits/model_best.pth.tar --partition test"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor localize", description=__doc__, epilog=EXAMPLE)
    add_picture_flags(parser, batch_size=8)
    images = add_choice_flags(parser, count=8)
    images.add_argument(
        "--image", nargs="+", metavar="FILE", help="image files instead of a partition's images"
    )
    add_output_flag(parser, default="localize_<partition>.png beside the model")
    return parser


def command(args: argparse.Namespace) -> None:
    """Draw as the arguments say."""
    from ancor.plots import localize

    if args.image and (args.images or args.n):
        raise InputError("--image names files and --images or --n a partition's; give one of them")
    files = localize.files(args.image) if args.image else None
    (model,), partition = read_models_of(args, True, files)
    if args.image:
        args.images = range(len(partition))
    chosen = chosen_images(args, partition)
    name = "files" if args.image else args.partition
    path = picture_path(args.output or f"{beside_model(args)}/localize_{name}.png")
    bank = localize.larger_bank(model, partition, args.image_size, args.seed)
    save(localize.draw(bank, partition, chosen, args.mode, model.path), path)
    tell_skipped(partition)


main = main_of(build_parser, command, logs=True)
