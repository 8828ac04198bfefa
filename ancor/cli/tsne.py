"""Draw an encoder's features by t-SNE or UMAP: all coarse classes, and one of them from inside."""

import argparse
from pathlib import Path

from ancor.cli.arguments import Parser, main_of, say
from ancor.cli.models import read_models_of, tell_skipped
from ancor.cli.options import add_settings
from ancor.cli.pictures import FORMATS, add_picture_flags, beside_model, save
from ancor.errors import choose
from ancor.plots.config import LayoutConfig
from ancor.runtime.lazy import Lazy
from ancor.safe_io.writing import output_path, write_result

EXAMPLE = """example, after the one of train.py --help:
  python tsne.py --model-path runs/digits/model_best.pth.tar --partition test"""
# matplotlib and, for the page, bokeh take half a second each.
layouts = Lazy("ancor.plots.layouts")
page = Lazy("ancor.plots.page")
projections = Lazy("ancor.plots.projections")
tsne = Lazy("ancor.plots.tsne")


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
    """Add the flags of the layouts' settings; return the pictures' group."""
    add_picture_flags(parser, "n_queries", "equal_queries")
    return add_settings(parser, LayoutConfig, "pictures", filled=True)


def command(args: argparse.Namespace) -> None:
    """Draw as the arguments say."""
    config = LayoutConfig.among(vars(args))
    projections.require(config.projection)
    choose("--format", args.format, FORMATS)
    if args.html:
        page.require_bokeh()
    (model,), partition = read_models_of(args, args.only_base)
    if args.html:
        partition.images[0]  # features have none, and say so
    folder = Path(args.output_dir) if args.output_dir else beside_model(args)
    own = "" if args.projection == "tsne" else f"_{args.projection}"  # keeps those of t-SNE
    stem = folder / f"{beside_model(args).name}_{partition.dataset}{own}"
    output_path(f"{stem}_coarse.{args.format}")  # fails before the work rather than after it
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
