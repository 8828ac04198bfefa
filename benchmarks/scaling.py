"""What a step of many GPUs costs: counted work and bytes, by published figures of cards.

    python benchmarks/scaling.py          # the tables of docs/scaling.md
    python benchmarks/scaling.py check    # the formulas against processes that are run here

Nothing here was run on more than one GPU. A pass takes on a card, operation by operation, the
longer one of its arithmetic and of moving its operands, over `share()`: what the one GPU that was
measured reaches of that. Latencies are left out.
"""

import argparse
import math
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import flop_registry

sys.path.insert(0, str(Path(__file__).parents[1]))

from ancor.methods.base import Batch
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime import distributed, launch
from ancor.runtime.devices import shapes_only
from ancor.training.doctor.workload import Size, build, draw, trainer_of
from ancor.training.metrics import Meter

GPUS = (1, 8, 64, 512)
NODE = 8  # GPUs of a node
DIM, KEYS = 128, 65536
FP32 = 4  # bytes
# Milliseconds of ResNet-50's step, 128 images, on an H200 (docs/scaling.md), which give `share()`;
# and what a host needs to ask for the rest of a step, beside the passes.
MEASURED, HOST = 47.5, 8.0
# Images a second that a core loads, two crops of 224 px: from files and packed as docs/data.md has
# it, one core alone; from memory, what 16 loading processes reached together beside that H200.
LOADED = {"files": 225, "packed": 4.5 * 225, "memory": 2237 / 16}
# Bytes of an image: ImageNet's archive of 138 GB over 1.28 million; 256 x 341 pixels; two rows.
STORED = {"files": 108e3, "packed": 262e3, "memory": 0.0, "features": 2 * 2048 * FP32}


@dataclass(frozen=True)
class Card:
    """A GPU, and its share of a machine, by their makers' data sheets.

    Attributes:
        name: of both.
        flops: operations a second in bf16, dense.
        memory: bytes a second.
        link: bytes a second to the GPUs of its node, one way (NVLink, half of what is advertised).
        network: bytes a second of the node to others, one way.
        cores: of the processors, a GPU.
    """

    name: str
    flops: float
    memory: float
    link: float
    network: float
    cores: int


CARDS = (
    Card("A100 80 GB, 8 x 200 Gb/s", 312e12, 2.04e12, 300e9, 8 * 25e9, 16),
    Card("H100, 8 x 400 Gb/s", 989e12, 3.35e12, 450e9, 8 * 50e9, 14),
    Card("H200, 8 x 400 Gb/s", 989e12, 4.8e12, 450e9, 8 * 50e9, 14),
    Card("H100, 100 Gb/s a node", 989e12, 3.35e12, 450e9, 12.5e9, 14),
)
H200 = CARDS[2]


@dataclass(frozen=True)
class Network:
    """A backbone, and how it is trained: pixels, images a GPU, coarse classes."""

    arch: str
    pixels: int
    images: int
    classes: int

    @property
    def image(self) -> int:
        """Bytes of a view in fp32."""
        return 3 * self.pixels**2 * FP32

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.arch.replace('resnet', 'ResNet-')}, {self.pixels} px"


NETWORKS = (Network("resnet12", 84, 32, 20), Network("resnet12", 32, 256, 20))
LARGE = Network("resnet50", 224, 128, 17)


class Counter(TorchDispatchMode):
    """Counts of each operation its arithmetic, and the bytes of what it reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[int, int]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            count = flop_registry.get(function.overloadpacket)
            flops = count(*args, **(kwargs or {}), out_val=result) if count else 0
            tensors = tree_leaves((args, kwargs, result))
            moved = sum(each.nbytes for each in tensors if isinstance(each, torch.Tensor))
            self.operations.append((flops, moved))
        return result


@dataclass(frozen=True)
class Work:
    """A network's work in a step, counted: (operations, bytes) of each of what it computes.

    Attributes:
        parameters: of the encoder.
        key, query, backward: the passes of the keys and the queries, and the queries' way back.
        update: bytes of all else that is of the parameters' or of the queue's size.
    """

    parameters: int
    key: list[tuple[int, int]]
    query: list[tuple[int, int]]
    backward: list[tuple[int, int]]
    update: int


def shaped(network: Network, images: int) -> tuple[Encoder, Tensor]:
    """Return a network and images, without numbers or memory."""
    with shapes_only():
        config = EncoderConfig(network.arch, "seq", True, DIM, network.classes)
        encoder = Encoder(config).train()
        return encoder, torch.empty(images, 3, network.pixels, network.pixels)


def kept(network: Network) -> float:
    """Return the bytes an image that autograd keeps for the backward pass, in fp32."""
    encoder, images = shaped(network, 4)
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        encoder(images)
    sizes = {each.untyped_storage()._cdata: each.untyped_storage().nbytes() for each in saved}
    for each in encoder.parameters():  # which are there anyhow
        sizes.pop(each.untyped_storage()._cdata, None)
    return sum(sizes.values()) / len(images)


@cache
def work(network: Network) -> Work:
    """Count a network's work in bf16, without a number computed."""
    encoder, images = (each.to(torch.bfloat16) for each in shaped(network, network.images))
    with Counter() as key, torch.no_grad():
        encoder(images)
    with Counter() as query:
        output = encoder(images)
    with Counter() as backward:
        (output.embedding.sum() + output.logits.sum()).backward()
    count = sum(each.numel() for each in encoder.parameters())
    # SGD reads three and writes two, the average three, the note of what may be undone two; each
    # class's queue is read forward and back.
    update = 10 * FP32 * count + 2 * FP32 * KEYS * DIM * network.classes
    return Work(count, key.operations, query.operations, backward.operations, update)


