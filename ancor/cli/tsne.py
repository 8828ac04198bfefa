"""Draw t-SNE pictures of an encoder's features: all coarse classes, and one of them from inside."""

import argparse
from pathlib import Path

from ancor.cli.arguments import Parser, main_of, say
from ancor.cli.models import read_models_of, tell_skipped
from ancor.cli.options import group_of
from ancor.cli.pictures import FORMATS, add_picture_flags, beside_model, save
from ancor.errors import choose
from ancor.safe_io.writing import output_path, write_result

EXAMPLE = """example, after the one of train.py --help:
  python tsne.py --model_path runs/digits/model_best.pth.tar --partition test"""


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
    """Add the flags that `ancor.plots.layouts` reads; return the pictures' group."""
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


def command(args: argparse.Namespace) -> None:
    """Draw as the arguments say."""
    from ancor.plots import layouts, page, tsne

    choose("--format", args.format, FORMATS)
    if args.html:
        page.require_bokeh()
    (model,), partition = read_models_of(args, args.only_base)
    folder = Path(args.output_dir) if args.output_dir else beside_model(args)
    stem = folder / f"{beside_model(args).name}_{partition.dataset}"
    output_path(f"{stem}_coarse.{args.format}")  # fails before the work rather than after it
    config = layouts.LayoutConfig.among(vars(args))
    drawn = []
    for name, layout in layouts.layouts(model, partition, config):
        drawn.append(layout)
        save(tsne.figure(layout), output_path(f"{stem}_{name}.{args.format}"), dpi=150)
    if args.html:
        path = output_path(f"{stem}.html")
        write_result(path, page.page(stem.name, drawn, partition))
        say(f"Wrote {path}")
    tell_skipped(partition)


main = main_of(build_parser, command, logs=True)
