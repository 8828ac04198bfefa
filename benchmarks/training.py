"""Training: our step against the bare work of its networks, and against a plain implementation.

The bare work is both encoders' passes, the query encoder's backward pass, the optimizer's step
and the key encoder's moving average, in our precision and memory format. The plain step is what
the paper describes, written down without care: it clones the queue, normalizes the copy,
multiplies it by a one-hot form of the batch, and averages the key encoder through state dicts, in
fp32. Each lives in a process of its own, which gives its peak memory; they take their steps in turn
while the others wait, so that a ratio compares neighbors in time.

    python benchmarks/training.py step         # time and peak memory of a step
    python benchmarks/training.py queue        # loss and queue alone, against K, C, and plainly
    python benchmarks/training.py processes    # one process against two with the same global batch
    python benchmarks/training.py compile      # what --compile changes
    python benchmarks/training.py recompute    # what --checkpoint-activations costs and saves
    python benchmarks/training.py frozen       # a frozen backbone's step against its passes
    python benchmarks/training.py features     # the same on features in place of images
    python benchmarks/training.py epoch --arch resnet12:cifar100  # with what brings the images
    python benchmarks/training.py methods      # every method's step against its networks' passes
"""

import argparse
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import chain
from itertools import count as count_from
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from turns import Step, Worker, ratio

from ancor.data.features import FeatureRows
from ancor.data.hierarchy import Hierarchy
from ancor.data.partition import Partition
from ancor.data.registry import DATASETS
from ancor.methods.ancor import Ancor
from ancor.methods.base import Batch
from ancor.methods.config import AncorConfig
from ancor.methods.losses import Contrast, contrastive_loss
from ancor.methods.queues import ClassQueues
from ancor.methods.registry import METHODS
from ancor.models.backbones import BACKBONES
from ancor.models.config import EncoderConfig
from ancor.models.recomputing import recompute_activations
from ancor.runtime import distributed, launch
from ancor.runtime.devices import autocast_dtype, keep_freed_memory
from ancor.training.batches import TrainingBatches
from ancor.training.config import TrainConfig
from ancor.training.doctor.workload import (
    NoImages,
    Size,
    build,
    draw,
    drawn_partition,
    passes_alone,
    trainer_of,
)
from ancor.training.metrics import Meter
from ancor.training.trainer import Trainer

CPU = torch.device("cpu")
DIM, TEMPERATURE, MOMENTUM = 128, 0.2, 0.999
IMAGES = 50_000  # of a training set of which a method keeps something
# arch, and what tells it apart behind a colon: (pixels, images a batch, coarse classes)
NETWORKS = {
    "resnet12:cifar100": (32, 256, 20),
    "resnet12": (84, 32, 20),
    "resnet50": (224, 16, 17),
    "resnet50:features": (224, 256, 17),  # the batch that `train.py --features` takes
    "conv4": (32, 64, 3),
    "timm:tf_efficientnet_lite0": (224, 256, 43),
}
EPOCH = 40  # batches of an epoch of `epoch`; CIFAR-100's would have 195


def backbone_of(network: str) -> str:
    """Return the architecture that a key of `NETWORKS` names."""
    return network.removesuffix(":cifar100").removesuffix(":features")


def workload(
    arch: str, length: int, layout: torch.memory_format, share: bool = False
) -> tuple[Ancor, Batch]:
    """Return a method with its start weights, and a batch (this process's share of it)."""
    pixels, images, classes = NETWORKS[arch]
    torch.manual_seed(0)
    encoder = EncoderConfig(backbone_of(arch), "seq", True, DIM, classes)
    method = Ancor(encoder, AncorConfig(queue_length=length)).to(memory_format=layout).train()
    views = torch.randn(2, images, 3, pixels, pixels)
    labels = torch.randint(0, classes, (images,))
    own = distributed.rank_slice(images) if share else slice(None)
    views = tuple(view[own].contiguous(memory_format=layout) for view in views)
    return method, Batch(views, labels[own], labels[own])


