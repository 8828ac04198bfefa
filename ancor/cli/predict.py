"""Classify images by one or a few images of each class, which the encoder need never have seen."""

import argparse
from typing import TYPE_CHECKING

from ancor.cli.arguments import Parser, add_device_flags, add_json_flag, main_of, print_report
from ancor.cli.data_flags import add_view_flags
from ancor.errors import InputError
from ancor.evaluation.config import INDUCTIVE, as_penalty, check_penalty
from ancor.runtime.text import write_csv
from ancor.safe_io.writing import output_path

if TYPE_CHECKING:
    from ancor.fewshot.classifier import Classifier

EXAMPLE = (
    "example, after the one of train.py --help; the first line writes some digits as files:\n"
    "  python tools/write_images.py --dataset digits --output-dir runs/images\n"
    "  python -m ancor predict --model-path runs/digits/model_best.pth.tar "
    "--support runs/images/support --query runs/images/query"
)
# What a saved classifier brings along: of the encoder, and of the classifier by parameter.
LOADING = ("model_path", "head", "only_base", "dataset", "image_size", "mean", "std")
SETTINGS = ("classifier", "C", "center", "n_augmentations", "coarse_first", "seed")
ANSWERS = ("unknown", "unknown_rate", "back_off", "coarse_by")  # of both


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor predict", description=__doc__, epilog=EXAMPLE)
    add_encoder_flags(parser)
    _add_class_flags(parser.add_argument_group("classes"))
    queries = parser.add_argument_group("images to classify")
    queries.add_argument(
        "--query",
        nargs="+",
        default=[],
        metavar="PATH",
        help="image files, or folders of them, also nested; of folders that are named as classes "
        "the accuracy is told",
    )
    queries.add_argument(
        "--unknown",
        type=_probability_or_auto,
        metavar="P",
        help='answer "unknown" below this probability; auto: below a similarity to the class means '
        "that follows from the support images",
    )
    queries.add_argument(
        "--unknown-rate",
        type=float,
        metavar="R",
        help="share of images of known classes that --unknown auto may answer so (default: 0.05)",
    )
    queries.add_argument(
        "--back-off",
        type=float,
        metavar="P",
        help="answer the coarse class where the class has a lower probability",
    )
    what = "coarse answers by the sum over the classes, or by the encoder's own classifier"
    queries.add_argument("--coarse-by", choices=("classes", "encoder"), help=what)
    queries.add_argument(
        "--top-k", type=int, metavar="K", help="list the K likeliest classes with probabilities"
    )
    report = parser.add_argument_group("report")
    add_json_flag(report)
    report.add_argument("--csv", metavar="FILE", help="write the same as a table")
    add_device_flags(parser, precision="fp32", batch_size=256)
    return parser


def _probability_or_auto(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: give a probability, or auto") from error


def add_encoder_flags(parser: Parser) -> None:
    """Add the flags that say which encoder, and how it sees images."""
    model = parser.add_argument_group("model")
    model.add_argument("--model-path", metavar="FILE", help="any file that eval.py reads")
    model.add_argument("--head", metavar="NAME", help="head (default: from the file)")
    model.add_argument(
        "--only-base",
        action=argparse.BooleanOptionalAction,
        help="backbone features, or the head's embedding (default: backbone features; of a head "
        "trained on features both)",
    )
    add_view_flags(parser, "preprocessing (default: from the file)")


def _add_class_flags(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--support", metavar="DIR", help="folder of one folder a class, or <coarse>/<class>/*")
    add(
        "--saved",
        "--classifier",
        dest="saved",
        metavar="FILE",
        help="one that --save wrote, in place of --model-path and --support; with --support, its "
        "images are learned in addition",
    )
    add("--save", metavar="FILE", help="keep the classifier, with all that it needs, in one file")
    add("--cls", dest="classifier", metavar="NAME", help=f"{', '.join(INDUCTIVE)} (default: LR)")
    add("--C", type=as_penalty, metavar="C", help="of LR: penalty as in eval.py (default: 1.0)")
    what = "subtract the mean feature of the training images, or of those in DIR"
    add("--center", nargs="?", const=True, metavar="DIR", help=what)
    add(
        "--coarse-first",
        action="store_true",
        default=None,
        help="the encoder's own classifier tells the coarse class, features the class within it",
    )
    add(
        "--n-augmentations",
        "--n-aug-support-samples",
        "--images-per-view",
        type=int,
        metavar="A",
        help="augmented copies of each support image; 0: the image itself (default: 5)",
    )
    add("--seed", type=int, metavar="N", help="of the augmented copies (default: 0)")


def command(args: argparse.Namespace) -> None:
    """Predict as the arguments say."""
    from ancor.fewshot import inputs, predictions

    _check(args)
    queries = [(place, path) for place in args.query for path in inputs.image_paths(place)]
    for name in (args.save, args.csv, None if args.json == "-" else args.json):
        output_path(name)
    model = _classifier(args)
    if args.save:
        model.save(args.save)
    if not queries:
        return
    rows = predictions.classify(model, queries, args.top_k)
    if args.csv:
        write_csv(args.csv, *predictions.table(rows))
    accuracy = predictions.accuracy_of(rows)
    report = {"predictions": rows, **({"accuracy": accuracy} if accuracy else {})}
    print_report(report, [*predictions.lines(rows), *predictions.told(accuracy)], args.json)


def _check(args: argparse.Namespace) -> None:
    """Raise an InputError where flags are missing or contradict each other."""
    if not args.query and not args.save:
        raise InputError("--query is needed: image files or folders; or --save FILE")
    for name in ("json", "csv", "top_k"):
        if not args.query and getattr(args, name) is not None:
            raise InputError(f"`{name}` is of the images of `query`; give some, or leave it out")
    if args.top_k is not None and args.top_k < 1:
        raise InputError(f"--top-k {args.top_k}: at least 1 is needed")
    if args.saved is None:
        for name in ("model_path", "support"):
            if getattr(args, name) is None:
                raise InputError(f"`{name}` is needed; or --saved FILE, a saved classifier")
        check_penalty(1.0 if args.C is None else args.C, [args.classifier or "LR"])
        return
    for name in (*LOADING, *SETTINGS):
        if getattr(args, name) is not None:
            raise InputError(
                f"`{name}` was given with --saved {args.saved!r}, which keeps the settings that "
                "it was saved with; leave one of them out"
            )


def _classifier(args: argparse.Namespace) -> "Classifier":
    """Load or make the classifier."""
    from ancor.fewshot import classifier, image_encoder
    from ancor.runtime import devices

    options = {
        "device": devices.pick_device(args.device or "auto", args.gpu),
        "precision": args.precision or "fp32",
        "batch_size": args.batch_size,
        "quiet": False,
    }
    if args.saved is not None:
        model = classifier.Classifier.load(args.saved, **options)
        learn = model.add
    else:
        given = {name: value for name, value in vars(args).items() if value is not None}
        loading = {name: given[name] for name in LOADING[1:] if name in given}
        model = classifier.Classifier(
            image_encoder.load_encoder(args.model_path, **loading, **options)
        )
        model.set_params(**{name: given[name] for name in SETTINGS if name in given})
        learn = model.fit
    answers = {name: getattr(args, name) for name in ANSWERS if getattr(args, name) is not None}
    model.set_params(**answers)
    if args.unknown_rate is not None and model.unknown != "auto":
        raise InputError(
            f"--unknown-rate {args.unknown_rate} has an effect with --unknown auto only"
        )
    return learn(args.support) if args.support else model


main = main_of(build_parser, command, logs=True)
