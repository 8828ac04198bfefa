"""Loading processes: the one loader of the package, and what it tells when one of them fails."""

import errno
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import connection, util
from multiprocessing.queues import Queue
from typing import Any, NoReturn

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from ancor.errors import InputError, RunError
from ancor.runtime.processes import in_main_thread, leave_signals_to_main, numbers, signals_held

# torch's handlers of these print a line of their own; the exit status tells as much.
FATAL = ("SIGBUS", "SIGSEGV", "SIGFPE")
# A socket's address has 103 bytes (macOS; 107 on Linux), of which multiprocessing takes 32.
LONGEST_TEMPORARY = 103 - len("/pymp-12345678/listener-12345678")
SHARED = "/dev/shm"
ALONE = "`workers` 0 loads without processes"
FEWER = "take fewer `workers`, smaller batches, or `workers` 0"


class Loader(DataLoader):
    """A DataLoader whose processes leave signals to this one, and whose failures are one line.

    Args:
        dataset: as DataLoader takes it.
        workers: loading processes; 0: none beside this one.
        device: where batches go.
        advice: what to do after a loading process died, beside having fewer.
        options: of DataLoader.
    """

    def __init__(
        self,
        dataset: Dataset,
        workers: int,
        device: torch.device,
        advice: str = "",
        **options: Any,
    ) -> None:
        super().__init__(
            dataset,
            num_workers=workers,
            worker_init_fn=_begin,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # else the loader draws from the global one
            **options,
        )
        self.advice = advice
        self._processes: list = []

    def __iter__(self) -> Iterator:
        """Yield batches.

        Raises:
            RunError: a loading process died, or cannot hand over what it loaded.
            InputError: the dataset raised one.
        """
        if self.num_workers:
            _shorten_temporary_folder()
        try:
            with signals_held(), _deaths_found_later():
                batches = super().__iter__()
            self._processes = getattr(batches, "_workers", [])
            _unwatch(batches)
            for worker in self._processes:
                # SIGTERM, with which multiprocessing ends them at last, is what they are deaf to.
                # Its own method would keep it, and its descriptors, from being freed.
                worker._popen.terminate = partial(_end, worker.pid)
            yield from batches
        except (RuntimeError, OSError, EOFError, InputError) as error:
            if not self.num_workers:
                raise
            told = _from_dataset(error) or self._failure(error)
            if told is None:
                raise
            raise told from error

    def check_worker_number_rationality(self) -> None:
        """Say nothing, where torch warns of more processes than CPUs: there was a reason to ask."""

    def _failure(self, error: Exception) -> RunError | None:
        """Say why processes and batches do not come; None: it is no fault of the machine's."""
        text = str(error)
        if re.search(r"shared memory|</torch_", text):
            return RunError(_no_room())
        if "Too many open files" in text or "ancdata" in text:
            return RunError(_no_descriptors())
        # One that just died cuts its connections before its status is there.
        sentinels = [worker.sentinel for worker in self._processes]
        ended = connection.wait(sentinels, timeout=5) if sentinels else []
        for worker in self._processes:
            worker.join(5 if worker.sentinel in ended else 0)
        statuses = [worker.exitcode for worker in self._processes if worker.exitcode]
        if not statuses:
            return None
        # A kill by the system comes first where others were ended after it.
        advice = f"; {self.advice}" if self.advice else ""
        return RunError(_death(min(statuses)) + advice)


def _from_dataset(error: Exception) -> Exception | None:
    """Return an error of this package or of a file as it was raised in a loading process."""
    text = str(error).rstrip()
    if not re.match(r"Caught \w+ in DataLoader worker process", text):
        return None
    last = text.rpartition("\n")[2]
    if "\nancor.errors." in text:
        own = text.rpartition("\nancor.errors.")[2]
        return type(error)(own.partition(": ")[2])
    found = re.match(r"\w+: \[Errno (\d+)\] (.*)", last)
    if isinstance(error, OSError) and found:
        return OSError(int(found[1]), found[2])
    return None


def _death(status: int) -> str:
    """Say how a process with this exit status ended, and why it may have."""
    if status == errno.ENOSPC:
        return _no_room()
    if status == errno.EMFILE:
        return _no_descriptors()
    if status >= 0:
        why = f" ({os.strerror(status)})" if status in errno.errorcode and status > 1 else ""
        return f"a loading process ended with status {status}{why}; {ALONE}"
    name = signal.Signals(-status).name
    if name == "SIGKILL":
        return f"a loading process ended by {name}, as where memory runs out; {FEWER}"
    if name == "SIGBUS":
        return f"a loading process ended by {name}, as where there is no room: {_no_room()}"
    return f"a loading process ended by {name}; {ALONE}"


def _no_room() -> str:
    size = ""
    if os.path.isdir(SHARED):
        size = f", {shutil.disk_usage(SHARED).total / 2**20:.0f} MB in all,"
    return (
        f"shared memory ({SHARED}){size} is too small for what loading processes hand over; "
        f"enlarge it (docker run --shm-size=8g), {FEWER}"
    )


def _no_descriptors() -> str:
    return f"the loading processes have too many files open; raise ulimit -n, {FEWER}"


@contextmanager
def _deaths_found_later() -> Iterator[None]:
    """Take SIGCHLD from torch again, whose handler raises wherever this process is, also in a save.

    Without it a death is found where a batch is waited for.
    """
    if os.name != "posix" or not in_main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) or signal.SIG_DFL
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _unwatch(batches: Iterator) -> None:
    """Have torch's handler, where other loaders have set it, not look after these processes."""
    if getattr(batches, "_worker_pids_set", False):
        signal_handling._remove_worker_pids(id(batches))
        batches._worker_pids_set = False


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _begin(worker: int) -> None:
    """Prepare a loading process."""
    leave_signals_to_main()
    for number in numbers(FATAL):
        signal.signal(number, signal.SIG_DFL)
    # Else a batch that cannot be handed over is dropped, and waited for without end.
    Queue._on_queue_feeder_error = staticmethod(_cannot_hand_over)


def _cannot_hand_over(error: Exception, batch: object) -> NoReturn:
    """End a loading process with the number of the system's error as its status."""
    number = getattr(error, "errno", None)
    if number is None:
        told = re.search(r"\((\d+)\)\s*$", str(error))  # as torch tells it
        number = int(told[1]) if told else 1
    os._exit(number if 0 < number < 256 else 1)


def _shorten_temporary_folder() -> None:
    """Have processes meet in a folder whose path leaves room for a socket's name."""
    named = tempfile.gettempdir()
    if os.name != "posix" or len(os.fsencode(named)) <= LONGEST_TEMPORARY:
        return
    chosen = multiprocessing.current_process()._config
    if len(chosen.get("tempdir") or named) <= LONGEST_TEMPORARY:
        return
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        if os.access(folder, os.W_OK):
            tempfile.tempdir = folder
            try:
                util.get_temp_dir()  # which remembers it
            finally:
                tempfile.tempdir = named
            return
    raise InputError(
        f"TMPDIR {named!r} has more than {LONGEST_TEMPORARY} bytes, too many for the sockets of "
        "loading processes; name a shorter one, or `workers` 0"
    )
