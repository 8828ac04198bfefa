"""Speed beside other projects: the same work by theirs and by ours, in one run.

    python benchmarks/peers.py step      # a training step: lightly, solo-learn
    python benchmarks/peers.py epoch     # an epoch with what brings its images
    python benchmarks/peers.py episodes  # 1,000 few-shot episodes: easyfsl
    python benchmarks/peers.py recall    # retrieval: pytorch-metric-learning
    python benchmarks/peers.py loader    # training images of JPEG files: torchvision, timm
    python benchmarks/peers.py all

One table: seconds are medians, and `peer / ours` is the median of the ratios of neighbors in time,
how many times as long the peer takes; `of the processor` is the same of the seconds that it worked,
which what else the machine does changes less. Each side lives in a process of its own, and they
take turns (`turns.py`); the first turn warms up. `-` is what a peer does not do, or what is timed
in part. A peer that is not installed is named and left out; none belongs to the toolkit's
requirements.

All have the same network (the toolkit's module), head, images, batch, threads, precision, and SGD
with momentum and weight decay. What differs:

- step, epoch: `ours` is the trainer's whole step with its figures and checks, weights and images in
  channels-last, freed memory kept; both are the toolkit's defaults, and `--alike` gives them to the
  peers too. A peer's is what its guide has:
  lightly's loop of passes, memory bank, momentum update, backward, optimizer. solo-learn's
  `training_step` also trains a classifier on detached features; Lightning's trainer and its logging
  are left out, in its favor. Its MoCo-v2+ passes both views through both encoders: it is given half
  the images a batch, so that a step has the same passes, and an epoch twice. For simclr and supcon
  ours passes both views at once, theirs one after the other. lightly has no supervised loss.
- epoch: each has its own dataset and transforms, with the same settings; ours and lightly's crop by
  bilinear, solo-learn's by bicubic.
- episodes: 5 images of support and 15 of queries a class, prototypes of normalized features, the
  same episodes. easyfsl passes each episode's images; `features once` is its own way around that,
  with its dataset of features. It is timed on some episodes and extrapolated to all; ours does all.
- recall: recall at eight K and MAP@R of features of unit length; ours also votes by k-NN.
- loader: batches ready for the network, of one view an image (crop, jitter, gray, blur, flip) or of
  two of an image decoded once, in one thread. Peers read the files; they have no packed form. timm
  has no two views of an image.
"""

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module, metadata
from math import isnan
from pathlib import Path
from statistics import median

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import peer_work as work  # noqa: E402
from ablation import processor  # noqa: E402
from loader import write_photographs  # noqa: E402
from turns import Step, Worker, ratio  # noqa: E402

from ancor.data.config import DataConfig  # noqa: E402
from ancor.data.file_config import PackConfig  # noqa: E402
from ancor.data.pack import pack  # noqa: E402
from ancor.models.backbones import check_backbone  # noqa: E402

LEARNED = ("moco", "supcon", "simclr")
Make = Callable[[], Step]


@dataclass(frozen=True)
class Peer:
    """A project, or a way of using it.

    Attributes:
        module: what is imported of it.
        packages: as they are installed, for the versions.
        install: what follows `pip install`, as often as it takes.
        told: how it is used, where there are several ways.
    """

    module: str
    packages: tuple[str, ...]
    install: tuple[str, ...]
    told: str = ""

    def title(self) -> str:
        """Name it with its versions."""
        names = " + ".join(f"{name} {metadata.version(name)}" for name in self.packages)
        return f"{names}, {self.told}" if self.told else names


EASYFSL = "easyfsl", ("easyfsl",), ("easyfsl",)
METRIC = "pytorch_metric_learning", "pytorch-metric-learning"
TORCHVISION = "torchvision", ("torchvision",), ("torchvision",)
PEERS = {
    "lightly": Peer("lightly.loss", ("lightly",), ("lightly",)),
    "solo-learn": Peer(
        "solo.methods",
        ("solo-learn",),
        # Its 1.0.2 asks for PyTorch 1.9, and lightning-bolts for Lightning before 2.
        (
            "'pytorch-lightning<2' 'setuptools<81' einops scipy timm torchmetrics wandb",
            "--no-deps solo-learn lightning-bolts",
        ),
    ),
    "easyfsl": Peer(*EASYFSL, "images in each episode"),
    "easyfsl features": Peer(*EASYFSL, "features once"),
    "metric faiss": Peer("faiss", (METRIC[1], "faiss-cpu"), (f"{METRIC[1]} faiss-cpu",)),
    "metric torch": Peer(METRIC[0], METRIC[1:], METRIC[1:], "torch"),
    "torchvision": Peer(*TORCHVISION, "Pillow"),
    "torchvision v2": Peer(*TORCHVISION, "v2 of tensors"),
    "timm": Peer("timm.data", ("timm",), ("timm",)),
}