def gflops(operations: list[tuple[int, int]], network: Network) -> float:
    """Return thousand millions of operations an image."""
    return sum(flops for flops, _ in operations) / network.images / 1e9


def least(operations: list[tuple[int, int]], card: Card) -> float:
    """Return the seconds that operations take at the card's full rates."""
    return sum(max(flops / card.flops, moved / card.memory) for flops, moved in operations)


def passes(network: Network, card: Card) -> float:
    """Return the seconds that all of a step takes at the card's full rates."""
    done = work(network)
    return least([*done.key, *done.query, *done.backward, (0, done.update)], card)


def share() -> float:
    """Return what part of the full rates the card that was measured reaches."""
    return passes(LARGE, H200) / (MEASURED / 1e3)


def sent(network: Network, gpus: int, parameters: int, dim: int = DIM) -> dict[str, float]:
    """Return the bytes that a GPU sends in a step."""
    away = (gpus - 1) / gpus
    return {
        "gradients (ring all-reduce)": 2 * away * FP32 * parameters,
        "key images (batch-norm shuffling)": away * network.images * network.image,
        "keys (all-gather)": (gpus - 1) * network.images * dim * FP32,
        "labels": (gpus - 1) * network.images * 8,
        "queue": 0,
    }


def seconds(network: Network, card: Card, gpus: int, source: str) -> dict[str, float]:
    """Return what a step takes, by what takes it: seconds.

    Gradients travel during the backward pass, which hides as much of them as it is long; what is
    sent besides is waited for. Loading runs beside all of it. Between nodes, what leaves a node in
    a ring leaves it once, and of images those that belong elsewhere.
    """
    if source == "features":  # a head of some layers, whose rows are read as they are
        return {"host": HOST / 1e3, "loading": 0.0}
    loading = network.images / (card.cores * LOADED[source])
    done = work(network)
    back = least(done.backward, card) / share()
    gradients, images, keys, labels, _ = sent(network, gpus, done.parameters).values()
    travel, exchange = gradients / card.link, (images + keys + labels) / card.link
    if gpus > NODE:
        travel = max(travel, gradients / card.network)
        leaving = NODE * network.images * network.image * (gpus - NODE) / gpus
        exchange = max(exchange, (leaving + keys + labels) / card.network)
    found = {"passes": passes(network, card) / share(), "gradients": max(0.0, travel - back)}
    return {**found, "exchange": exchange, "loading": loading}


def step(parts: dict[str, float]) -> tuple[float, str]:
    """Return the seconds between two steps, and what at least a quarter of them is for."""
    at_work = sum(parts.values()) - parts["loading"]
    if parts["loading"] > at_work:
        return parts["loading"], "loading"
    large = [name for name in parts if name != "loading" and parts[name] >= at_work / 4]
    return at_work, " + ".join(large)


def tables() -> Iterator[str]:
    """Yield the lines of the page's tables."""
    yield (
        "| network | parameters | forward, one image | forward and backward | image in fp32 "
        "| kept for the backward pass, fp32 |"
    )
    yield "| --- | --- | --- | --- | --- | --- |"
    for network in (*NETWORKS, LARGE):
        done = work(network)
        both = gflops(done.query, network) + gflops(done.backward, network)
        cells = network.name, f"{done.parameters / 1e6:.1f} M"
        cells += f"{gflops(done.key, network):.1f} GFLOP", f"{both:.1f} GFLOP"
        yield row(*cells, f"{network.image / 1e6:.3f} MB", f"{kept(network) / 1e6:.0f} MB an image")
    yield ""
    yield "| a GPU sends in a step | 1 | 8 | 64 | 512 |"
    yield "| --- | --- | --- | --- | --- |"
    columns = [sent(LARGE, gpus, work(LARGE).parameters) for gpus in GPUS]
    for name in columns[0]:
        yield row(name, *(in_bytes(column[name]) for column in columns))
    yield ""
    yield row("a step of ResNet-50", "at the card's full rates", "at the share that was measured")
    yield "| --- | --- | --- |"
    for card in CARDS[:3]:
        full = 1e3 * passes(LARGE, card)
        yield row(card.name.partition(",")[0], f"{full:.1f} ms", f"{full / share():.1f} ms")
    yield ""
    yield "| steps/s, and what bounds them | from | 1 | 8 | 64 | 512 |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for card in CARDS:
        for source in STORED:
            cells = []
            for gpus in GPUS:
                took, bound = step(seconds(LARGE, card, gpus, source))
                cells.append(f"{1 / took:.1f} {bound}")
            yield row(card.name, source, *cells)
    yield ""
    yield row("from", "images/s a core", "cores that keep an H100 busy", "a node of 8 reads")
    yield "| --- | --- | --- | --- |"
    rate = LARGE.images / step(seconds(LARGE, CARDS[1], 1, "packed"))[0]
    for source, loaded in LOADED.items():
        read = NODE * rate * STORED[source] / 1e9
        cores = math.ceil(rate / loaded)
        yield row(source, f"{loaded:,.0f}", f"{cores}", f"{read:.1f} GB/s" if read else "nothing")


