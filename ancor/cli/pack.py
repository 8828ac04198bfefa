"""Write a dataset's images into one file, which --data takes in place of their folder."""

import argparse

from ancor.cli.arguments import Parser, main_of
from ancor.cli.data_flags import add_data_flags
from ancor.cli.options import add_settings
from ancor.data.config import PREPROCESSING, DataConfig
from ancor.data.file_config import PackConfig
from ancor.errors import InputError
from ancor.runtime.settings import as_typed

EXAMPLE = "example:\n  python -m ancor pack --dataset digits --out digits.pack"


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor pack", description=__doc__, epilog=EXAMPLE)
    add_data_flags(parser, default="what --data holds")
    add_settings(parser, PackConfig, "pack", filled=True)
    parser.add_argument("--out", required=True, metavar="FILE", help="the file that is written")
    return parser


def command(args: argparse.Namespace) -> None:
    """Pack as the arguments say."""
    from ancor.data import pack, resolve

    config = PackConfig(args.size, args.encoding, args.quality)
    data = resolve.resolve_data(vars(args), None)
    _check_settings(data)
    pack.pack(data, config, args.out)


def _check_settings(data: DataConfig) -> None:
    """Raise an InputError for a setting of what is made of the images when they are read."""
    photographs = data.spec.transforms.native_size is None
    stored_by = ("interpolation",) if photographs else ()  # by which they are resized
    views = [name for name in (*PREPROCESSING, "flip") if name not in stored_by]
    for name in (*views, "val_fraction", "test_fraction"):
        value = getattr(data, name)
        if value is not None:
            raise InputError(
                f"{as_typed(name, value)}: images are stored with the partitions that there are, "
                "larger ones resized to `size`; leave it out, and give it where they are read"
            )


main = main_of(build_parser, command, logs=True)
