"""Train an encoder on coarse labels (or fine ones, for comparison)."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ancor.cli.arguments import BACKBONE_HELP, Parser, add_device_flags, run
from ancor.cli.data_flags import add_crop_flag, add_data_flags
from ancor.cli.settings import DEFAULTS, resolve, run_config
from ancor.errors import InputError

if TYPE_CHECKING:
    from ancor.runtime.launch import Group

EXAMPLE = """example, about a minute on a laptop (the digits come with scikit-learn):
  python train.py --dataset digits --mode coarse --output-dir runs/digits"""


def build_parser() -> Parser:
    """Build the parser; what is not given stays out of the namespace."""
    parser = Parser(
        prog="train.py", description=__doc__, epilog=EXAMPLE, argument_default=argparse.SUPPRESS
    )
    data = add_data_flags(parser, default=f"what --data holds; else {DEFAULTS['dataset']}")
    add_crop_flag(data)
    data.add_argument("--mode", help="which labels to train on: coarse or fine (required)")
    _add_model_flags(parser)
    _add_method_flags(parser)
    _add_schedule_flags(parser)
    _add_run_flags(parser)
    device = add_device_flags(parser, precision="auto")
    device.add_argument(
        "-j",
        "--workers",
        "--num-workers",
        type=int,
        metavar="N",
        help="processes that load data (default: the CPUs that may be used; 0 for small images "
        "in memory)",
    )
    add = _adder(device)
    add("--compile", action="store_true", help="compile the encoders' passes")
    _add_process_flags(parser)
    device.add_argument(
        "--augment-on",
        metavar="WHERE",
        help="who changes colours and blurs: workers, device or auto, the device if it is a GPU "
        "(default: auto)",
    )
    return parser


def _queue_length(text: str) -> int | str:
    return text if text == "auto" else int(text)


def _adder(group: argparse._ArgumentGroup) -> Callable[..., None]:
    """Return an add_argument that ends the help of a flag with its default."""

    def add(*names: str, help: str, **options: Any) -> None:
        action = group.add_argument(*names, help=help, **options)
        default = DEFAULTS[action.dest]
        if isinstance(default, tuple):
            default = " ".join(map(str, default))
        if default not in (None, False):
            action.help = f"{help} (default: {default})"

    return add


def _add_model_flags(parser: Parser) -> None:
    add = _adder(parser.add_argument_group("model"))
    add("-a", "--arch", "--model", metavar="NAME", help=f"backbone: {BACKBONE_HELP}")
    add("--head", metavar="NAME", help="seq, fork, cls or none")
    add("--mlp", action=argparse.BooleanOptionalAction, help="a hidden layer before the head")
    add("--cst-dim", "--dim", type=int, metavar="D", help="size of the embedding")


def _add_method_flags(parser: Parser) -> None:
    add = _adder(parser.add_argument_group("method"))
    add("--method", metavar="NAME", help="ancor; its parts, below, make the paper's other methods")
    add("--queue", metavar="KIND", help="multi (one for each class), single or none")
    add(
        "--queue-k",
        type=_queue_length,
        metavar="K",
        help="keys that a queue holds; auto: as many as the largest class has images",
    )
    add("--queue-dtype", metavar="NAME", help="what keys are stored in: fp32 or bf16")
    add("--metric", metavar="NAME", help="angular or norm")
    add(
        "--calc-types",
        nargs="+",
        metavar="NAME",
        help="loss calculators: cls, cst_by_class, cst_all_by_class, cst_all",
    )
    add("--loss-types", nargs="+", metavar="NAME", help="a loss for each calculator, in order: ce")
    add(
        "--loss-weights",
        type=float,
        nargs="+",
        metavar="W",
        help="factor of each loss in the total (default: 1 each)",
    )
    add("--cst-t", type=float, metavar="T", help="temperature of the contrastive logits")
    add("--encoder-m", type=float, metavar="M", help="momentum of the key encoder")
    add(
        "--drop-unfilled",
        action="store_true",
        help="leave queue slots that hold no key yet out of the negatives",
    )


def _add_schedule_flags(parser: Parser) -> None:
    group = parser.add_argument_group("schedule")
    add = _adder(group)
    add("--epochs", type=int, metavar="N", help="passes over the training set")
    group.add_argument("--start-epoch", type=int, metavar="N", help="count epochs from this one")
    add("-b", "--batch-size", type=int, metavar="N", help="images a step")
    add("--lr", type=float, metavar="RATE", help="learning rate")
    add("--schedule", type=int, nargs="*", metavar="EPOCH", help="epochs at which the rate falls")
    add("--gamma", type=float, metavar="FACTOR", help="factor of each fall")
    add(
        "--cos",
        action=argparse.BooleanOptionalAction,
        help="cosine schedule with restarts instead",
    )
    add("--num-cycles", type=int, metavar="N", help="its cycles")
    add("--momentum", type=float, metavar="M", help="momentum of SGD")
    add("--wd", "--weight-decay", type=float, metavar="W", help="weight decay")
    add("--max-steps", type=int, metavar="N", help="stop after this many steps")
    add(
        "--accumulate",
        type=int,
        metavar="N",
        help="pass a batch in so many parts, to save memory",
    )


def _add_run_flags(parser: Parser) -> None:
    group = parser.add_argument_group("run")
    add = _adder(group)
    group.add_argument(
        "--output-dir",
        metavar="DIR",
        help="where all files go (default: runs/<dataset>-<head>-<metric>, numbered when taken)",
    )
    group.add_argument("--overwrite", action="store_true", help="replace the run in --output-dir")
    group.add_argument(
        "--resume",
        metavar="FILE",
        help="go on from this last.pth.tar; auto: from the newest whole one in --output-dir, or "
        "start afresh",
    )
    group.add_argument("--config", metavar="FILE", help="repeat the run of this config.json")
    add(
        "--init-from",
        metavar="FILE",
        help="start from the backbone of this file: ours or the paper's, MoCo, SwAV, torchvision",
    )
    add("--seed", type=int, metavar="N", help="seed of everything random")
    add("-s", "--save-freq", type=int, metavar="N", help="epochs between validations and saves")
    add(
        "--save-minutes",
        type=float,
        metavar="M",
        help="save also when M minutes have passed since the last save (default: not)",
    )
    add(
        "--skip-nonfinite",
        type=int,
        metavar="N",
        help="go on after up to N steps in which a loss was not finite; each is undone",
    )
    add(
        "--keep-epochs",
        type=int,
        nargs="*",
        metavar="EPOCH",
        help="epochs, from 0, whose encoder is kept in a file of its own",
    )
    add("--select", metavar="HOW", help="model_best is chosen by validation, or is the last")
    add("--val-episodes", type=int, metavar="N", help="episodes of a validation; 0: none")
    add("-p", "--print-freq", type=int, metavar="N", help="steps between prints")
    add(
        "--figure-freq",
        type=int,
        metavar="N",
        help="epochs between t-SNE pictures in TensorBoard (default: none)",
    )
    group.add_argument("--quiet", action="store_true", help="say nothing but warnings")


def _add_process_flags(parser: Parser) -> None:
    group = parser.add_argument_group(
        "processes", "one needs no flag; under torchrun none is needed either"
    )
    group.add_argument(
        "--multiprocessing-distributed",
        action="store_true",
        help="start a process for each GPU of this node, or --nproc of them",
    )
    group.add_argument("--nproc", type=int, metavar="N", help="processes of this node")
    group.add_argument("--world-size", type=int, metavar="N", help="nodes (default: 1)")
    group.add_argument("--rank", type=int, metavar="N", help="number of this node (default: 0)")
    group.add_argument(
        "--dist-url",
        metavar="URL",
        help="where the first process listens (default: tcp://localhost:2375)",
    )
    group.add_argument(
        "--dist-backend", metavar="NAME", help="nccl or gloo (default: nccl with GPUs)"
    )
    group.add_argument(
        "--dist-timeout",
        type=float,
        metavar="MINUTES",
        help="how long nodes and processes wait for each other at the start (default: 10)",
    )
    _adder(group)("--sync-bn", action="store_true", help="batch-norm statistics over all processes")


def main(argv: list[str] | None = None) -> int:
    """Run train.py and return its exit status."""
    return run(build_parser(), command, argv)


def command(args: argparse.Namespace) -> None:
    """Train as the arguments say, in this process or in others."""
    from ancor.runtime import distributed, launch

    given = vars(args)
    if distributed.in_torchrun():
        distributed.join(given.get("dist_backend"), given.get("dist_timeout", distributed.MINUTES))
        try:
            _train(given)
        finally:
            distributed.leave()
    elif given.get("multiprocessing_distributed") or given.get("world_size", 1) > 1:
        launch.launch(_train, _group(given), given)
    else:
        _train(given)


def _group(given: dict[str, Any]) -> "Group":
    """Return the process group that the flags ask for."""
    import torch

    from ancor.runtime.devices import usable_cpus
    from ancor.runtime.launch import Group

    gpus = torch.cuda.device_count() if given.get("device", "auto") in ("auto", "cuda") else 0
    processes = given.get("nproc")
    if processes is None:
        processes = max(1, gpus) if given.get("multiprocessing_distributed") else 1
    most = gpus or max(64, usable_cpus())
    if not 1 <= processes <= most:
        why = ", one for each GPU" if gpus else ""
        raise InputError(f"--nproc {processes}: accepted here: 1 to {most}{why}")
    named = {"url": "dist_url", "backend": "dist_backend", "minutes": "dist_timeout"}
    named = {name: given[flag] for name, flag in named.items() if flag in given}
    # The paper's -1 stands for a single node.
    nodes, node = max(1, given.get("world_size", 1)), max(0, given.get("rank", 0))
    return Group(processes, nodes, node, **named)


def _train(given: dict[str, Any]) -> None:
    """Train in this process, one of a group if there is one."""
    from ancor.runtime import distributed
    from ancor.runtime.devices import keep_freed_memory, pick_device
    from ancor.runtime.logging import configure_console
    from ancor.training.run import Launch, train
    from ancor.training.run_folder import output_directory

    configure_console(given.get("quiet", False))
    device = pick_device(given.get("device", "auto"), given.get("gpu"))
    if device.type == "cuda" and "gpu" not in given and distributed.world_size() > 1:
        device = pick_device(gpu=distributed.local_rank())
    if device.type == "cpu":
        keep_freed_memory()
    resume_from, content = _resumed(given)
    settings, notes = resolve(given, content)
    config = run_config(settings)
    default_folder = "runs/{dataset}-{head}-{metric}".format(**settings)
    named = given.get("output_dir") or (str(resume_from.parent) if resume_from else None)
    overwrite = given.get("overwrite", False)
    # Only the first process writes there, and so only it can find the folder taken.
    resume = "resume" in given or not distributed.is_first()
    folder = output_directory(named, default_folder, overwrite, resume)
    launch = Launch(
        folder,
        device,
        given.get("precision", "auto"),
        content,
        resume_from,
        given.get("start_epoch"),
        overwrite,
        given.get("quiet", False),
        given.get("augment_on", "auto"),
    )
    train(config, launch, notes)


def _resumed(given: dict[str, Any]) -> tuple[Path | None, dict[str, Any] | None]:
    """Return the file to resume from and its content; None: a fresh start."""
    from ancor.checkpoints import checkpoint

    resume = given.get("resume")
    if resume is None:
        return None, None
    if resume != "auto":
        return Path(resume), checkpoint.read(resume)
    if "output_dir" not in given:
        raise InputError("--resume auto looks into --output-dir, which was not given; name it")
    return checkpoint.newest(Path(given["output_dir"])) or (None, None)