def row(*cells: str) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cells)} |"


def in_bytes(count: float) -> str:
    """Write a number of bytes for people."""
    for unit, size in (("MB", 1e6), ("KB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B" if count else "0"


# Small enough for processes on a CPU; the images divide evenly among up to four.
SMALL = Size("conv4", 32, 12, 3, 64, 48)


def written() -> int:
    """Return the bytes that this process wrote, into sockets too (Linux)."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("wchar")))


def count_sent(steps: int, path: str) -> None:
    """Take steps in a group, each process of its share; write what a step made the first send."""
    group = distributed.world_size()
    size = replace(SMALL, images=SMALL.images * group)
    method = build("ancor", size, torch.device("cpu"))
    trainer = trainer_of(method, size, torch.device("cpu"))
    own = distributed.rank_slice(size.images)
    # Each process encodes as many images of every other one as of its own.
    order = torch.arange(size.images).view(group, -1).T.flatten()
    before = 0
    for number in range(steps + 1):
        views, labels, indices, _ = draw(method, size, torch.device("cpu"), number)
        views = tuple(view[own] for view in views)
        trainer.step(Batch(views, labels[own], indices[own], order), Meter())
        before = before or written()  # the first step also makes connections
    if distributed.is_main_process():
        parameters = sum(p.numel() for p in method.encoder.parameters() if p.requires_grad)
        Path(path).write_text(f"{(written() - before) / steps} {parameters}", encoding="ascii")


def sent_here(processes: int, steps: int = 8) -> tuple[float, float]:
    """Return the bytes that a process sends in a step by the formula, and those that it did."""
    with socket.socket() as probe, TemporaryDirectory() as folder:
        probe.bind(("localhost", 0))
        url = f"tcp://localhost:{probe.getsockname()[1]}"
        probe.close()
        path = Path(folder) / "sent"
        group = launch.Group(processes, url=url, backend="gloo")
        launch.launch(count_sent, group, steps, str(path))
        counted, parameters = path.read_text(encoding="ascii").split()
    network = Network(SMALL.arch, SMALL.pixels, SMALL.images, SMALL.classes)
    return sum(sent(network, processes, int(parameters)).values()), float(counted)


class Slow(Dataset):
    """Items that take a time to load."""

    def __init__(self, count: int, seconds: float) -> None:
        self.count, self.seconds = count, seconds

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        sleep(self.seconds)
        return index


def rates_here(workers: int, image: float, at_work: float, steps: int = 30) -> tuple[float, float]:
    """Return steps a second by the formula, and those of a loader with workers that sleep.

    Args:
        workers: loading processes.
        image: seconds that an image takes one of them.
        at_work: seconds of a step without loading.
        steps: that are taken.
    """
    size = 8
    loader = DataLoader(Slow(size * (steps + 2 * workers), image), size, num_workers=workers)
    batches = iter(loader)
    for _ in range(workers):  # what the start of the processes takes is no step's
        next(batches)
    started = perf_counter()
    for _ in range(steps):
        next(batches)
        sleep(at_work)
    took, _ = step({"passes": at_work, "loading": size * image / workers})
    return 1 / took, steps / (perf_counter() - started)


def check() -> None:
    """Print the formulas beside what processes here do."""
    print("| processes (gloo) | KB sent in a step, formula | counted | ratio |")
    print("| --- " * 4 + "|")
    for processes in (2, 3, 4):
        formula, counted = sent_here(processes)
        line = f"| {processes} | {formula / 1e3:.1f} | {counted / 1e3:.1f} "
        print(f"{line}| {counted / formula:.2f} |", flush=True)
    print("\n| loading processes, ms an image, ms a step | steps/s, formula | counted | ratio |")
    print("| --- " * 4 + "|")
    for asked in ((2, 0.005, 0.01), (2, 0.005, 0.04), (4, 0.01, 0.01), (4, 0.005, 0.03)):
        formula, counted = rates_here(*asked)
        workers, image, at_work = asked
        told = f"{workers}, {1e3 * image:.0f}, {1e3 * at_work:.0f}"
        print(f"| {told} | {formula:.1f} | {counted:.1f} | {counted / formula:.2f} |", flush=True)


def main() -> None:
    """Print the tables, or check their formulas."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=("tables", "check"), default="tables")
    if parser.parse_args().part == "check":
        check()
    else:
        print("\n".join(tables()))


if __name__ == "__main__":
    main()
