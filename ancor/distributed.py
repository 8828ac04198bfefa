"""The only module that asks torch.distributed anything.

Without a process group the answers are those of one process, so nothing else has to know whether
there are several. A batch is divided into contiguous parts in the order of the ranks; `share` tells
which part is whose, so that sizes never have to be sent.
"""

import inspect
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import resource_tracker
from urllib.parse import urlparse

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure, record

from ancor.errors import InputError, Interrupted, RunError, choose
from ancor.processes import end_with_parent, in_main_thread, signals_held

BACKENDS = ("nccl", "gloo", "mpi", "xccl")
TIMEOUT = timedelta(minutes=10)


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


def is_first() -> bool:
    """Whether this is the process that speaks and writes."""
    return rank() == 0


def share(count: int, of: int | None = None) -> slice:
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
        part: this process's items, those of `share(count)`.
        count: items in all.
    """
    if world_size() == 1:
        return part
    spans = [share(count, of) for of in range(world_size())]
    sizes = [span.stop - span.start for span in spans]
    padded = part.new_zeros(max(sizes), *part.shape[1:])
    padded[: len(part)] = part.detach()
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([other[:size] for other, size in zip(parts, sizes, strict=True)])


def exchange(part: Tensor, order: Tensor) -> Tensor:
    """Return this process's share of all items taken in another order, without gradient.

    Each item is sent once, to the process that wants it: what a process sends and receives does not
    grow with the number of processes, as it would if all items went to all.

    Args:
        part: this process's items, those of `share(len(order))`, contiguous.
        order: a permutation of all items, on the host, the same on all processes.
    """
    if world_size() == 1:
        return part[_beside(order, part)]
    own = share(len(order))
    of_process = torch.empty_like(order)  # whose share each item, and each place, lies in
    for process in range(world_size()):
        of_process[share(len(order), process)] = process
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


def largest(number: int) -> int:
    """Return the largest of all processes' numbers."""
    if world_size() == 1:
        return number
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    found = torch.tensor(number, device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def take_from_first(tensors: list[Tensor]) -> None:
    """Overwrite tensors in place by the first process's."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def data_parallel(module: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a module so that its gradients are averaged over the processes.

    Buffers are not broadcast at each step: batch-norm statistics are taken from the first process
    where they are read (`take_from_first`).
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


@dataclass(frozen=True)
class Group:
    """How to form a process group.

    Attributes:
        processes: of this node.
        nodes: number of nodes.
        node: number of this one.
        url: where the first process listens, `tcp://host:port`.
        backend: None: nccl with CUDA devices, gloo without.
    """

    processes: int
    nodes: int = 1
    node: int = 0
    url: str = "tcp://localhost:2375"
    backend: str | None = None

    def __post_init__(self) -> None:
        if self.backend is not None:
            choose("--dist-backend", self.backend, BACKENDS)
        if self.processes < 1:
            raise InputError(f"--nproc {self.processes}: at least 1 is needed")
        if not 0 <= self.node < self.nodes:
            raise InputError(
                f"--rank {self.node} of --world-size {self.nodes} nodes: "
                f"accepted: 0 to {self.nodes - 1}"
            )
        address = urlparse(self.url)
        if address.scheme != "tcp" or not address.hostname or not address.port:
            raise InputError(f"--dist-url {self.url!r}: tcp://HOST:PORT is needed")


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


def default_backend() -> str:
    """Return nccl where there are CUDA devices, gloo elsewhere."""
    return "nccl" if torch.cuda.is_available() else "gloo"


def join(backend: str | None = None) -> None:
    """Join the group that the environment describes (as torchrun sets it)."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    end_with_parent()
    dist.init_process_group(backend or default_backend(), timeout=TIMEOUT)


def leave() -> None:
    """Leave the group, if there is one."""
    if _grouped():
        dist.destroy_process_group()


def launch(function: Callable[..., None], group: Group, *arguments: object) -> None:
    """Run `function(*arguments)` in a group of fresh processes on this node and wait for all.

    When one fails the others are ended, and the error of the first to fail is raised here.

    Raises:
        InputError: the port is taken, or a process raised one.
        RunError: a process failed or was killed.
        Interrupted: a signal asked to stop; the processes have had 30 seconds to.
    """
    from torch.distributed.elastic.multiprocessing import SignalException, errors
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if group.node == 0:
        _check_port(group.url)
    if os.name == "posix":
        with signals_held():
            resource_tracker.ensure_running()  # else it ends at a SIGHUP to all
        if in_main_thread():
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # it is for the processes launched here
    # The agent's own account of a failure, many lines long; what matters is raised below.
    elastic = "torch.distributed.elastic"
    for name in (elastic, f"{elastic}.agent.server.api", "torch.multiprocessing.spawn"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=group.nodes,
        max_nodes=group.nodes,
        nproc_per_node=group.processes,
        run_id="ancor",
        rdzv_backend="static",
        rdzv_endpoint=urlparse(group.url).netloc,
        rdzv_configs={"rank": group.node, "timeout": TIMEOUT.seconds},
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(config, _member)(function, group, arguments)
    except SignalException as ended:
        raise _interrupted(ended.sigval) from ended
    except errors.ChildFailedError as error:
        raise _own_error(*error.get_first_failure()) from error


@record
def _member(function: Callable[..., None], group: Group, arguments: tuple) -> None:
    """Be one process of a launched group."""
    torch.set_num_threads(max(1, torch.get_num_threads() // group.processes))
    join(group.backend)
    try:
        function(*arguments)
    except Interrupted as ended:
        sys.exit(128 + ended.number)
    leave()


def _interrupted(number: int) -> Interrupted:
    name = signal.Signals(number).name
    return Interrupted(number, f"stopped by {name}; --resume auto goes on from the last save")


def _own_error(process: int, failure: ProcessFailure) -> Exception:
    """Turn the first failure of a group into the error that the process ended with."""
    if failure.exitcode < 0:
        name = failure.signal_name()
        return RunError(f"process {process} ended by signal {name}; all others were ended too")
    if failure.exitcode > 128:  # as a shell tells that a signal ended it
        return _interrupted(failure.exitcode - 128)
    message = failure.message
    if isinstance(message, dict):  # as a Python process records it
        message = message["message"]
    message = message.strip().splitlines()[-1]
    kind, _, text = message.partition(": ")
    if kind in ("InputError", "MissingPartition"):
        return InputError(text)
    return RunError(text if kind == "RunError" else f"process {process} failed: {message}")


def _check_port(url: str) -> None:
    address = urlparse(url)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.hostname, address.port))
        except OSError as error:
            raise InputError(
                f"--dist-url {url!r} cannot be listened on ({error.strerror}); name another port"
            ) from error