@dataclass(frozen=True)
class Case:
    """Some work, and who does it.

    Attributes:
        work: what it is.
        ours: makes our step.
        peers: make those of peers; None: the peer does not do it.
        notes: what is to be told of some peers' work.
    """

    work: str
    ours: Make
    peers: Mapping[str, Make | None]
    notes: Mapping[str, str] = field(default_factory=dict)


def training_cases(
    part: str, ours: Callable[..., Step], theirs: Callable[..., Step], args: argparse.Namespace
) -> Iterator[Case]:
    """Yield what each method's training is to lightly's and solo-learn's."""
    images = args.epoch_images if part == "epoch" else args.batch_size
    symmetric = "twice the passes" if part == "epoch" else "half the images, as many passes"
    for name in args.methods:
        peers = {
            peer: partial(theirs, peer, name, args)
            if (peer, name) != ("lightly", "supcon")
            else None
            for peer in work.LEARNERS
        }
        yield Case(
            f"{name} {part}, {args.arch}, {images} images of {args.pixels} px",
            partial(ours, name, args),
            peers,
            {"solo-learn": symmetric} if name == "moco" else {},
        )


def episode_cases(args: argparse.Namespace) -> Iterator[Case]:
    """Yield few-shot evaluation of few classes and of all."""
    for ways in (5, work.WAYS):
        yield Case(
            f"{args.episodes} episodes, {ways}-way, {args.arch}, of {args.pool} images",
            partial(work.our_episodes, ways, args),
            {
                "easyfsl": partial(work.easyfsl_episodes, ways, False, args),
                "easyfsl features": partial(work.easyfsl_episodes, ways, True, args),
            },
        )


def recall_cases(args: argparse.Namespace) -> Iterator[Case]:
    """Yield retrieval of each image among all."""
    yield Case(
        f"recall@K and MAP@R of {args.gallery} x 512 features",
        partial(work.our_recall, args),
        {
            "metric faiss": partial(work.peer_recall, True, args),
            "metric torch": partial(work.peer_recall, False, args),
        },
    )


