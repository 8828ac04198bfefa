"""Draw a contact sheet: images of each coarse class beside the views that training draws."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ancor.cli.arguments import Parser, run
from ancor.cli.data_flags import add_data_flags
from ancor.cli.pictures import add_output_flag, picture_path, save
from ancor.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from ancor.data.config import DataConfig
    from ancor.data.partition import Partition

EXAMPLE = """example:
  python -m ancor show --dataset digits"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor show", description=__doc__, epilog=EXAMPLE)
    data = add_data_flags(parser, default="what --data holds, else digits", crops=True)
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


def main(argv: list[str] | None = None) -> int:
    """Run show and return its exit status."""
    return run(build_parser(), command, argv)


def command(args: argparse.Namespace) -> None:
    """Draw as the arguments say."""
    from ancor.data.notes import tell
    from ancor.data.resolve import resolve_data
    from ancor.data.scan import report_skipped
    from ancor.plots.contact_sheet import contact_sheet
    from ancor.runtime.logging import configure_console

    configure_console()
    for flag, least in (("n", 1), ("epoch", 0)):
        if getattr(args, flag) < least:
            raise InputError(f"--{flag} {getattr(args, flag)}: at least {least} is needed")
    if args.dataset is None and args.root is None:
        args.dataset = "digits"
    data = resolve_data(vars(args), None)
    partition = data.load(args.partition)
    tell(partition)
    path = picture_path(args.output or f"show_{data.dataset}.png")
    size = data.transforms.size
    title = f"{data.dataset}, {args.partition}: views of epoch {args.epoch}, {size} px"
    save(contact_sheet(list(_rows(args, data, partition)), title), path)
    report_skipped(partition)


def _rows(
    args: argparse.Namespace, data: "DataConfig", partition: "Partition"
) -> "Iterator[tuple[str, list[list[np.ndarray]]]]":
    """Yield each coarse class's name, and of its images the original and both views."""
    import numpy as np

    from ancor.data.views import TrainingViews
    from ancor.plots.thumbnails import picture
    from ancor.runtime.seeding import address_seed

    labels, images = partition.coarse_labels, partition.images
    views = TrainingViews(images, labels, data.transforms, ("strong", "strong"), args.seed)
    for label in np.unique(labels).tolist():
        own = np.flatnonzero(labels == label)
        rng = np.random.default_rng(address_seed(args.seed, "contact sheet", label))
        drawn = np.sort(rng.choice(own, min(args.n, len(own)), replace=False)).tolist()
        yield (
            partition.hierarchy.coarse_names[label],
            [[picture(image) for image in (images[i], *views[args.epoch, i][0])] for i in drawn],
        )
