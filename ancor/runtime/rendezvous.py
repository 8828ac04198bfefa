"""How processes meet to form a group: who starts them, how long they wait, and what is said."""

import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from ancor.errors import InputError, RunError

MINUTES = 10.0  # for processes to meet, and for any exchange between them
LONGEST_MINUTES = 10_080  # a week
# Settings that say which processes are started, and those that mean nothing to one alone.
STARTED = ("multiprocessing_distributed", "nproc", "world_size", "rank", "dist_url")
MET = ("rank", "dist_url", "dist_backend", "dist_timeout", "sync_bn")


def asks_for_processes(given: Mapping[str, Any]) -> bool:
    """Return whether settings ask for processes to be started, on this node or several.

    Args:
        given: settings by name, of `STARTED`; those that are not given are not there.
    """
    several = given.get("world_size", 1) > 1 or given.get("nproc", 1) != 1
    return several or bool(given.get("multiprocessing_distributed"))


def unused(given: Mapping[str, Any], torchrun: bool) -> list[str]:
    """Say in a line which settings mean nothing to processes that are not started by them.

    Args:
        given: settings by name, of `STARTED` and `MET`; those that are not given are not there.
        torchrun: whether torchrun started this process; else it is the only one.
    """
    names = ", ".join(f"`{name}`" for name in (STARTED if torchrun else MET) if name in given)
    if not names:
        return []
    why = "torchrun says which processes there are"
    if not torchrun:
        why = "one process trains; `multiprocessing_distributed` or `nproc` starts several"
    return [f"Notice: {names} given without effect, as {why}"]


def check_minutes(minutes: float) -> None:
    """Raise an InputError where processes cannot wait for so long."""
    if not 0 < minutes <= LONGEST_MINUTES:
        raise InputError(
            f"`dist_timeout` {minutes}: accepted: more than 0 and up to {LONGEST_MINUTES} minutes"
        )


def wait_for(host: str, port: int, until: float, minutes: float) -> None:
    """Wait until the first process listens; torch's own wait writes a stack of lines.

    Args:
        host: where it is to listen.
        port: the same.
        until: when to give up, of `time.monotonic`.
        minutes: what is told then.

    Raises:
        RunError: it does not.
    """
    while True:
        try:
            socket.create_connection((host, port), timeout=max(1, until - time.monotonic())).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                why = f"nothing answers at {host}:{port}, {error.strerror or error}"
                raise RunError(_not_met(minutes, why)) from error
        time.sleep(0.2)


@contextmanager
def meeting(minutes: float) -> Iterator[None]:
    """Turn what torch raises where processes do not meet into a RunError.

    Args:
        minutes: how long they were waited for.
    """
    try:
        yield
    except RuntimeError as error:
        why = str(error).strip().partition("\n")[0][:200].rstrip(".")
        # gloo has no type of its own for this.
        if not isinstance(error, dist.DistError) and not re.search("timed out|connect", why, re.I):
            raise
        raise RunError(_not_met(minutes, why or type(error).__name__)) from error


def _not_met(minutes: float, why: str) -> str:
    return (
        f"the processes did not meet in {minutes:g} minutes ({why}); start as many as `world_size` "
        "and `nproc` say, each node with its own `rank` and the same `dist_url`, and wait longer "
        "for them by `dist_timeout` MINUTES"
    )
