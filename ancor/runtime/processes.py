"""Processes that belong to another one: what they leave to it, and that they end with it."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# What is sent to a whole process group is for its main process: that decides when all end.
LEFT_TO_MAIN = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGPIPE")


def numbers(names: tuple[str, ...]) -> set[signal.Signals]:
    """Return the signals of these names, those that the system has."""
    return {getattr(signal, name) for name in names if hasattr(signal, name)}


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold signals back from this process, and for good from those that start meanwhile.

    They come when it ends. Started processes release them by `leave_signals_to_main`, if at all.
    """
    if os.name != "posix":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers(LEFT_TO_MAIN))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_signals_to_main() -> None:
    """Make this process deaf to what is for its main process."""
    for number in numbers(LEFT_TO_MAIN):
        signal.signal(number, signal.SIG_IGN)
    if os.name == "posix":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers(LEFT_TO_MAIN))


def in_main_thread() -> bool:
    """Whether this thread may take signals."""
    return threading.current_thread() is threading.main_thread()


def end_with_parent() -> None:
    """Have the kernel end this process when what launched it is killed (Linux)."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # of sys/prctl.h
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
