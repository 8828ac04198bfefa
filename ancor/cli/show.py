"""Draw a contact sheet: images of each coarse class beside the views that training draws."""

import argparse

from ancor.cli.arguments import Parser, main_of
from ancor.cli.data_flags import add_data_flags
from ancor.cli.models import tell_skipped
from ancor.cli.pictures import add_output_flag, picture_path, save
from ancor.errors import InputError

EXAMPLE = """example:
  python -m ancor show --dataset digits"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor show", description=__doc__, epilog=EXAMPLE)
    data = add_data_flags(parser, default="what --data holds, else digits", training=True)
    data.add_argument(
        "--partition",
        default="train",
        metavar="NAME",
        help="train, validation or test (default: train)",
    )
    views = parser.add_argument_group("views")
    for flag, default, text in (
        ("n", 4, "images of each coarse class"),
        ("seed", 0, "the run's seed: it draws the images and their views"),
        ("epoch", 0, "the views of this epoch, from 0"),
    ):
        views.add_argument(
            f"--{flag}",
            type=int,
            default=default,
            metavar="N",
            help=f"{text} (default: {default})",
        )
    add_output_flag(parser, default="show_<dataset>.png")
    return parser


def command(args: argparse.Namespace) -> None:
    """Draw as the arguments say."""
    from ancor.data import notes, resolve
    from ancor.plots import contact_sheet

    for flag, least in (("n", 1), ("epoch", 0)):
        if getattr(args, flag) < least:
            raise InputError(f"--{flag} {getattr(args, flag)}: at least {least} is needed")
    if args.dataset is None and args.root is None and args.features is None:
        args.dataset = "digits"
    data = resolve.resolve_data(vars(args), None)
    partition = data.load(args.partition)
    notes.tell(partition)
    path = picture_path(args.output or f"show_{data.dataset}.png")
    size = data.transforms.size
    title = f"{data.dataset}, {args.partition}: views of epoch {args.epoch}, {size} px"
    rows = contact_sheet.rows(partition, data.transforms, args.n, args.seed, args.epoch)
    drawn = data.transforms.augmentation()
    save(contact_sheet.contact_sheet(list(rows), title, drawn), path)
    tell_skipped(partition)


main = main_of(build_parser, command, logs=True)
