"""Draw images beside their nearest neighbours by an encoder's features."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ancor.cli.arguments import Parser, run
from ancor.cli.models import read_models_of
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

if TYPE_CHECKING:
    import numpy as np

    from ancor.data.partition import Partition
    from ancor.plots.neighbors import Shown

EXAMPLE = """example, after the one of train.py --help:
  python -m ancor neighbours --model_path runs/digits/model_best.pth.tar --partition test"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor neighbours", description=__doc__, epilog=EXAMPLE)
    add_picture_flags(parser, "only_base")
    images = add_choice_flags(parser, count=8)
    images.add_argument("--k", type=int, default=8, metavar="K", help="neighbours (default: 8)")
    add_output_flag(parser, default="neighbours_<partition>.png beside the model")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run neighbours and return its exit status."""
    return run(build_parser(), command, argv)


def command(args: argparse.Namespace) -> None:
    """Draw as the arguments say."""
    import numpy as np
    import torch

    from ancor.data.scan import report_skipped
    from ancor.data.views import QUERY_VIEW
    from ancor.evaluation.neighbors import nearest
    from ancor.plots.neighbors import neighbours_figure
    from ancor.runtime.logging import configure_console

    configure_console()
    (model,), partition = read_models_of(args, args.only_base)
    labels = torch.from_numpy(partition.labels(args.mode))
    size = len(partition)
    if not 1 <= args.k < size:
        raise InputError(f"--k {args.k}: accepted: 1 to {size - 1}, as there are {size} images")
    chosen = chosen_images(args, partition)
    bank = model.bank(partition, "features" if args.only_base else "embedding", args.seed)
    path = picture_path(args.output or f"{beside_model(args)}/neighbours_{args.partition}.png")
    every = np.arange(size)
    features = bank.features(np.stack([every, np.full_like(every, QUERY_VIEW)], axis=1))
    found = nearest(features, torch.arange(size), args.k)
    right = (labels[found] == labels[:, None]).float().mean(1)
    drawn, of_all = 100 * right[chosen].mean(), 100 * right.mean()
    print(f"Of the {args.k} nearest, of the right {args.mode} class (images drawn, all {size}):")
    print(f"{drawn:.2f}  {of_all:.2f}")
    title = f"{partition.dataset}, {args.partition}: {args.k} nearest of {size - 1} images"
    title += f", {of_all:.1f}% of the right {args.mode} class"
    save(neighbours_figure(list(_rows(args.mode, partition, chosen, found)), title), path)
    report_skipped(partition)


def _rows(
    mode: str, partition: "Partition", chosen: "np.ndarray", found: "np.ndarray"
) -> "Iterator[tuple[Shown, list[Shown]]]":
    """Yield each chosen image and its neighbours."""
    from ancor.plots.neighbors import Shown
    from ancor.plots.thumbnails import picture

    labels, names = partition.labels(mode), partition.hierarchy.names(mode)

    def shown(number: int) -> Shown:
        return Shown(picture(partition.images[number]), names[labels[number]], number)

    for number in chosen.tolist():
        yield shown(number), [shown(other) for other in found[number].tolist()]
