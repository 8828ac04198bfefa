"""Find the nearest pictures of a gallery of your own for each query picture."""

import argparse
from pathlib import Path

from ancor.cli.arguments import Parser, add_device_flags, add_json_flag, main_of, print_report
from ancor.cli.pictures import picture_path, save
from ancor.cli.predict import LOADING, add_encoder_flags
from ancor.errors import InputError
from ancor.runtime.text import write_csv
from ancor.safe_io.writing import output_path

EXAMPLE = (
    "example, after the one of train.py --help; the first line writes some digits as files:\n"
    "  python tools/write_images.py --dataset digits --output-dir runs/images\n"
    "  python -m ancor search --model-path runs/digits/model_best.pth.tar "
    "--query runs/images/query --gallery runs/images/support"
)


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor search", description=__doc__, epilog=EXAMPLE)
    add_encoder_flags(parser)
    add = parser.add_argument_group("images").add_argument
    add("--query", nargs="+", required=True, metavar="PATH", help="image files, or folders of them")
    add("--gallery", required=True, metavar="DIR", help="folder of images, also nested")
    add("--k", type=int, default=5, metavar="K", help="pictures found for each (default: 5)")
    add("--feature-cache", metavar="DIR", help="keep the gallery's features (default: nowhere)")
    report = parser.add_argument_group("report")
    add_json_flag(report)
    report.add_argument("--csv", metavar="FILE", help="write the same as a table")
    report.add_argument("--output", metavar="FILE", help="draw them: ends in .png, .svg or .pdf")
    add_device_flags(parser, precision="fp32", batch_size=256)
    return parser


def command(args: argparse.Namespace) -> None:
    """Search as the arguments say."""
    from ancor.fewshot import image_encoder, inputs, search
    from ancor.runtime import devices

    if args.model_path is None:
        raise InputError("`model_path` is needed: any file that eval.py reads")
    queries = [path for place in args.query for path in inputs.image_paths(place)]
    for name in (args.csv, None if args.json == "-" else args.json):
        output_path(name)
    picture = picture_path(args.output) if args.output else None
    given = {name: value for name, value in vars(args).items() if value is not None}
    encoder = image_encoder.load_encoder(
        args.model_path,
        **{name: given[name] for name in LOADING[1:] if name in given},
        device=devices.pick_device(args.device or "auto", args.gpu),
        precision=args.precision or "fp32",
        batch_size=args.batch_size,
        quiet=False,
    )
    cache = Path(args.feature_cache) if args.feature_cache else None
    rows = search.search(encoder, queries, args.gallery, args.k, cache)
    if args.csv:
        write_csv(args.csv, *search.table(rows))
    print_report({"queries": rows}, search.lines(rows), args.json)
    if picture is not None:
        from ancor.plots import captions, neighbors

        caption = captions.caption_of([args.model_path], [encoder.kind])
        title = f"{args.gallery}: the nearest of each query"
        save(neighbors.files_figure(rows, title, caption), picture, quiet=args.json == "-")


main = main_of(build_parser, command, logs=True)
