"""Write an encoder for other programs, with its preprocessing, and check it against PyTorch."""

import argparse

from ancor.cli.arguments import Parser, main_of, say
from ancor.cli.data_flags import add_view_flags
from ancor.errors import InputError

EXAMPLE = """example, after the one of train.py --help:
  python -m ancor export --model-path runs/digits/model_best.pth.tar --to onnx"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor export", description=__doc__, epilog=EXAMPLE)
    add = parser.add_argument_group("export").add_argument
    add(
        "--model-path",
        required=True,
        metavar="FILE",
        help="a checkpoint that train.py wrote, or any other file that eval.py reads",
    )
    add(
        "--to",
        metavar="FORMAT",
        help="onnx, pt2 (torch.export) or safetensors (default: the suffix of --output)",
    )
    add("--output", metavar="FILE", help="(default: beside the checkpoint, under its name)")
    add(
        "--output-layer",
        nargs="+",
        metavar="NAME",
        help="of onnx and pt2: features, embedding, logits (default: all that the head gives)",
    )
    add("--head", metavar="NAME", help="of a published file whose shapes leave it open")
    add_view_flags(parser, "preprocessing (default: from the file)")
    return parser


def command(args: argparse.Namespace) -> None:
    """Export as the arguments say."""
    from ancor.checkpoints import export, pretrained
    from ancor.data.resolve import resolve_data

    path, to = export.output_file(args.model_path, args.to, args.output)
    if to == "safetensors" and args.output_layer:
        raise InputError(
            "--output-layer chooses what a graph returns, and .safetensors holds weights alone; "
            "leave it out, or export to onnx or pt2"
        )
    encoder, content = pretrained.load_encoder(args.model_path, args.head)
    outputs = export.chosen_outputs(encoder, args.output_layer)
    data = resolve_data(vars(args), content["config"]["data"])
    difference = export.export(args.model_path, encoder, content, data, path, to, outputs)
    size = data.transforms.size
    say(f"Wrote {path}: {', '.join(outputs)} of images (N, 3, {size}, {size})")
    print(f"Largest difference from PyTorch on 1 and 8 images: {difference:.1g}")


main = main_of(build_parser, command)