def our_step(
    arch: str, length: int, precision: str, compiled: bool = False, freeze: int | str = 0
) -> Step:
    """Return the toolkit's own step."""
    method, batch = workload(arch, length, torch.channels_last, share=True)
    dtype = autocast_dtype(precision, CPU)
    shape = NoImages(NETWORKS[arch][1], CPU)
    trainer = Trainer(method, shape, TrainConfig(freeze=freeze), None, None, None, dtype)
    method.prepare(CPU, compiled)
    return lambda: trainer.step(batch, Meter())


def size_of(arch: str, length: int) -> Size:
    """Return how large a network's steps are, as a method's workload is told."""
    return Size(backbone_of(arch), *NETWORKS[arch], length, IMAGES)


def method_step(name: str, size: Size, precision: str) -> Step:
    """Return the toolkit's step of a method of the table with its own defaults."""
    method = build(name, size, CPU)
    batch, trainer = draw(method, size, CPU), trainer_of(method, size, CPU, precision)
    return lambda: trainer.step(batch, Meter())


def methods_step(name: str, arch: str, length: int, precision: str) -> Step:
    """Return the toolkit's step of a method, of a network's size."""
    return method_step(name, size_of(arch, length), precision)


def method_passes(name: str, arch: str, length: int, precision: str) -> Step:
    """Return what of a method's step its networks take: passes, backward, update, average."""
    size = size_of(arch, 1)
    method = build(name, size, CPU)
    return passes_alone(method, draw(method, size, CPU), CPU, precision)


def recomputed_step(arch: str, length: int, precision: str) -> Step:
    """Return the toolkit's step whose backbone's activations are computed again."""
    method, batch = workload(arch, length, torch.channels_last)
    recompute_activations(method.encoder.backbone)
    dtype = autocast_dtype(precision, CPU)
    shape = NoImages(NETWORKS[arch][1], CPU)
    trainer = Trainer(method, shape, TrainConfig(), None, None, None, dtype)
    return lambda: trainer.step(batch, Meter())


def frozen_step(arch: str, length: int, precision: str) -> Step:
    """Return the toolkit's step with a frozen backbone."""
    return our_step(arch, length, precision, freeze="all")


def passes_step(arch: str, length: int, precision: str) -> Step:
    """Return what of that step is frozen alone: both views' passes through the backbone."""
    method, batch = workload(arch, 1, torch.channels_last)
    dtype = autocast_dtype(precision, CPU)
    backbone = method.encoder.backbone.eval()

    @torch.no_grad()
    def step() -> None:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            for view in batch.views:
                backbone(view)

    return step


def head_step(arch: str, length: int, precision: str) -> Step:
    """Return the rest of that step alone: a backbone that gives its features for nothing."""
    method, batch = workload(arch, 1, torch.channels_last)
    features = nn.Flatten()
    features.out_features = method.encoder.backbone.out_features
    BACKBONES["features"] = lambda: features
    encoder = replace(method.encoder.config, arch="features")
    method = Ancor(encoder, AncorConfig(queue_length=length)).train()
    views = tuple(torch.randn(len(view), features.out_features) for view in batch.views)
    shape, dtype = NoImages(NETWORKS[arch][1], CPU), autocast_dtype(precision, CPU)
    trainer = Trainer(method, shape, TrainConfig(), None, None, None, dtype)
    return lambda: trainer.step(batch._replace(views=views), Meter())


def rows_step(arch: str, length: int, precision: str) -> Step:
    """Return the step on features of 8 views in place of images, with what brings them."""
    method, batch = workload(arch, length, torch.channels_last)
    classes, size = NETWORKS[arch][2], len(batch.labels)
    count = 100 * size
    rows = torch.randn(count, 9, method.encoder.backbone.out_features)
    labels = torch.randint(0, classes, (count,)).numpy()
    names = Hierarchy(tuple(map(str, range(classes))))
    images = FeatureRows(rows, [""] * count)
    partition = Partition("benchmark", "train", images, labels, None, names)
    spec = DATASETS["folder"].transforms
    batches = TrainingBatches(partition, labels, spec, method.views, size, 0, 0, CPU)
    dtype = autocast_dtype(precision, CPU)
    trainer = Trainer(method, batches, TrainConfig(freeze="all"), None, None, None, dtype)
    every = chain.from_iterable(map(batches.epoch, count_from(0)))
    return lambda: trainer.step(next(every), Meter())


