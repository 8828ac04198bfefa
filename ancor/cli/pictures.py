"""What the commands that draw pictures share: which images, their features, where pictures go."""

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ancor.cli.arguments import Parser, say
from ancor.cli.models import add_model_flags, model_paths
from ancor.cli.options import add_settings
from ancor.errors import choose
from ancor.evaluation.config import EvaluationConfig
from ancor.models.names import file_name
from ancor.safe_io.writing import output_path, write_result

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from ancor.data.partition import Partition

FORMATS = ("png", "svg", "pdf")


def add_picture_flags(parser: Parser, *settings: str, **flags: Any) -> None:
    """Add the flags of a command that draws what one model makes of a partition.

    Args:
        parser: the command's.
        settings: those of `EvaluationConfig` that it takes beside mode and seed.
        flags: what `add_model_flags` is told of its own.
    """
    add_model_flags(parser, **flags)
    names = ("mode", *settings, "seed")
    add_settings(parser, EvaluationConfig, "data", names, filled=True)


def add_choice_flags(parser: Parser, count: int) -> argparse._ArgumentGroup:
    """Add the flags that choose images of a partition; `count`: how many by default."""
    group = parser.add_argument_group("images")
    group.add_argument(
        "--images", type=int, nargs="+", metavar="I", help="their numbers in the partition, from 0"
    )
    group.add_argument(
        "--n",
        type=int,
        metavar="N",
        help=f"how many are drawn by --seed where none are named (default: {count})",
    )
    group.set_defaults(default_n=count)
    return group


def add_output_flag(parser: Parser, default: str) -> None:
    """Add --output, a picture; `default` tells where it goes otherwise."""
    parser.add_argument_group("picture").add_argument(
        "--output", metavar="FILE", help=f"ends in .png, .svg or .pdf (default: {default})"
    )


def picture_path(name: str, flag: str = "--output") -> Path:
    """Return a picture's path, of a known format and in a folder that exists and can be written to.

    Raises:
        InputError: it is not so.
    """
    choose(f"{flag} {name!r}: format", Path(name).suffix[1:].lower(), FORMATS)
    return output_path(name)


def save(figure: "Figure", path: Path, dpi: int = 110, quiet: bool = False) -> None:
    """Write a figure and, unless quiet, say so."""
    from ancor.plots.style import write

    buffer = io.BytesIO()
    write(figure, buffer, format=path.suffix[1:].lower(), dpi=dpi)
    write_result(path, buffer.getvalue())
    if not quiet:
        say(f"Wrote {path}")


def beside_model(args: argparse.Namespace) -> Path:
    """Return the folder of the model; one under runs/ for a library's."""
    (source,) = model_paths(args)
    name = file_name(source)
    return Path("runs").resolve() / name if name else Path(source).resolve().parent


def chosen_images(args: argparse.Namespace, partition: "Partition") -> "np.ndarray":
    """Return the images that --images names, or --n that --seed draws; (Q,) of int64."""
    from ancor.plots.layouts import choose_images

    count = args.default_n if args.n is None else args.n
    return choose_images(partition, args.images, count, args.seed)
