"""Find sub-classes inside coarse classes that nobody named, for a person to look at and name."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ancor.cli.arguments import Parser, main_of, say
from ancor.cli.models import add_model_flags, read_models_of, tell_skipped
from ancor.cli.options import add_settings
from ancor.evaluation.config import EvaluationConfig
from ancor.evaluation.discovery_config import DiscoveryConfig
from ancor.models.names import library_of
from ancor.runtime.settings import settings_of
from ancor.runtime.text import command_line
from ancor.safe_io.writing import write_result

if TYPE_CHECKING:
    from ancor.evaluation.models import Model

EXAMPLE = """example, after the one of train.py --help:
  python -m ancor discover --model-path runs/digits/model_best.pth.tar --output runs/found"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor discover", description=__doc__, epilog=EXAMPLE)
    add_model_flags(parser, partition="train", cache="nowhere")
    add_settings(parser, DiscoveryConfig, "sub-classes", filled=True)
    features = ("only_base", "features_out")
    add_settings(parser, EvaluationConfig, "sub-classes", features, filled=True)
    parser.add_argument_group("report").add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="new folder for labels.csv, index.html and a folder of images a sub-class",
    )
    return parser


def command(args: argparse.Namespace) -> None:
    """Find and write sub-classes as the arguments say."""
    from ancor.data import subclass_folders
    from ancor.evaluation import discovery, feature_bank
    from ancor.plots import discovery_page

    given = {name: getattr(args, name) for name in settings_of(DiscoveryConfig)}
    config = DiscoveryConfig(**{**given, "k": tuple(args.k)})
    folder = Path(args.output)
    subclass_folders.check_folder(folder)
    (model,), partition = read_models_of(args, args.only_base)
    discovery.check_images(partition)
    kind = feature_bank.kind_of(model.network, model.content, args.only_base, args.features_out)
    found = discovery.discover(model.bank(partition, kind, config.seed), partition, config)
    for line in found.lines():
        say(line)
    subclasses = [(each.coarse, each.images) for each in found.subclasses]
    written = subclass_folders.write(folder, partition, subclasses, args.root)
    table = subclass_folders.write_labels(folder, partition, written.paths, found.names())
    write_result(folder / "index.html", discovery_page.page(found, written.paths))
    say(f"Wrote {folder}: {table.name}, index.html to name, merge and drop, and {written.told}")
    if partition.name != "train":
        say(f"Notice: {table.name} has these {partition.name} images as train, to be trained on")
    words = ["--dataset", "folder", "--data", written.root, "--labels", table, "--mode", "fine"]
    say(f"Next: {command_line('train', *words, *start_words(model))}")
    tell_skipped(partition)


def start_words(model: "Model") -> list[str]:
    """Return the flags by which a training starts from a model's backbone.

    Without them it would start from random weights, for which a few named images are far too few.
    """
    arch = model.network.config.arch
    if library_of(model.path)[0]:  # which brings its size
        _, _, file = model.path.partition("=")
        return ["--arch", arch, "--pretrained", *([file] if file else [])]
    return ["--arch", arch, "--image-size", str(model.transforms.size), "--pretrained", model.path]


main = main_of(build_parser, command, logs=True)
