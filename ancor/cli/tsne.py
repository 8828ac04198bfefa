"""Draw t-SNE pictures of an encoder's features: all coarse classes, and one of them from inside."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ancor.cli.arguments import Parser, run, say
from ancor.cli.models import output_path, read_models_of
from ancor.cli.options import group_of
from ancor.cli.pictures import (
    FORMATS,
    add_picture_flags,
    beside_model,
    encode,
    episode_images,
    save,
)
from ancor.safe_io.writing import write_result

if TYPE_CHECKING:
    import numpy as np

    from ancor.data.partition import Partition
    from ancor.evaluation.models import Model
    from ancor.plots.tsne import Layout

EXAMPLE = """example, after the one of train.py --help:
  python tsne.py --model_path runs/digits/model_best.pth.tar --partition test"""
FINE_IMAGES = 50  # of each fine class in the second picture: 15 + 35, as in the paper's code


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="tsne.py", description=__doc__, epilog=EXAMPLE)
    picture = add_layout_flags(parser)
    picture.add_argument(
        "--output-dir", metavar="DIR", help="where the pictures go (default: beside the model)"
    )
    picture.add_argument(
        "--format", default="png", metavar="NAME", help="png, svg or pdf (default: png)"
    )
    picture.add_argument(
        "--html",
        action="store_true",
        help="write both into one page too, which shows the image under the mouse",
    )
    return parser


def add_layout_flags(parser: Parser) -> argparse._ArgumentGroup:
    """Add the flags that `layouts` reads; return the pictures' group."""
    add_picture_flags(parser, "n_queries", "equal_queries")
    episodes = group_of(parser, "episodes")
    episodes.add_argument(
        "--n-shots", type=int, default=1, metavar="N", help="support images a class (default: 1)"
    )
    episodes.add_argument(
        "--n-ways", type=int, default=1000, metavar="N", help="classes (default: 1000, all)"
    )
    picture = parser.add_argument_group("pictures")
    picture.add_argument(
        "--coarse-class",
        metavar="NAME",
        help="coarse class of the second picture, by name or number (default: drawn by --seed)",
    )
    picture.add_argument(
        "--only-base",
        action="store_true",
        help="backbone features even where the model has an embedding",
    )
    picture.add_argument("--perplexity", type=float, default=30.0, help="of t-SNE (default: 30)")
    return picture


def main(argv: list[str] | None = None) -> int:
    """Run tsne.py and return its exit status."""
    return run(build_parser(), command, argv)


def command(args: argparse.Namespace) -> None:
    """Draw as the arguments say."""
    from pathlib import Path

    from ancor.data.scan import report_skipped
    from ancor.errors import choose
    from ancor.plots.page import page, require_bokeh
    from ancor.plots.tsne import figure
    from ancor.runtime.logging import configure_console

    configure_console()
    choose("--format", args.format, FORMATS)
    if args.html:
        require_bokeh()
    (model,), partition = read_models_of(args, args.only_base)
    folder = Path(args.output_dir) if args.output_dir else beside_model(args)
    stem = folder / f"{beside_model(args).name}_{partition.dataset}"
    output_path(f"{stem}_coarse.{args.format}")  # fails before the work rather than after it
    drawn = []
    for name, layout in layouts(args, model, partition):
        drawn.append(layout)
        save(figure(layout), output_path(f"{stem}_{name}.{args.format}"), dpi=150)
    if args.html:
        path = output_path(f"{stem}.html")
        write_result(path, page(stem.name, drawn, partition))
        say(f"Wrote {path}")
    report_skipped(partition)


def layouts(
    args: argparse.Namespace, model: "Model", partition: "Partition"
) -> "Iterator[tuple[str, Layout]]":
    """Yield the name and the layout of each picture: `coarse`, and with fine labels `fine`.

    Raises:
        InputError: an argument is not accepted, or there are no labels of --mode.
    """
    from ancor.errors import InputError

    if not args.perplexity > 0:
        raise InputError(f"--perplexity {args.perplexity}: a number above 0 is needed")
    partition.labels(args.mode)  # refuses a partition without them
    inside = _coarse_number(args, partition)
    yield "coarse", _coarse_layout(args, model, partition)
    if args.mode == "fine":
        yield "fine", _fine_layout(args, model, partition, inside)


def _coarse_layout(args: argparse.Namespace, model: "Model", partition: "Partition") -> "Layout":
    """One episode's images, by coarse class; reports the accuracy of the model's own classifier."""
    import numpy as np

    from ancor.plots.tsne import Layout, project

    everything = np.arange(len(partition))
    images = episode_images(args, partition, everything, args.n_shots + args.n_queries)
    features, logits = encode(args, model, partition, images)
    coarse = partition.coarse_labels[images]
    weights = _class_weights(args, model, partition)
    if logits is not None and logits.shape[1] == partition.hierarchy.num_coarse:
        accuracy = 100 * np.mean(logits.argmax(1) == coarse)
        print(
            f"Coarse accuracy of the model's own classifier: {accuracy:.2f} ({len(images)} images)"
        )
    points, stars = project(features, weights, args.perplexity, args.seed)
    title = f"{partition.dataset}, {args.partition}: {len(images)} images by coarse class"
    names = partition.hierarchy.coarse_names
    return Layout(title, points, coarse, names, images, stars)


def _fine_layout(
    args: argparse.Namespace, model: "Model", partition: "Partition", coarse: int
) -> "Layout":
    """Images of a coarse class, by fine class."""
    import numpy as np

    from ancor.plots.tsne import Layout, project

    hierarchy = partition.hierarchy
    inside = np.flatnonzero(partition.coarse_labels == coarse)
    images = episode_images(args, partition, inside, FINE_IMAGES)
    features, _ = encode(args, model, partition, images)
    weights = _class_weights(args, model, partition)
    points, stars = project(
        features, None if weights is None else weights[[coarse]], args.perplexity, args.seed
    )
    classes, labels = np.unique(partition.fine_labels[images], return_inverse=True)
    return Layout(
        f"{partition.dataset}, {args.partition}: fine classes of "
        f"{hierarchy.coarse_names[coarse]!r}",
        points,
        labels,
        [hierarchy.fine_names[label] for label in classes],
        images,
        stars,
        arrows=len(stars) > 0,
    )


def _coarse_number(args: argparse.Namespace, partition: "Partition") -> int:
    """Return the coarse class that was asked for, or draw one that has images."""
    import numpy as np

    from ancor.errors import choose

    names = partition.hierarchy.coarse_names
    present = np.unique(partition.coarse_labels)
    if args.coarse_class is None:
        return int(np.random.RandomState(args.seed % 2**32).choice(present))
    numbers = {str(number): number for number in present.tolist()}
    numbers |= {names[number]: number for number in present.tolist()}
    return numbers[choose("--coarse-class", args.coarse_class, numbers)]


def _class_weights(
    args: argparse.Namespace, model: "Model", partition: "Partition"
) -> "np.ndarray | None":
    """Return the class weights (C, F) where they live among the features that are drawn."""
    from ancor.evaluation.feature_bank import class_weights

    embedded = model.network.config.embeds and not args.only_base
    kind = "embedding" if embedded else "features"
    weights = class_weights(model.network, kind, partition.hierarchy.num_coarse)
    if weights is None:
        print(
            "No stars are drawn: the model has no weights of these coarse classes among its "
            f"{'embeddings' if embedded else 'backbone features'}"
        )
    return weights