def loader_cases(args: argparse.Namespace, folder: Path) -> Iterator[Case]:
    """Yield training images of files and of their packed form, which `folder` is for."""
    files = folder / "images"
    for label in ("one", "other"):
        (files / "train" / label).mkdir(parents=True)
        write_photographs(files / "train" / label, args.photographs // 2)
    data = DataConfig("folder", root=str(files))
    packed = folder / "packed"
    pack(data, PackConfig(encoding="uncompressed"), str(packed))
    for views in (1, 2):
        peers = {
            "torchvision": partial(work.torchvision_loader, views, False, files, args),
            "torchvision v2": partial(work.torchvision_loader, views, True, files, args),
            "timm": partial(work.timm_loader, files, args) if views == 1 else None,
        }
        for ours, place in (("JPEG files", files), ("packed", packed)):
            yield Case(
                f"{args.photographs} photographs, {views} view{'s' * (views > 1)} each, "
                f"ours from {ours}",
                partial(work.our_loader, views, place, args),
                peers,
            )


def cases(part: str, args: argparse.Namespace, folder: Path) -> Iterator[Case]:
    """Yield the work of a part."""
    if part == "step":
        yield from training_cases(part, work.our_step, work.peer_step, args)
    elif part == "epoch":
        yield from training_cases(part, work.our_epoch, work.peer_epoch, args)
    elif part == "episodes":
        yield from episode_cases(args)
    elif part == "recall":
        yield from recall_cases(args)
    else:
        yield from loader_cases(args, folder)


PARTS = ("step", "epoch", "episodes", "recall", "loader")
OF_PART = {  # the peers that a part asks for
    "step": ("lightly", "solo-learn"),
    "epoch": ("lightly", "solo-learn"),
    "episodes": ("easyfsl", "easyfsl features"),
    "recall": ("metric faiss", "metric torch"),
    "loader": ("torchvision", "torchvision v2", "timm"),
}


def installed(names: list[str], peers: Mapping[str, Peer] = PEERS) -> dict[str, str]:
    """Return the titles of the peers that can be imported; print a line for each other one."""
    found = {}
    for name in names:
        peer = peers[name]
        try:
            with warnings.catch_warnings(record=True):
                import_module(peer.module)
            found[name] = peer.title()
        except (ImportError, metadata.PackageNotFoundError) as error:
            commands = " && ".join(f"pip install {what}" for what in peer.install)
            reason = str(error).splitlines()[0]
            print(f"Left out {name}: {reason}; to install it: {commands}", flush=True)
    return found


def rows(case: Case, titles: Mapping[str, str], args: argparse.Namespace) -> Iterator[list[str]]:
    """Take turns and yield the cells of a row for each peer that is installed.

    Args:
        case: the work.
        titles: of the peers that are installed.
        args: the command's.
    """
    with ExitStack() as stack:
        ours, theirs = stack.enter_context(Worker(case.ours)), {}
        for name, make in case.peers.items():
            if make and name in titles:
                try:
                    theirs[name] = stack.enter_context(Worker(make, keeps=args.alike))
                except EOFError:  # its process has printed why
                    print(f"Left out {name} of {case.work}: it failed, see above", file=sys.stderr)
        for _ in range(args.rounds):
            for worker in (ours, *theirs.values()):
                worker.step()
        if args.profile:
            for name, worker in {"ours": ours, **theirs}.items():
                parts = ", ".join(f"{kind} {s:.3f}" for kind, s in worker.profile().items())
                print(f"Profile of {case.work}, {name}, s: {parts}", file=sys.stderr, flush=True)
    own = f"{median(ours.seconds):.3g}"
    for name in filter(titles.__contains__, case.peers):
        title = ": ".join(filter(None, (titles[name], case.notes.get(name))))
        if name in theirs:
            worker = theirs[name]
            worked = ratio(worker, ours, "worked")
            told = f"{median(worker.seconds):.3g}", own, f"{ratio(worker, ours):.2f}"
            told += ("-" if isnan(worked) else f"{worked:.2f}",)
        else:
            told = "-", own, "-", "-"
        yield [case.work, title, *told]


def build_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("part", choices=(*PARTS, "all"))
    parser.add_argument("--methods", nargs="+", default=LEARNED, choices=LEARNED)
    parser.add_argument("--arch", default="resnet18", help="of all but `loader`")
    parser.add_argument("--pixels", type=int, default=64, help="of all but `loader`")
    parser.add_argument("--batch-size", type=int, default=64, help="of `step` and `epoch`")
    parser.add_argument("--queue-k", type=int, default=65536, help="of moco")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument(
        "--alike", action="store_true", help="give peers channels-last and kept memory, as ours"
    )
    parser.add_argument("--workers", type=int, default=0, help="loading processes")
    parser.add_argument(
        "--profile",
        action="store_true",
        help="tell what operations take of a further step of each side, seconds of the processor",
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns that count")
    parser.add_argument("--epoch-images", type=int, default=256)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--looped", type=int, default=20, help="5-way episodes timed of easyfsl")
    parser.add_argument("--pool", type=int, default=2000, help="images of the episodes")
    parser.add_argument("--gallery", type=int, default=10_000, help="features of `recall`")
    parser.add_argument("--photographs", type=int, default=96, help="JPEG files of `loader`")
    parser.add_argument("--loader-batch", type=int, default=16)
    return parser


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse sizes that a peer, or the work, has no use for."""
    least = work.WAYS * (work.SHOTS + work.ASKED)
    if not check_backbone(args.arch):
        parser.error(f"--arch {args.arch}: not a backbone of the toolkit")
    if args.batch_size < 4 or args.batch_size % 2 or args.queue_k % args.batch_size:
        parser.error(
            f"--batch-size {args.batch_size}, --queue-k {args.queue_k}: expected an even batch of "
            "at least 4 that divides the queue, as solo-learn asks for"
        )
    if args.epoch_images < args.batch_size:
        parser.error(f"--epoch-images {args.epoch_images}: at least a batch, {args.batch_size}")
    if args.pool < least:
        parser.error(f"--pool {args.pool}: expected at least {least}, an episode of all classes")
    if args.photographs // 2 * 2 < args.loader_batch:
        parser.error(f"--photographs {args.photographs}: at least a batch, {args.loader_batch}")


def main() -> None:
    """Measure and print."""
    parser = build_parser()
    args = parser.parse_args()
    check(parser, args)
    # Peers' warnings and bars; lightly asks a server for its newest version.
    quiet = {"PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1", "LIGHTLY_DID_VERSION_CHECK": "True"}
    os.environ.update(quiet)
    parts = PARTS if args.part == "all" else (args.part,)
    titles = installed(list(dict.fromkeys(name for part in parts for name in OF_PART[part])))
    print(
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; Python "
        f"{sys.version.split()[0]}, torch {torch.__version__}, {args.precision}"
        f"{', peers as ours in memory' * args.alike}; medians of {args.rounds} turns\n"
    )
    print("| work | peer | peer s | ours s | peer / ours | of the processor |")
    print("| --- " * 6 + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for part in parts:
            for case in cases(part, args, Path(folder)):
                for row in rows(case, titles, args):
                    print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
