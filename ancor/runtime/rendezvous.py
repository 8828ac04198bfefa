"""How processes meet to form a group: how long they wait, and what is said if they do not."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from ancor.errors import InputError, RunError

MINUTES = 10.0  # for processes to meet, and for any exchange between them
LONGEST_MINUTES = 10_080  # a week


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