def epoch_step(arch: str, length: int, precision: str) -> Step:
    """Return a step of an epoch of CIFAR-100's kind: drawn, cropped, recolored, learned, told."""
    method, _ = workload(arch, length, torch.channels_last)
    pixels, size, classes = NETWORKS[arch]
    partition = drawn_partition(EPOCH * size, pixels, classes)
    spec = replace(DATASETS["cifar100"].transforms, size=pixels)
    labels = partition.coarse_labels
    batches = TrainingBatches(partition, labels, spec, method.views, size, 0, 0, CPU)
    dtype = autocast_dtype(precision, CPU)
    trainer = Trainer(method, batches, TrainConfig(), None, None, None, dtype)
    method.prepare(CPU)
    every = chain.from_iterable(map(batches.epoch, count_from(0)))
    meter = Meter()
    return lambda: trainer.step(next(every), meter)


def bare_step(arch: str, length: int, precision: str) -> Step:
    """Return the network's work alone: what no implementation can do without."""
    method, batch = workload(arch, 1, torch.channels_last)
    query, key = method.encoder, method.key_encoder
    dtype = autocast_dtype(precision, CPU)
    optimizer = torch.optim.SGD(query.parameters(), 0.03, 0.9, weight_decay=1e-4, fused=True)
    ours, theirs = query.shared_parameters(), key.shared_parameters()

    def step() -> None:
        with torch.no_grad():
            torch._foreach_lerp_(theirs, ours, 1 - MOMENTUM)
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            output = query(batch.views[0])
            with torch.no_grad():
                key(batch.views[1])
        (output.embedding.float().sum() + output.logits.float().sum()).backward()
        optimizer.step()

    return step


def plain_loss(
    query: Tensor, key: Tensor, queue: Tensor, weights: Tensor, labels: Tensor
) -> Tensor:
    """Return the angular contrastive loss inside each class, every copy made."""
    weights = F.normalize(weights.detach(), dim=1)
    own = weights[labels]
    query = F.normalize(F.normalize(query, dim=1) - own, dim=1)
    key = F.normalize(F.normalize(key, dim=1) - own, dim=1)
    columns = F.normalize(queue.clone().detach(), dim=1)
    columns = F.normalize(columns - weights[:, :, None], dim=1)
    one_hot = F.one_hot(labels, len(weights)).to(query.dtype)
    spread = one_hot[:, :, None] * query[:, None]  # (N, C, D): zero but for the own class
    negatives = torch.einsum("ncd,cdk->nk", spread, columns)
    positives = (query * key).sum(1, keepdim=True)
    logits = torch.cat([positives, negatives], dim=1) / TEMPERATURE
    return F.cross_entropy(logits, torch.zeros(len(labels), dtype=torch.int64))


def plain_enqueue(queue: Tensor, pointers: Tensor, keys: Tensor, labels: Tensor) -> None:
    """Write keys one by one into the rings (C, D, K) of their classes."""
    for key, label in zip(keys, labels.tolist(), strict=True):
        position = int(pointers[label])
        queue[label, :, position] = key
        pointers[label] = (position + 1) % queue.shape[2]


