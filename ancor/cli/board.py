"""Write a model's pictures into its run's TensorBoard: features, settings with scores."""

import argparse
from collections.abc import Mapping
from typing import Any

from ancor.cli.arguments import Parser, main_of, say
from ancor.cli.models import read_models_of, tell_skipped
from ancor.cli.pictures import beside_model, chosen_images
from ancor.cli.tsne import add_layout_flags
from ancor.errors import InputError
from ancor.plots.config import LayoutConfig
from ancor.runtime.settings import with_flags
from ancor.runtime.text import check_utf8
from ancor.safe_io.writing import output_path

EXAMPLE = """example, after the one of train.py --help:
  python -m ancor board --model-path runs/digits/model_best.pth.tar --partition validation"""
IMAGES = 1000  # in the projector by default


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor board", description=__doc__, epilog=EXAMPLE)
    picture = add_layout_flags(parser)
    picture.add_argument(
        "--n",
        type=int,
        metavar="N",
        help=f"images in the projector, drawn by --seed (default: {IMAGES})",
    )
    picture.add_argument(
        "--output-dir", metavar="DIR", help="a TensorBoard folder (default: the model's own)"
    )
    parser.set_defaults(images=None, default_n=IMAGES)
    return parser


def command(args: argparse.Namespace) -> None:
    """Write as the arguments say."""
    from ancor.plots import board, layouts, projections, tsne
    from ancor.training import read_run

    config = LayoutConfig.among(vars(args))
    projections.require(config.projection)
    folder = args.output_dir or str(beside_model(args))
    check_utf8("`output_dir`", folder)
    (model,), partition = read_models_of(args, args.only_base)
    chosen = chosen_images(args, partition)
    try:
        run = read_run.read_run(beside_model(args))
    except InputError as error:
        run = None
        say(f"No settings and scores are written: {with_flags(str(error))}")
    output_path(f"{folder}/projector_config.pbtxt")
    pictures = [
        (name, tsne.figure(layout)) for name, layout in layouts.layouts(model, partition, config)
    ]
    features, _ = layouts.encode(model, partition, chosen, args.only_base, args.seed)
    step = max((steps[-1] for steps, _ in run.curves.values()), default=0) if run else 0
    with board.SummaryWriter(folder) as writer:
        for name, drawn in pictures:
            how = projections.TITLES[args.projection]
            board.add_figure(writer, f"{how} {args.partition}/{name}", drawn, step)
        images = [partition.images[number] for number in chosen.tolist()]
        labels = board.class_labels(partition, chosen)
        board.add_projector(writer, features, images, labels, step, args.partition)
        if run is not None:
            board.add_hparams(writer, _telling(run.settings), run.final_scores())
    say(f"Wrote into {folder}; look at it by: tensorboard --logdir {folder}")
    tell_skipped(partition)


def _telling(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without those that only tell where the images are found."""
    kept = ("data.dataset", "data.image_size", "data.split")
    return {k: v for k, v in settings.items() if k in kept or not k.startswith("data.")}


main = main_of(build_parser, command, logs=True)
