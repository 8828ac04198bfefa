"""Write the features of images, once for all trainings and other programs that start from them."""

import argparse
from pathlib import Path

from ancor.cli.arguments import Parser, main_of, say
from ancor.cli.models import (
    add_model_flags,
    expected_of,
    model_paths,
    runtime_of,
    tell_skipped,
)
from ancor.errors import InputError
from ancor.safe_io.writing import output_path

EXAMPLE = """example, of your own photographs (pip install 'ancor-toolkit[timm]'):
  python -m ancor embed --arch timm:resnet18 --pretrained --data photos --output photos.npz"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor embed", description=__doc__, epilog=EXAMPLE)
    add_model_flags(parser, training=True)
    add = parser.add_argument_group("features").add_argument
    add(
        "--views",
        type=int,
        default=8,
        metavar="V",
        help="training views of each training image, beside the one of evaluation (default: 8)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of the views (default: 0)")
    add(
        "--output",
        required=True,
        metavar="FILE",
        help=".npz (for train.py --features), .csv or .parquet",
    )
    return parser


def command(args: argparse.Namespace) -> None:
    """Embed as the arguments say."""
    from ancor.data import resolve
    from ancor.evaluation import embed, models

    path = output_path(args.output)
    embed.check_suffix(path)
    if not 0 <= args.views <= embed.MOST_VIEWS:
        raise InputError(f"--views {args.views}: accepted: 0 to {embed.MOST_VIEWS}")
    (source,) = model_paths(args)
    expected = expected_of(args)
    model, data = models.read_one(source, vars(args), runtime_of(args), expected)
    about = embed.facts(model, data, source, args.views, args.seed)
    written = {}
    for name, partition in resolve.partitions_of(data, args.partition).items():
        views = args.views if name == "train" else 0
        written[name] = embed.embedded(model, partition, views, args.seed)
    embed.write(path, about, written)
    for name, partition in written.items():
        images, views, width = partition.images.rows.shape
        place = partition.layout or "in memory"
        say(f"{name}: {images} images, {views} views, {width} features, {place}")
    say(f"Wrote {Path(path)}: {about['arch']} by {about['pretrained']}; {about['augmentation']}")
    for partition in written.values():
        tell_skipped(partition)


main = main_of(build_parser, command, logs=True)
