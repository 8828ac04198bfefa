"""The flags that name trained encoders and what they meet, and the way from them to both."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ancor.cli.arguments import Parser, add_device_flags
from ancor.cli.data_flags import add_data_flags
from ancor.models.names import OWN_WEIGHTS, sources

if TYPE_CHECKING:
    from ancor.data.partition import Partition
    from ancor.evaluation.models import Model
    from ancor.runtime.devices import Runtime


def add_model_flags(
    parser: Parser,
    many: bool = False,
    batch_size: int = 256,
    training: bool = False,
    partition: str = "validation",
    cache: str | None = None,
) -> None:
    """Add the flags that say which trained encoders, on which partition, and how they run.

    Args:
        parser: the command's.
        many: whether it takes several models.
        batch_size: default of the images a forward pass.
        training: whether the command draws training views, of all partitions.
        partition: the one that is taken by default, of those that take one.
        cache: where features are kept by default; None: the command keeps none.
    """
    data = add_data_flags(parser, default="the one trained on", training=training)
    default = "all there are" if training else partition
    data.add_argument(
        "--partition",
        nargs="+" if training else None,
        default=None if training else partition,
        metavar="NAME",
        help=f"train, validation or test (default: {default})",
    )
    add = parser.add_argument_group("model").add_argument
    each = "; one for all files, or one for each" if many else ""
    several = "+" if many else 1
    add(
        "--model-path",
        nargs=several,
        metavar="FILE",
        help=f"a checkpoint that train.py wrote{', or several' if many else ''}; hf-hub:OWNER/NAME "
        "of the hub; timm:NAME or torchvision:NAME with the library's weights, or =FILE behind it",
    )
    add(
        "--pretrained",
        nargs="?",
        const=OWN_WEIGHTS,
        metavar="FILE",
        help="in place of --model-path: --arch of a library with its weights, or those of a file",
    )
    for flags, dest, metavar, text in (
        (("--arch", "--model", "-a"), "arch", "NAME", "backbone"),
        (("--head",), "head", "NAME", "head"),
        (("--dim", "--cst-dim"), "dim", "D", "embedding size"),
    ):
        add(
            *flags,
            dest=dest,
            nargs=several,
            type=int if dest == "dim" else str,
            metavar=metavar,
            help=f"{text} (default: from the file){each}",
        )
    device = add_device_flags(parser, precision="fp32", batch_size=batch_size)
    device.add_argument(
        "--num-workers",
        "--workers",
        "-j",
        dest="workers",
        type=int,
        default=0,
        metavar="N",
        help="processes that decode images (default: 0)",
    )
    if cache is not None:
        about = f"keep features here, for all commands that take it (default: {cache})"
        device.add_argument("--feature-cache", metavar="DIR", help=about)


def runtime_of(args: argparse.Namespace) -> "Runtime":
    """Return where and how passes run, as the flags say."""
    from ancor.runtime import devices

    names = args.device or "auto", args.precision or "fp32", args.gpu
    workers = getattr(args, "workers", 0)
    return devices.Runtime.named(*names, batch_size=args.batch_size, workers=workers, quiet=False)


def model_paths(args: argparse.Namespace) -> list[str]:
    """Return what flags name as models: files, or backbones of libraries."""
    return sources(args.model_path, args.arch, args.pretrained)


def expected_of(args: argparse.Namespace) -> dict[str, list]:
    """Return what flags say that models are, by setting; --pretrained names one by --arch."""
    names = ("arch", "head", "dim") if args.pretrained is None else ("head", "dim")
    return {name: getattr(args, name) or [None] for name in names}


def read_models_of(
    args: argparse.Namespace,
    only_base: bool | None,
    partition: "Partition | None" = None,
    beside: "Model | None" = None,
) -> "tuple[list[Model], Partition]":
    """Read the models that flags name, or the baseline beside one, and the partition, if needed."""
    from ancor.evaluation.models import read_models

    cache = getattr(args, "feature_cache", None)
    return read_models(
        [args.baseline] if beside else model_paths(args),
        vars(args) | (beside.data.same_images if beside else {}),
        partition or args.partition,
        runtime_of(args),
        only_base=only_base,
        cache=Path(cache) if cache else None,
        expected={} if beside else expected_of(args),
    )


def tell_skipped(partition: "Partition") -> None:
    """List the images that were left out because they cannot be read."""
    from ancor.data.scan import report_skipped

    report_skipped(partition)
