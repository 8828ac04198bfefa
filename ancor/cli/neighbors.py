"""Draw images beside their nearest neighbors by an encoder's features."""

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
from ancor.runtime.lazy import Lazy

captions = Lazy("ancor.plots.captions")  # which imports matplotlib
EXAMPLE = """example, after the one of train.py --help:
  python -m ancor neighbors --model-path runs/digits/model_best.pth.tar --partition test"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor neighbors", description=__doc__, epilog=EXAMPLE)
    add_picture_flags(parser, "only_base", cache="nowhere")
    images = add_choice_flags(parser, count=8)
    images.add_argument("--k", type=int, default=8, metavar="K", help="neighbors (default: 8)")
    add_output_flag(parser, default="neighbors_<partition>.png beside the model")
    return parser


def command(args: argparse.Namespace) -> None:
    """Draw as the arguments say."""
    from ancor.evaluation import feature_bank, neighbors, retrieval
    from ancor.plots import neighbors as plot

    (model,), partition = read_models_of(args, args.only_base)
    partition.labels(args.mode)  # refuses a partition without them
    size = len(partition)
    if not 1 <= args.k < size:
        raise InputError(f"--k {args.k}: accepted: 1 to {size - 1}, as there are {size} images")
    chosen = chosen_images(args, partition)
    path = picture_path(args.output or f"{beside_model(args)}/neighbors_{args.partition}.png")
    kind = feature_bank.kind_of(model.network, model.content, args.only_base)
    features, labels = model.bank(partition, kind).test_features(), partition.labels(args.mode)
    found = neighbors.nearest_others(features, args.k).numpy()
    right = 100 * plot.right_share(labels, found)
    print(f"Of the {args.k} nearest, of the right {args.mode} class (images drawn, all {size}):")
    print(f"{right[chosen].mean():.2f}  {right.mean():.2f}")
    if len(set(labels.tolist())) < size:
        scores = retrieval.retrieve(features, labels)
        print(f"Recall (one of the right class among the nearest): {scores.recall_words()}")
    title = f"{partition.dataset}, {args.partition}: {args.k} nearest of {size - 1} images"
    title += f", {right.mean():.1f}% of the right {args.mode} class"
    rows = list(plot.rows(partition, args.mode, chosen, found))
    caption = captions.caption_of([model.path], [kind])
    save(plot.neighbors_figure(rows, title, caption), path)
    tell_skipped(partition)


main = main_of(build_parser, command, logs=True)
