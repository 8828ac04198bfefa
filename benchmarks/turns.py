"""Processes that take a step each by turns, so that a ratio compares neighbors in time.

Each kind of work lives in a process of its own, which gives its peak memory; while one takes its
step the others wait.
"""

from collections.abc import Callable
from math import nan
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import psutil
from torch.profiler import profile

from ancor.runtime.devices import keep_freed_memory

# Work that is timed; where it does a part alone it returns the seconds of the whole, else anything
# but a float.
Step = Callable[[], object]
KINDS = {  # of operations, by what torch calls them
    "convolutions": ("conv",),
    "batch norm": ("batch_norm",),
    "pooling": ("pool",),
    "matrix products": ("mm",),
}


def peak_memory() -> float:
    """Return the most memory that this process ever held, in MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def work(pipe: Connection, make: Callable[[], Step], keeps: bool) -> None:
    """Be a process that takes a step each time it is asked.

    It tells the seconds, those that the processor worked for it (none where a part was timed), its
    peak memory, and by how much that exceeds what it held before.
    """
    if keeps:
        keep_freed_memory()
    step = make()
    held = psutil.Process().memory_info().rss / 2**20
    while asked := pipe.recv():
        if asked == "profile":
            pipe.send(profiled(step))
            continue
        started, before = perf_counter(), process_time()
        told = step()
        seconds, worked = perf_counter() - started, process_time() - before
        if isinstance(told, float):
            seconds, worked = told, nan
        pipe.send((seconds, worked, peak_memory(), peak_memory() - held))


def profiled(step: Step) -> dict[str, float]:
    """Take a step; return the seconds of the processor by kind of operation."""
    with profile() as found:
        step()
    seconds = dict.fromkeys((*KINDS, "the rest"), 0.0)
    for each in found.key_averages():
        kinds = (kind for kind, names in KINDS.items() if any(name in each.key for name in names))
        seconds[next(kinds, "the rest")] += each.self_cpu_time_total / 1e6
    return seconds


class Worker:
    """The parent's end of a process that runs `work`; the first step is not counted.

    Args:
        make: called in the process, returns the step; it has to be picklable.
        keeps: whether freed memory is kept for the next step, as the toolkit's commands do.
    """

    def __init__(self, make: Callable[[], Step], keeps: bool = True) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, make, keeps), daemon=True)
        self.process.start()
        theirs.close()  # the death of the process is told, not waited for
        self.seconds: list[float] = []
        self.worked: list[float] = []
        self.first = self.step()
        self.seconds.clear()
        self.worked.clear()

    def step(self) -> float:
        """Have it take a step."""
        self.pipe.send(True)
        seconds, worked, self.peak, self.extra = self.pipe.recv()
        self.seconds.append(seconds)
        self.worked.append(worked)
        return seconds

    def profile(self) -> dict[str, float]:
        """Have it take a step that is not counted; return its seconds by kind of operation."""
        self.pipe.send("profile")
        return self.pipe.recv()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.pipe.send(False)
        self.process.join()


def ratio(above: Worker, below: Worker, of: str = "seconds") -> float:
    """Return the median of the ratios of neighbors in time: of `seconds`, or of those `worked`."""
    pairs = zip(getattr(above, of), getattr(below, of), strict=True)
    return median(a / b for a, b in pairs)
