"""The only module, beside `launch` and `rendezvous`, that asks torch.distributed anything.

Without a process group the answers are those of one process, so nothing else has to know whether
there are several. A batch is divided into contiguous parts in the order of the ranks; `rank_slice`
says which part is whose, so that sizes never have to be sent.
"""

import inspect
import os
import time
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from ancor.errors import InputError
from ancor.runtime.devices import count_gpus, pick_device
from ancor.runtime.processes import end_with_parent
from ancor.runtime.rendezvous import MINUTES, check_minutes, meeting, wait_for


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process among all."""
    return dist.get_rank() if _grouped() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if _grouped() else 1


def local_rank() -> int:
    """Number of this process on its node."""
    return int(os.environ.get("LOCAL_RANK", 0)) if _grouped() else 0


def local_world_size() -> int:
    """Number of processes on this node."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if _grouped() else 1


def nodes() -> int:
    """Number of nodes, each with as many processes as this one."""
    return max(1, world_size() // local_world_size())


def is_main_process() -> bool:
    """Return whether this is the process that logs and writes."""
    return rank() == 0


def rank_slice(count: int, of: int | None = None) -> slice:
    """Return the part of `count` items that is the business of process `of` (default: this one).

    Parts are contiguous, in rank order, and differ in size by one at most.
    """
    of = rank() if of is None else of
    size, more = divmod(count, world_size())
    start = of * size + min(of, more)
    return slice(start, start + size + (of < more))


def gather(part: Tensor, count: int) -> Tensor:
    """Return all processes' parts of `count` items side by side, (count, ...), without gradient.

    Args:
        part: this process's items, those of `rank_slice(count)`.
        count: items in all.
    """
    if world_size() == 1:
        return part
    spans = [rank_slice(count, of) for of in range(world_size())]
    sizes = [span.stop - span.start for span in spans]
    padded = part.new_zeros(max(sizes), *part.shape[1:])
    padded[: len(part)] = part.detach()
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([other[:size] for other, size in zip(parts, sizes, strict=True)])


class _Gathered(torch.autograd.Function):
    """`gather`, whose gradient goes back to the process that each item is of."""

    @staticmethod
    def forward(ctx: FunctionCtx, part: Tensor, count: int) -> Tensor:
        return gather(part, count)

    @staticmethod
    def backward(ctx: FunctionCtx, upstream: Tensor) -> tuple[Tensor, None]:
        total = upstream.contiguous().clone()
        dist.all_reduce(total)
        return total[rank_slice(len(total))], None


def gather_with_gradient(part: Tensor, count: int) -> Tensor:
    """Return what `gather` does, with the gradient of all processes' losses.

    Averaged over the processes as the loop does, it is that of one process that holds the whole
    batch, whether each computes the loss of all items or that of its own against all.
    """
    return part if world_size() == 1 else _Gathered.apply(part, count)


def exchange(part: Tensor, order: Tensor) -> Tensor:
    """Return this process's share of all items taken in another order, without gradient.

    Each item is sent once, to the process that wants it: what a process sends and receives does not
    grow with the number of processes, as it would if all items went to all.

    Args:
        part: this process's items, those of `rank_slice(len(order))`, contiguous.
        order: a permutation of all items, on the host, the same on all processes.
    """
    if world_size() == 1:
        return part[_beside(order, part)]
    own = rank_slice(len(order))
    of_process = torch.empty_like(order)  # whose share each item, and each place, lies in
    for process in range(world_size()):
        of_process[rank_slice(len(order), process)] = process
    leaving = of_process[order] == rank()  # places that items of this process go to
    sent = order[leaving] - own.start
    sources = of_process[order[own]]
    received = part.new_empty(len(sources), *part.shape[1:])
    counts = (
        torch.bincount(processes, minlength=world_size()).tolist()
        for processes in (sources, of_process[leaving])
    )
    dist.all_to_all_single(received, part.detach()[_beside(sent, part)], *counts)
    return received[_beside(sources.argsort(stable=True).argsort(), part)]


def _beside(indices: Tensor, tensor: Tensor) -> Tensor:
    """Bring indices from the host to a tensor's device, without waiting."""
    return indices.to(tensor.device, non_blocking=True)


def average(figures: Tensor) -> Tensor:
    """Return the mean of a tensor of figures over all processes."""
    if world_size() == 1:
        return figures
    total = figures.clone()
    dist.all_reduce(total)
    return total / world_size()


def all_reduce_max(number: int) -> int:
    """Return the largest of all processes' numbers."""
    if world_size() == 1:
        return number
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    found = torch.tensor(number, device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def text_from_main(make: Callable[[], str]) -> str:
    """Return what `make` gives the first process; the others wait for it and do not call theirs."""
    if world_size() == 1:
        return make()
    words = [make() if is_main_process() else None]
    dist.broadcast_object_list(words, src=0)
    return words[0]


def broadcast_from_main(tensors: list[Tensor]) -> None:
    """Overwrite tensors in place by the first process's."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def data_parallel(module: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a module so that its gradients are averaged over the processes.

    Buffers are not broadcast at each step: batch-norm statistics are taken from the first process
    where they are read (`broadcast_from_main`).
    """
    if world_size() == 1:
        return module
    parallel = nn.parallel.DistributedDataParallel
    names = inspect.signature(parallel).parameters
    flag = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
    return parallel(
        module,
        device_ids=[device.index] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        **{flag: False},
    )


def in_torchrun() -> bool:
    """Whether torchrun (or what sets the same variables) started this process."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


def restarts_may_hang() -> bool:
    """Whether torchrun will restart failed processes on the store that the failed ones used.

    New processes can then read the dead ones' addresses from it and wait for them; torchrun makes a
    new store for each start if TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 is in its environment.
    """
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return shared and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0


def default_backend(device: str = "auto") -> str:
    """Return nccl where processes on a device of this name use CUDA devices, else gloo."""
    return "nccl" if device in ("auto", "cuda") and count_gpus() else "gloo"


def take_gpu(process: int, backend: str) -> None:
    """Make the GPU of a process of this node, by its number, the one that it uses.

    Raises:
        InputError: there is none for it. With gloo, whose processes may share one or need none,
            the first stays.
    """
    gpus = count_gpus()
    if process < gpus:
        torch.cuda.set_device(process)
    elif backend == "nccl":
        raise InputError(
            f"process {process} of this node has no GPU of its own, there are {gpus}: start at "
            f"most {gpus} processes here, or give `dist_backend` gloo"
        )


def own_gpu(device: str) -> int | None:
    """Return the number of the GPU that this process of a group uses; None: it is no GPU.

    Args:
        device: name of the device that is asked for.
    """
    if world_size() == 1 or pick_device(device).type != "cuda":
        return None
    return torch.cuda.current_device()  # as `take_gpu` has set it


def join(backend: str | None = None, minutes: float = MINUTES, device: str = "auto") -> None:
    """Join the group that the environment describes (as torchrun sets it).

    Args:
        backend: None: `default_backend`.
        minutes: how long to wait for the other processes.
        device: name of the device that the processes use.

    Raises:
        InputError: no such time can be waited, or there is no GPU for this process and NCCL.
        RunError: they did not come.
    """
    check_minutes(minutes)
    backend = backend or default_backend(device)
    if backend == "nccl" or default_backend(device) == "nccl":
        take_gpu(int(os.environ.get("LOCAL_RANK", 0)), backend)
    end_with_parent()
    until = time.monotonic() + 60 * minutes
    if os.environ.get("RANK") != "0":
        wait_for(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), until, minutes)
    left = timedelta(seconds=max(1, until - time.monotonic()))
    with meeting(minutes):
        dist.init_process_group(backend, timeout=left)
    # Once they have met, a process may have others wait for longer, for a picture or a save.
    set_timeout = getattr(dist, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout
    set_timeout(timedelta(minutes=max(MINUTES, minutes)))


def destroy() -> None:
    """Leave the group, if there is one."""
    if _grouped():
        dist.destroy_process_group()
