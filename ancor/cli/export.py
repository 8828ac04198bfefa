"""Write an encoder, or a few-shot classifier with its encoder, for other programs.

What was written is compared with PyTorch.
"""

import argparse
from pathlib import Path

from ancor.cli.arguments import Parser, main_of, say
from ancor.cli.data_flags import VIEWS, add_view_flags
from ancor.errors import InputError
from ancor.runtime.lazy import Lazy

export, pretrained = Lazy("ancor.checkpoints.export"), Lazy("ancor.checkpoints.pretrained")
classifier, deploy = Lazy("ancor.fewshot.classifier"), Lazy("ancor.fewshot.deploy")
resolve = Lazy("ancor.data.resolve")
EXAMPLE = """example, after the one of train.py --help:
  python -m ancor export --model-path runs/digits/model_best.pth.tar --to onnx"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor export", description=__doc__, epilog=EXAMPLE)
    group = parser.add_argument_group("export")
    source = group.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--model-path",
        metavar="FILE",
        help="a checkpoint that train.py wrote, or any other file that eval.py reads",
    )
    source.add_argument(
        "--with-classifier",
        metavar="FILE",
        help="a few-shot classifier that ancor predict --save wrote: from pixels to the "
        "probabilities of its classes",
    )
    add = group.add_argument
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
    if args.with_classifier is not None:
        _check_alone(args)
        source = args.with_classifier
        _with_classifier(source, *export.output_file(source, args.to, args.output))
        return
    path, to = export.output_file(args.model_path, args.to, args.output)
    if to == "safetensors" and args.output_layer:
        raise InputError(
            "--output-layer chooses what a graph returns, and .safetensors holds weights alone; "
            "leave it out, or export to onnx or pt2"
        )
    encoder, content = pretrained.load_encoder(args.model_path, args.head)
    pretrained.check_head(args.head, encoder, args.model_path)
    outputs = export.chosen_outputs(encoder, args.output_layer)
    data = resolve.resolve_data(vars(args), content["config"]["data"])
    difference = export.export(args.model_path, encoder, content, data, path, to, outputs)
    size = data.transforms.size
    say(f"Wrote {path}: {', '.join(outputs)} of images (N, 3, {size}, {size})")
    print(f"Largest difference from PyTorch on 1 and 8 images: {difference:.1g}")


def _check_alone(args: argparse.Namespace) -> None:
    """Raise an InputError for flags that say what a saved classifier says."""
    for name in ("output_layer", "head", *VIEWS):
        if getattr(args, name) is not None:
            raise InputError(
                f"`{name}` was given with --with-classifier {args.with_classifier!r}, which brings "
                "its encoder and its preprocessing along; leave it out"
            )


def _with_classifier(source: str, path: Path, to: str) -> None:
    """Export a saved few-shot classifier."""
    model = classifier.Classifier.load(source, device="cpu")
    difference, about = deploy.export(source, model, path, to)
    size = about["image_size"]
    say(f"Wrote {path}: {', '.join(about['outputs'])} of pixels (N, {size}, {size}, 3)")
    print(f"Largest difference from PyTorch on 1 and 8 images: {difference:.1g}")


main = main_of(build_parser, command)
