"""Draw where an encoder looks: its embedding head at each position of the last feature map."""

import argparse
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

if TYPE_CHECKING:
    from ancor.data.partition import Partition
    from ancor.evaluation.feature_bank import FeatureBank
    from ancor.evaluation.models import Model

EXAMPLE = """example, after the one of train.py --help:
  python -m ancor localize --model_path runs/digits/model_best.pth.tar --partition test"""
# Times the size of training: photographs as in the paper, 448 px for 224; of small images the last
# map has a few positions only, so they are enlarged further.
LARGER, LARGER_SMALL = 2, 4


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


def main(argv: list[str] | None = None) -> int:
    """Run ancor localize and return its exit status."""
    return run(build_parser(), command, argv)


def command(args: argparse.Namespace) -> None:
    """Draw as the arguments say."""
    from ancor.data.scan import report_skipped
    from ancor.errors import InputError
    from ancor.evaluation.localization import position_norms
    from ancor.plots.localize import localize_figure
    from ancor.runtime.logging import configure_console

    configure_console()
    if args.image and (args.images or args.n):
        raise InputError("--image names files and --images or --n a partition's; give one of them")
    files = _files(args.image) if args.image else None
    (model,), partition = read_models_of(args, True, files)
    if args.image:
        args.images = range(len(partition))
    chosen = chosen_images(args, partition)
    name = "files" if args.image else args.partition
    path = picture_path(args.output or f"{beside_model(args)}/localize_{name}.png")
    label = "norm of the embedding at each position"
    if not model.network.config.embeds:
        label = "norm of the features at each position"
        print(f"Head {model.network.config.head!r} has no embedding: {label} is drawn")
    bank = _bank(args, model, partition)
    norms = position_norms(bank, chosen)
    images = [bank.query_transform(partition.images[i]).permute(1, 2, 0).numpy() for i in chosen]
    side = bank.transforms.size
    title = f"{partition.dataset} {name}" if not args.image else "where the encoder looks"
    title += f", {side} px, map of {norms.shape[1]} x {norms.shape[2]}"
    names = [_name(partition, i, args.mode) for i in chosen.tolist()]
    save(localize_figure(images, norms, names, title, label), path)
    report_skipped(partition)


def _files(paths: list[str]) -> "Partition":
    """Return image files as a partition without known labels; InputError where one is no image."""
    import os

    import numpy as np

    from ancor.data.hierarchy import Hierarchy
    from ancor.data.images import ImageFiles
    from ancor.data.partition import Partition

    images = ImageFiles([(os.path.dirname(p), [os.path.basename(p)]) for p in paths], upright=True)
    labels = np.zeros(len(paths), dtype=np.int64)
    return Partition("files", "given", images, labels, None, Hierarchy(("",)))


def _name(partition: "Partition", number: int, mode: str) -> str:
    """Name an image by its class and number, or by its file."""
    import os

    if partition.dataset == "files":
        return os.path.basename(partition.images.name(number))
    level = mode if mode == "coarse" or partition.fine_labels is not None else "coarse"
    return f"image {number}: {partition.hierarchy.names(level)[partition.labels(level)[number]]}"


def _bank(args: argparse.Namespace, model: "Model", partition: "Partition") -> "FeatureBank":
    """Return a bank that sees the images at --image-size, by default larger than in training."""
    from dataclasses import replace

    transforms = model.transforms
    if args.image_size is None:
        times = LARGER if transforms.native_size is None else LARGER_SMALL
        transforms = transforms.with_size(times * transforms.size)
    if args.image and transforms.native_size is not None:  # files are of any size and shape
        transforms = replace(transforms, native_size=None, resize=transforms.size)
    return model.bank(partition, seed=args.seed, transforms=transforms)
