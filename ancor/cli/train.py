"""Train an encoder on coarse labels (or fine ones, for comparison)."""

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

from ancor.cli.arguments import Parser, add_device_flags, main_of
from ancor.cli.data_flags import add_data_flags
from ancor.cli.options import add_settings, flags_of, group_of
from ancor.data.config import PERMISSIONS
from ancor.errors import InputError, capped
from ancor.methods.config import MethodConfig
from ancor.methods.registry import METHODS, differing_defaults
from ancor.models.config import EncoderConfig
from ancor.runtime.lazy import Lazy
from ancor.runtime.settings import show_as
from ancor.training.config import TrainConfig
from ancor.training.given import run_config
from ancor.training.resolve import paper_defaults

# These bring torch, which a parser does without.
distributed, launch = Lazy("ancor.runtime.distributed"), Lazy("ancor.runtime.launch")
rendezvous = Lazy("ancor.runtime.rendezvous")
# Flags of one start only, and those that the command which goes on has or does not need.
NOT_REPEATED = (
    *("output_dir", "overwrite", "resume", "config", "start_epoch", "loss_types", "debug"),
    "download",
)
DESCRIPTION = f"""{__doc__}
Defaults are the paper's and those of methods; datasets and pretrained weights have others, which
the start of a run tells."""
MODE_HELP = "which labels to train on: coarse (the method) or fine (an upper bound); required"
EXAMPLE = """example, about a minute on a laptop (the digits come with scikit-learn):
  python train.py --dataset digits --mode coarse --output-dir runs/digits"""


def build_parser() -> Parser:
    """Build the parser; what is not given stays out of the namespace."""
    parser = Parser(
        prog="train.py", description=DESCRIPTION, epilog=EXAMPLE, argument_default=argparse.SUPPRESS
    )
    add_data_flags(parser, default="what --data holds; else living17", training=True)
    add_settings(parser, TrainConfig, "data", ["mode"], {"mode": None}, mode=MODE_HELP)
    differing = differing_defaults(paper_defaults())
    add_settings(parser, EncoderConfig, "model", defaults=differing)
    about = f"training method: {', '.join(METHODS)}"
    add_settings(parser, MethodConfig, "method", defaults=differing, name=about)
    for method in METHODS.values():
        add_settings(parser, method.config, "method", defaults=differing)
    parser.add_argument("--loss-types", nargs="+", help=argparse.SUPPRESS)  # the paper's: all ce
    add_settings(parser, TrainConfig, "schedule", defaults=differing)
    _add_run_flags(parser)
    device = add_device_flags(parser, precision="auto")
    device.add_argument(
        "--augment-on",
        metavar="WHERE",
        help="who changes colors and blurs: workers, device or auto, the device if it is a GPU "
        "(default: auto)",
    )
    _add_process_flags(parser)
    return parser


def _add_run_flags(parser: Parser) -> None:
    add = group_of(parser, "run").add_argument
    add(
        "--output-dir",
        metavar="DIR",
        help="where files go (default: runs/<dataset>-<head>-<metric or method>, or with a number)",
    )
    add("--overwrite", action="store_true", help="replace the run in --output-dir")
    add(
        "--resume",
        metavar="FILE",
        help="go on from this last.pth.tar; auto: from the newest whole one in --output-dir, or "
        "start afresh",
    )
    add("--config", metavar="FILE", help="repeat the run of this config.json, but for --precision")
    add("--start-epoch", type=int, metavar="N", help="count epochs from this one")
    add(
        "--log",
        metavar="NAME",
        help="what shows the figures beside TensorBoard: wandb or mlflow (default: tensorboard)",
    )
    add("--quiet", action="store_true", help="say nothing but warnings")


def _add_process_flags(parser: Parser) -> None:
    group = group_of(parser, "processes")
    group.description = "one needs no flag; under torchrun none is needed either"
    group.add_argument(
        "--multiprocessing-distributed",
        action="store_true",
        help="start a process for each GPU of this node",
    )
    group.add_argument("--nproc", type=int, metavar="N", help="start N processes of this node")
    group.add_argument("--world-size", type=int, metavar="N", help="nodes (default: 1)")
    group.add_argument("--rank", type=int, metavar="N", help="number of this node (default: 0)")
    group.add_argument(
        "--dist-url",
        metavar="URL",
        help="where the first process listens (default: tcp://localhost:2375)",
    )
    group.add_argument(
        "--dist-backend", metavar="NAME", help="nccl or gloo (default: nccl on GPUs)"
    )
    group.add_argument(
        "--dist-timeout",
        type=float,
        metavar="MINUTES",
        help="how long nodes and processes wait for each other at the start (default: 10)",
    )


def command(args: argparse.Namespace) -> None:
    """Train as the arguments say, in this process or in others."""
    given = vars(args)
    if distributed.in_torchrun():
        minutes = given.get("dist_timeout", rendezvous.MINUTES)
        device = "cuda" if "gpu" in given else given.get("device", "auto")
        distributed.join(given.get("dist_backend"), minutes, device)
        try:
            _train(given, rendezvous.unused(given, torchrun=True))
        finally:
            distributed.destroy()
    elif rendezvous.asks_for_processes(given):
        launch.launch(_train_in_a_group, launch.Group.of(given), given)
    else:
        _train(given, rendezvous.unused(given, torchrun=False))


def _train_in_a_group(given: dict[str, Any]) -> None:
    """Train in a fresh process, which has parsed no command line."""
    show_as(flags_of(build_parser()))
    _train(given)


def _train(given: dict[str, Any], told: Iterable[str] = ()) -> None:
    """Train in this process, one of a group if there is one."""
    from ancor.runtime import devices, logging
    from ancor.training import resume, run, run_folder

    logging.configure_console(given.get("quiet", False))
    device = given.get("device", "auto")
    gpu = given["gpu"] if "gpu" in given else distributed.own_gpu(device)
    precision, quiet = given.get("precision", "auto"), given.get("quiet", False)
    runtime = devices.Runtime.named(device, precision, gpu, quiet=quiet)
    losses = set(given.get("loss_types", ())) - {"ce"}
    if losses:
        raise InputError(f"--loss-types {capped(sorted(losses))}: expected ce, the only loss")
    resume_from, content = resume.start_from(given.get("resume"), given.get("output_dir"))
    config, notes = run_config(given, content)
    kind = config.method.metric if config.method.name == "ancor" else config.method.name
    default_folder = f"runs/{config.data.dataset}-{config.encoder.head}-{kind}"
    named = given.get("output_dir") or (str(resume_from.parent) if resume_from else None)
    overwrite, again = given.get("overwrite", False), "resume" in given
    folder = run_folder.output_directory(named, default_folder, overwrite, again, resume_from)
    if overwrite and named is None:
        notes = [*notes, "Notice: `overwrite` given without effect, as no `output_dir` is named"]
    launch = run.Launch(
        *(folder, runtime, content, resume_from, given.get("start_epoch"), overwrite),
        *(given.get("augment_on", "auto"), given.get("log", "tensorboard")),
        tuple(_of_no_file(given)),
    )
    run.train(config, launch, [*told, *notes])


def _of_no_file(given: dict[str, Any]) -> Iterator[str]:
    """Yield the flags that a run's files do not hold, for the command that goes on with it."""
    held = {*NOT_REPEATED, *paper_defaults().keys() - set(PERMISSIONS)}
    for name, flag in flags_of(build_parser()).items():
        if name in given and name not in held:
            value = given[name]
            yield from [flag] if value is True else [flag, str(value)]


main = main_of(build_parser, command)
