"""Starting processes on this node, and what becomes of them."""

import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.queues import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlparse

import torch
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure, record

from ancor.errors import InputError, Interrupted, RunError, choose
from ancor.runtime.devices import count_gpus, usable_cpus
from ancor.runtime.distributed import default_backend, destroy, join, local_rank, world_size
from ancor.runtime.processes import in_main_thread, signals_held
from ancor.runtime.rendezvous import MINUTES, check_minutes, meeting, wait_for

BACKENDS = ("nccl", "gloo", "mpi", "xccl")


@dataclass(frozen=True)
class Group:
    """How to form a process group.

    Attributes:
        processes: of this node.
        nodes: number of nodes.
        node: number of this one.
        url: where the first process listens, `tcp://host:port`.
        backend: None: `ancor.runtime.distributed.default_backend` of the device.
        minutes: how long nodes and processes wait for each other at the start.
        device: name of the device that the processes use.
    """

    processes: int
    nodes: int = 1
    node: int = 0
    url: str = "tcp://localhost:2375"
    backend: str | None = None
    minutes: float = MINUTES
    device: str = "auto"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Group":
        """Return the group that settings ask for: by default a process for each GPU here.

        Args:
            given: settings by name: device, gpu, nproc, world_size, rank, dist_url, dist_backend,
                dist_timeout; those that are not given are not there. A `gpu` is the only one that
                is used here; with NCCL each process needs one of its own.

        Raises:
            InputError: a value is not accepted.
        """
        one = given.get("gpu") is not None
        named = {"url": "dist_url", "backend": "dist_backend", "minutes": "dist_timeout"}
        named = {name: given[flag] for name, flag in named.items() if flag in given}
        named["device"] = "cuda" if one else given.get("device", "auto")
        backend = default_backend(named["device"])
        gpus = min(1, count_gpus()) if one else count_gpus() if backend == "nccl" else 0
        processes = given.get("nproc", max(1, gpus))
        shared = named.get("backend", backend) != "nccl"
        most = max(64, usable_cpus()) if shared else max(1, gpus)
        if not 1 <= processes <= most:
            why = "" if shared else ", one for each GPU, or more with `dist_backend` gloo"
            raise InputError(f"`nproc` {processes}: accepted here: 1 to {most}{why}")
        # The paper's -1 stands for a single node.
        nodes, node = max(1, given.get("world_size", 1)), max(0, given.get("rank", 0))
        return cls(processes, nodes, node, **named)

    def __post_init__(self) -> None:
        if self.backend is not None:
            choose("`dist_backend`", self.backend, BACKENDS)
        if self.processes < 1:
            raise InputError(f"`nproc` {self.processes}: at least 1 is needed")
        if not 0 <= self.node < self.nodes:
            raise InputError(
                f"`rank` {self.node} of `world_size` {self.nodes} nodes: "
                f"accepted: 0 to {self.nodes - 1}"
            )
        check_minutes(self.minutes)
        address = urlparse(self.url)
        if address.scheme != "tcp" or not address.hostname or not address.port:
            raise InputError(f"`dist_url` {self.url!r}: tcp://HOST:PORT is needed")


def launch(function: Callable[..., None], group: Group, *arguments: object) -> None:
    """Run `function(*arguments)` in a group of fresh processes on this node and wait for all.

    When one fails the others are ended, and the error of the first to fail is raised here.

    Raises:
        InputError: the port is taken, or a process raised one.
        RunError: a process failed or was killed, or the nodes did not meet.
        Interrupted: a signal asked to stop; the processes have had 30 seconds to.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, errors
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    address = urlparse(group.url)
    until = time.monotonic() + 60 * group.minutes
    if group.node == 0:
        _check_port(group.url)
    else:
        wait_for(address.hostname, address.port, until, group.minutes)
    if os.name == "posix":
        with signals_held():
            resource_tracker.ensure_running()  # else it ends at a SIGHUP to all
        if in_main_thread():
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # it is for the processes launched here
    told = torch.multiprocessing.get_context("spawn").SimpleQueue()
    # The agent's own account of a failure, many lines long; what matters is raised below.
    elastic = "torch.distributed.elastic"
    for name in (elastic, f"{elastic}.agent.server.api", "torch.multiprocessing.spawn"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    folder = TemporaryDirectory(prefix="ancor-launch-")  # for errors; the agent leaves its own
    config = LaunchConfig(
        min_nodes=group.nodes,
        max_nodes=group.nodes,
        nproc_per_node=group.processes,
        run_id="ancor",
        rdzv_backend="static",
        rdzv_endpoint=address.netloc,
        rdzv_configs={
            "rank": group.node,
            "timeout": max(1, math.ceil(until - time.monotonic())),
        },
        max_restarts=0,
        monitor_interval=0.2,
        logs_specs=DefaultLogsSpecs(log_dir=folder.name),
    )
    try:
        with folder, meeting(group.minutes):
            elastic_launch(config, _member)(function, group, arguments, told)
    except SignalException as ended:
        raise _interrupted(ended.sigval, told) from ended
    except errors.ChildFailedError as error:
        process, failure = error.get_first_failure()
        if failure.exitcode > 128:  # as a shell tells that a signal ended it
            raise _interrupted(failure.exitcode - 128, told) from error
        raise _own_error(process, failure) from error


@record
def _member(
    function: Callable[..., None], group: Group, arguments: tuple, told: SimpleQueue
) -> None:
    """Be one process of a launched group; the first of a node tells what a signal left."""
    torch.set_num_threads(max(1, torch.get_num_threads() // group.processes))
    join(group.backend, group.minutes, group.device)
    if world_size() != group.nodes * group.processes:
        raise InputError(
            f"`world_size` {group.nodes} with {group.processes} processes here, and "
            f"{world_size()} processes in all: give every node the same `world_size` and `nproc`"
        )
    try:
        function(*arguments)
    except Interrupted as ended:
        if local_rank() == 0:
            told.put(str(ended))
        sys.exit(128 + ended.number)
    destroy()


def _interrupted(number: int, told: SimpleQueue) -> Interrupted:
    if not told.empty():
        return Interrupted(number, told.get())
    name = signal.Signals(number).name
    return Interrupted(number, f"stopped by {name}; `resume` auto goes on from the last save")


def _own_error(process: int, failure: ProcessFailure) -> Exception:
    """Turn the first failure of a group into the error that the process ended with."""
    if failure.exitcode < 0:
        name = failure.signal_name()
        return RunError(f"process {process} ended by signal {name}; all others were ended too")
    # As a Python process records it, the error's own first line; otherwise where an account ends.
    recorded = isinstance(failure.message, dict)
    lines = (failure.message["message"] if recorded else failure.message).strip().splitlines()
    message = lines[0 if recorded else -1]
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
                f"`dist_url` {url!r} cannot be listened on ({error.strerror}); name another port"
            ) from error
