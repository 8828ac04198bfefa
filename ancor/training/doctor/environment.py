"""What a machine has for a training, and what would slow one down or stop it."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

import psutil
import torch

from ancor.runtime.devices import autocast_dtype, count_gpus, pick_device, usable_cpus
from ancor.runtime.text import megabytes
from ancor.training.doctor.report import LOOK, OK, Finding

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "timm", "tensorboard", "onnxruntime")
SHARED = Path("/dev/shm")
LEAST_SHARED = 2**30  # bytes; a batch of 256 pairs of 224 px has 77 MB, and several wait
LEAST_FILES = 1024
BUSY = 0.25  # of the cores, that other processes may use


def environment() -> Iterator[Finding]:
    """Yield what is here, and what to do about it."""
    yield packages()
    yield devices()
    yield cores()
    yield memory()
    yield files()
    yield caches()


def packages() -> Finding:
    """Tell versions."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return Finding("packages", OK, ", ".join(f"{k} {v}" for k, v in found.items()), found)


def devices() -> Finding:
    """Tell the devices, and the precision that `auto` takes on the best."""
    gpus = [torch.cuda.get_device_properties(number) for number in range(count_gpus())]
    best = pick_device()
    dtype = str(autocast_dtype("auto", best) or "fp32").removeprefix("torch.")
    named = ", ".join(f"{gpu.name} ({megabytes(gpu.total_memory)})" for gpu in gpus)
    figures = {"gpus": [gpu.name for gpu in gpus], "best": best.type, "precision": dtype}
    if torch.version.cuda and not gpus:
        text = f"{best.type}, {dtype}; this PyTorch is built for CUDA {torch.version.cuda}, and "
        return Finding("devices", OK, text + "no GPU is visible", figures)
    return Finding("devices", OK, f"{named or best.type}; precision auto is {dtype}", figures)


def cores() -> Finding:
    """Tell cores and threads, and whether other processes use the cores."""
    usable, threads = usable_cpus(), torch.get_num_threads()
    busy = busy_elsewhere()
    figures = {"cores": usable, "threads": threads, "busy_elsewhere": busy}
    text = f"{usable} cores, {threads} threads of PyTorch"
    if busy > BUSY * usable:
        return Finding(
            "cores",
            LOOK,
            f"{text}; other processes use {busy:.1f} cores: threads then wait for one another, and "
            "a training beside another takes several times as long as both in turn; end "
            f"them, or set OMP_NUM_THREADS={max(1, int(usable - busy))}",
            figures,
        )
    if threads > usable:
        advice = f"more threads than cores: set OMP_NUM_THREADS={usable}"
        return Finding("cores", LOOK, f"{text}; {advice}", figures)
    return Finding("cores", OK, text, figures)


def memory() -> Finding:
    """Tell memory, and what loading processes can hand batches over in."""
    found = psutil.virtual_memory()
    figures = {"total": found.total, "available": found.available}
    text = f"{megabytes(found.available)} of {megabytes(found.total)} are free"
    if SHARED.is_dir():
        shared = shutil.disk_usage(SHARED).free
        figures["shared"] = shared
        text += f", {megabytes(shared)} shared"
        if shared < LEAST_SHARED:
            advice = "loading processes may run out of it: take few, or give a container more"
            return Finding("memory", LOOK, f"{text}; {advice} (docker run --shm-size)", figures)
    return Finding("memory", OK, text, figures)


def files() -> Finding:
    """Tell how many files a process may open."""
    if os.name != "posix":
        return Finding("files", OK, "no limit is known")
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit < LEAST_FILES:
        text = f"{limit} files may be open: loading processes need more (ulimit -n 4096)"
        return Finding("files", LOOK, text, {"open": limit})
    return Finding("files", OK, f"{limit} files may be open", {"open": limit})


def caches() -> Finding:
    """Tell where weights of libraries are kept, and the room there."""
    folders = {
        "torch": Path(torch.hub.get_dir()),
        "hub": Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")),
    }
    figures = {name: str(folder) for name, folder in folders.items()}
    present = folders["torch"]
    while not present.exists():
        present = present.parent
    free = shutil.disk_usage(present).free
    text = f"weights are kept in {' and '.join(figures.values())}; {megabytes(free)} are free"
    return Finding("caches", OK, text, {**figures, "free": free})


def busy_elsewhere(seconds: float = 0.3) -> float:
    """Return how many cores other processes use, measured over some time."""
    own = psutil.Process()
    before, mine, started = psutil.cpu_times(), own.cpu_times(), perf_counter()
    psutil.cpu_percent(interval=seconds)
    after, then, span = psutil.cpu_times(), own.cpu_times(), perf_counter() - started
    used = sum(after) - sum(before) - (after.idle - before.idle)
    for waits in ("iowait", "guest", "guest_nice"):  # no use, or told a second time
        used -= getattr(after, waits, 0) - getattr(before, waits, 0)
    used -= (then.user + then.system) - (mine.user + mine.system)
    return round(max(0.0, used / span), 2)
