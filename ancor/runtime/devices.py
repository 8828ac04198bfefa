"""Which device a run uses, and what there is to use."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ancor.errors import InputError, choose
from ancor.runtime.compiler import without_compiler

DEVICES = ("auto", "cuda", "mps", "cpu")
# What draws a tensor's start values in place; timm's truncated normal takes five of them.
DRAWS = (Tensor.normal_, Tensor.uniform_, Tensor.erfinv_, Tensor.mul_, Tensor.add_, Tensor.clamp_)
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("auto", *DTYPES)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Make tensors on the device "meta" in this context: of shapes without numbers or memory."""
    with torch.device("meta"), _Undrawn(), without_compiler():
        yield


class _Undrawn(TorchFunctionMode):
    """Draws no start values on "meta", which holds none: torch would import sympy to do so."""

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in DRAWS or getattr(function, "__module__", None) == nn.init.__name__:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return function(*args, **kwargs)


def count_gpus() -> int:
    """Number of CUDA devices that can be used."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def pick_device(name: str = "auto", gpu: int | None = None) -> torch.device:
    """Return the device to use.

    Args:
        name: `auto` takes CUDA, then Apple's MPS, then the CPU.
        gpu: number of a CUDA device; None: the first, where it is one.

    Raises:
        InputError: the device is not there, or `name` is of another kind than `gpu`.
    """
    choose("`device`", name, DEVICES)
    count = count_gpus()
    if gpu is not None:
        if name not in ("auto", "cuda"):
            raise InputError(
                f"`gpu` {gpu} is a CUDA device, and `device` {name} was given; leave one out"
            )
        if not 0 <= gpu < count:
            have = f"0 to {count - 1}" if count else "none, there is no CUDA device"
            raise InputError(f"`gpu` {gpu}: accepted: {have}; leave `gpu` out to use what is there")
        return torch.device("cuda", gpu)
    mps = torch.backends.mps.is_available()
    if (name == "cuda" and not count) or (name == "mps" and not mps):
        raise InputError(f"`device` {name}: there is none here; use `device` auto or cpu")
    if name == "auto":
        name = "cuda" if count else "mps" if mps else "cpu"
    return torch.device(name)


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the type that network passes are cast to; None: fp32.

    Args:
        precision: `auto` takes bf16 where the device computes it natively.
        device: where the passes run.

    Raises:
        InputError: the precision is unknown, or is fp16 without CUDA, where its gradients
            could not be scaled.
    """
    choose("`precision`", precision, PRECISIONS)
    if precision == "auto":
        return torch.bfloat16 if _native_bf16(device) else None
    if precision == "fp16" and device.type != "cuda":
        raise InputError(f"`precision` fp16 needs a CUDA device, not {device}; use bf16 or fp32")
    return DTYPES[precision]


def _native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    # torch has no public name for these questions before 2.11 or so.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_workers(count: int) -> None:
    """Raise an InputError where that many loading processes would stop the machine."""
    most = max(64, 8 * usable_cpus())
    if not 0 <= count <= most:
        raise InputError(f"`workers` {count}: accepted here: 0 to {most}")


@dataclass(frozen=True)
class Runtime:
    """Where and how network passes run; results depend on it only by rounding.

    Attributes:
        device: where they run.
        dtype: what they are cast to by autocast; None: fp32.
        batch_size: images of a forward pass.
        workers: processes that load images; 0: none beside this one.
        quiet: whether to show no progress bars.

    Raises:
        InputError: the batch size or the number of workers is not accepted.
    """

    device: torch.device
    dtype: torch.dtype | None = None
    batch_size: int = 256
    workers: int = 0
    quiet: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"`batch_size` {self.batch_size}: at least 1 is needed")
        check_workers(self.workers)

    @classmethod
    def named(
        cls,
        device: str | torch.device = "auto",
        precision: str = "fp32",
        gpu: int | None = None,
        **others: int,
    ) -> "Runtime":
        """Make one from a device's and a precision's name (`pick_device`, `autocast_dtype`).

        On the CPU, this process keeps freed memory from then on (`keep_freed_memory`).
        """
        found = device if isinstance(device, torch.device) else pick_device(device, gpu)
        if found.type == "cpu":
            keep_freed_memory()
        return cls(found, autocast_dtype(precision, found), **others)

    @property
    def precision(self) -> str:
        """Name of the dtype, `fp32` for none."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.dtype)

    def autocast(self) -> torch.autocast:
        """Return the context in which passes run."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)


def available_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on the device (for MPS: of the machine's memory)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def keep_freed_memory() -> None:
    """Have the C library keep what it frees for the next step, where it is glibc.

    It would give large blocks back to the kernel at once, and a training step on the CPU would then
    spend about a seventh of its time on fresh pages. Blocks beyond 1 GiB are still given back.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        trim_threshold, mmap_threshold = -1, -3  # of malloc.h
        library.mallopt(mmap_threshold, 2**30)
        library.mallopt(trim_threshold, 2**31 - 1)


def used_memory(device: torch.device) -> int:
    """Bytes held now: peak of the allocator on CUDA, resident set of this process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss


def describe(device: torch.device) -> str:
    """Name the device for people."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else device.type