def plain_step(arch: str, length: int, precision: str) -> Step:
    """Return the paper's step, written plainly; always in fp32."""
    method, batch = workload(arch, 1, torch.contiguous_format)
    query, key = method.encoder, method.key_encoder
    queue = F.normalize(torch.randn(len(query.class_weight), DIM, length), dim=1)
    pointers = torch.zeros(len(queue), dtype=torch.int64)
    optimizer = torch.optim.SGD(query.parameters(), 0.03, 0.9, weight_decay=1e-4, foreach=False)

    def step() -> None:
        output = query(batch.views[0])
        with torch.no_grad():
            ours, theirs = query.state_dict(), key.state_dict()
            moved = {
                name: MOMENTUM * old + (1 - MOMENTUM) * ours[same]
                if old.is_floating_point()
                else old
                for name, old in theirs.items()
                for same in [name if name in ours else name.replace("head.2.", "head.2.fc1.")]
            }
            key.load_state_dict(moved)
            keys = key(batch.views[1]).embedding
        loss = F.cross_entropy(output.logits, batch.labels) + plain_loss(
            output.embedding, keys, queue, query.class_weight, batch.labels
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plain_enqueue(queue, pointers, F.normalize(keys, dim=1), batch.labels)

    return step


def contrast(
    classes: int, length: int, images: int = 64, present: int | None = None
) -> tuple[Contrast, ClassQueues]:
    """Return what a contrastive loss is given, with a filled queue, and that queue."""
    torch.manual_seed(0)
    queue = ClassQueues(classes, DIM, length)
    labels = torch.arange(images) % (present or classes)
    vectors = torch.randn(2, images, DIM)
    query = vectors[0].requires_grad_()
    weights = torch.randn(classes, DIM)
    return Contrast(query, vectors[1], queue.rings(), labels, weights, TEMPERATURE), queue


def our_loss(*asked: int) -> Step:
    """Return the toolkit's loss, its gradient, and the keys' way into the queue."""
    given, queue = contrast(*asked)

    def step() -> None:
        contrastive_loss("cst_by_class", given).value.backward()
        queue.enqueue(given.key, given.labels)

    return step


def plain_loss_alone(*asked: int) -> Step:
    """Return the same, written plainly."""
    given, queue = contrast(*asked)
    columns = queue.queue.contiguous()

    def step() -> None:
        plain_loss(given.query, given.key, columns, given.class_weight, given.labels).backward()
        plain_enqueue(columns, queue.queue_ptr, given.key, given.labels)

    return step


STEPS = {
    "ours": our_step,
    "bare": bare_step,
    "plain": plain_step,
    "recomputed": recomputed_step,
    "frozen": frozen_step,
    "passes": passes_step,
    "head": head_step,
    "rows": rows_step,
    "method": methods_step,
    "its passes": method_passes,
    "epoch": epoch_step,
    "our loss": our_loss,
    "plain loss": plain_loss_alone,
}


def process_of(which: str, *asked) -> Worker:
    """Return the process of one of `STEPS`; what is written plainly frees memory as all do."""
    return Worker(partial(STEPS[which], *asked), keeps=not which.startswith("plain"))


def compare_steps(args: argparse.Namespace) -> None:
    """Print the table of a whole step."""
    print(f"a step, K {args.queue_k}, {torch.get_num_threads()} threads, median of {args.rounds}")
    print("| network | precision | bare s | ours s | / bare | plain s | / ours ", end="")
    print("| bare MB | ours MB | plain MB | ours / plain |")
    print("| --- " * 11 + "|")
    for arch in args.arch:
        for precision in args.precision:
            with ExitStack() as stack:
                ours, bare, plain = (
                    stack.enter_context(process_of(which, arch, args.queue_k, precision))
                    for which in ("ours", "bare", "plain")
                )
                for _ in range(args.rounds):
                    for worker in (ours, bare, plain):
                        worker.step()
            print(
                f"| {arch} {NETWORKS[arch][0]} px | {precision} | {median(bare.seconds):.2f} "
                f"| {median(ours.seconds):.2f} | {ratio(ours, bare):.2f} "
                f"| {median(plain.seconds):.2f} | {ratio(plain, ours):.2f} "
                f"| {bare.peak:.0f} | {ours.peak:.0f} | {plain.peak:.0f} "
                f"| {ours.peak / plain.peak:.2f} |",
                flush=True,
            )


def compare_losses(args: argparse.Namespace) -> None:
    """Print what loss and queue cost, alone."""
    print("C 17, N 64: | K | ours ms | extra MB | of the queue | plain ms | extra MB | ratio |")
    for length in (1024, 4096, 16384, 65536, 262144):
        names = ("our loss", "plain loss")[: 1 if length > 65536 else 2]  # tens of GB otherwise
        with ExitStack() as stack:
            workers = [stack.enter_context(process_of(name, 17, length)) for name in names]
            for _ in range(3 * args.rounds):
                for worker in workers:
                    worker.step()
        ours, size = workers[0], 17 * DIM * length * 4 / 2**20
        line = f"| {length} | {1e3 * median(ours.seconds):.1f} | {ours.extra:.0f} "
        line += f"| {ours.extra / size:.3f} "
        for plain in workers[1:]:
            line += f"| {1e3 * median(plain.seconds):.1f} | {plain.extra:.0f} "
            line += f"| {ratio(plain, ours):.1f} "
        print(line + "|", flush=True)
    print("K 8192, N 64, 5 classes present: | C | ours ms |")
    with ExitStack() as stack:
        workers = {
            classes: stack.enter_context(process_of("our loss", classes, 8192, 64, 5))
            for classes in (5, 17, 68, 351)
        }
        for _ in range(5 * args.rounds):
            for worker in workers.values():
                worker.step()
    for classes, worker in workers.items():
        print(f"| {classes} | {1e3 * median(worker.seconds):.1f} |")


def steps_of_a_group(arch: str, length: int, precision: str, rounds: int, path: str) -> None:
    """Take steps in a group of processes; the first writes the median seconds."""
    keep_freed_memory()
    step, seconds = our_step(arch, length, precision), []
    for _ in range(rounds + 1):
        started = perf_counter()
        step()
        seconds.append(perf_counter() - started)
    if distributed.is_main_process():
        Path(path).write_text(str(median(seconds[1:])))


def compare_processes(args: argparse.Namespace) -> None:
    """Print what a step of one global batch takes in one process and in two."""
    print(f"K {args.queue_k}, the same global batch: | network | precision | 1 s | 2 s | ratio |")
    for arch in args.arch:
        for precision in args.precision:
            found = []
            for processes in (1, 2):
                with socket.socket() as probe, TemporaryDirectory() as folder:
                    probe.bind(("localhost", 0))
                    port = probe.getsockname()[1]
                    probe.close()
                    path = str(Path(folder) / "seconds")
                    group = launch.Group(processes, url=f"tcp://localhost:{port}")
                    asked = (arch, args.queue_k, precision, args.rounds, path)
                    launch.launch(steps_of_a_group, group, *asked)
                    found.append(float(Path(path).read_text()))
            print(
                f"| {arch} | {precision} | {found[0]:.2f} | {found[1]:.2f} "
                f"| {found[1] / found[0]:.2f} |",
                flush=True,
            )


def compare_compiled(args: argparse.Namespace) -> None:
    """Print what --compile changes."""
    print(f"K {args.queue_k}: | network | precision | as it is s | compiled s | ratio | first s |")
    for arch in args.arch:
        for precision in args.precision:
            asked = ("ours", arch, args.queue_k, precision)
            with process_of(*asked) as plain, process_of(*asked, True) as compiled:
                for _ in range(args.rounds):
                    plain.step()
                    compiled.step()
            print(
                f"| {arch} | {precision} | {median(plain.seconds):.2f} "
                f"| {median(compiled.seconds):.2f} | {ratio(plain, compiled):.2f} "
                f"| {compiled.first:.1f} |",
                flush=True,
            )


def compare_recomputed(args: argparse.Namespace) -> None:
    """Print what --checkpoint-activations costs and saves."""
    print(f"K {args.queue_k}: | network | precision | as it is s | recomputed s | ratio ", end="")
    print("| as it is, MB of a step | recomputed | ratio | peak MB | recomputed |")
    for arch, precision, again, plain in _by_turns(args, "recomputed", "ours"):
        print(
            f"| {arch} | {precision} | {median(plain.seconds):.2f} | {median(again.seconds):.2f} "
            f"| {ratio(again, plain):.2f} | {plain.extra:.0f} | {again.extra:.0f} "
            f"| {again.extra / plain.extra:.2f} | {plain.peak:.0f} | {again.peak:.0f} |",
            flush=True,
        )


def compare_frozen(args: argparse.Namespace) -> None:
    """Print a frozen backbone's step against its passes and the head's work."""
    print(f"K {args.queue_k}: | network | precision | passes s | head s | step s | of both |")
    for arch in args.arch:
        for precision in args.precision:
            with ExitStack() as stack:
                workers = [
                    stack.enter_context(process_of(which, arch, args.queue_k, precision))
                    for which in ("passes", "head", "frozen")
                ]
                for _ in range(args.rounds):
                    for worker in workers:
                        worker.step()
            times = list(zip(*(worker.seconds for worker in workers), strict=True))
            passes, head, step = (median(column) for column in zip(*times, strict=True))
            of_both = median(frozen / (one + other) for one, other, frozen in times)
            print(
                f"| {arch} | {precision} | {passes:.2f} | {head:.2f} | {step:.2f} "
                f"| {of_both:.2f} |",
                flush=True,
            )


def compare_features(args: argparse.Namespace) -> None:
    """Print a frozen backbone's step on images that are there, against one on features."""
    print(f"K {args.queue_k}: | network | precision | images/s | of features | ratio |")
    for arch, precision, frozen, rows in _by_turns(args, "frozen", "rows"):
        _print_speeds(arch, precision, frozen, rows, f"{ratio(frozen, rows):.0f}")


def compare_epochs(args: argparse.Namespace) -> None:
    """Print what steps of an epoch, with all that brings their images, are to their bare work."""
    print(
        f"K {args.queue_k}: | network | precision | bare images/s | epoch images/s | bare / epoch |"
    )
    for arch, precision, epoch, bare in _by_turns(args, "epoch", "bare"):
        _print_speeds(arch, precision, bare, epoch, f"{ratio(epoch, bare):.2f}")


def _by_turns(args: argparse.Namespace, *which: str) -> Iterator[tuple[str, str, Worker, Worker]]:
    """Yield each network and precision with two workers that took their steps by turns."""
    for arch in args.arch:
        for precision in args.precision:
            asked = (arch, args.queue_k, precision)
            with process_of(which[0], *asked) as one, process_of(which[1], *asked) as other:
                for _ in range(args.rounds):
                    one.step()
                    other.step()
            yield arch, precision, one, other


def _print_speeds(arch: str, precision: str, one: Worker, other: Worker, told: str) -> None:
    speeds = (NETWORKS[arch][1] / median(each.seconds) for each in (one, other))
    shown = " | ".join(f"{speed:.0f}" for speed in speeds)
    print(f"| {arch} | {precision} | {shown} | {told} |", flush=True)


def compare_methods(args: argparse.Namespace) -> None:
    """Print every method's step against what its networks take of it."""
    print(f"K {args.queue_k}, {IMAGES} images: | method | network | precision ", end="")
    print("| passes s | step s | of passes | step MB | passes MB |")
    for arch in args.arch:
        for precision in args.precision:
            for name in METHODS:
                asked = (name, arch, args.queue_k, precision)
                with (
                    process_of("method", *asked) as step,
                    process_of("its passes", *asked) as passes,
                ):
                    for _ in range(args.rounds):
                        passes.step()
                        step.step()
                print(
                    f"| {name} | {arch} | {precision} | {median(passes.seconds):.2f} "
                    f"| {median(step.seconds):.2f} | {ratio(step, passes):.2f} "
                    f"| {step.peak:.0f} | {passes.peak:.0f} |",
                    flush=True,
                )


PARTS = {
    "step": compare_steps,
    "queue": compare_losses,
    "processes": compare_processes,
    "compile": compare_compiled,
    "recompute": compare_recomputed,
    "frozen": compare_frozen,
    "features": compare_features,
    "epoch": compare_epochs,
    "methods": compare_methods,
}


def main() -> None:
    """Measure what the first word asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--arch", nargs="+", default=["resnet12", "resnet50"], choices=NETWORKS)
    parser.add_argument("--precision", nargs="+", default=["fp32", "auto"])
    parser.add_argument("--queue-k", type=int, default=65536)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    PARTS[args.part](args)


if __name__ == "__main__":
    main()
