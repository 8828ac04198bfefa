"""Loading processes: signals to all of a run, their own deaths, and no room to hand over."""

import errno
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import reduction as reductions

import psutil
import pytest
import torch
from torch.utils.data import Dataset

from ancor.data import loading
from ancor.data.loading import Loader
from ancor.errors import InputError, RunError
from ancor.training.signals import Requests
from tests.cases import slow
from tests.refusals import one_line, refuses
from tests.robustness.runs import ROOT, content, same_weights, start, wait_for

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Have torch look for the dead more often than every 5 seconds."""
    batches = torch.utils.data.dataloader._MultiProcessingDataLoaderIter
    monkeypatch.setattr(batches._try_get_data, "__defaults__", (0.3,))
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.3)


class Faulty(Dataset):
    """Images, at one of which something happens."""

    def __init__(self, fault=None, size: int = 8) -> None:
        self.fault, self.size = fault, size

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 5 and self.fault:
            self.fault()
        return torch.zeros(self.size)


@pytest.mark.parametrize(
    ("number", "workers"),
    [
        # Also by tests/robustness/test_interrupts.py: a run of one process.
        slow(signal.SIGTERM, "0"),
        (signal.SIGTERM, "2"),
        slow(signal.SIGINT, "1"),
        slow(signal.SIGHUP, "1"),
    ],
)
@pytest.mark.slow
def test_a_signal_to_the_whole_group_saves_and_ends(number, workers, tmp_path):
    """A5: loading processes died of it, 116 lines of traceback followed, and nothing was saved."""
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here, as under nohup, and so by what is started")
    folder = tmp_path / "run"
    running = start(folder, "-j", workers, "-p", "1", "--epochs", "500")
    wait_for(lambda: _lines(folder) > 2, running)
    os.killpg(running.pid, number)
    said = running.communicate(timeout=60)[0]
    assert running.returncode == 128 + number, said
    one_line(said, number.name)
    assert content(folder)["progress"]["step"] >= 2
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(folder) in str(p.info)]


def _lines(folder) -> int:
    path = folder / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


@pytest.mark.slow
def test_a_signal_to_the_group_of_two_processes_saves_and_ends(tmp_path):
    """A5: the same with --nproc 2, each with a loading process; it took 30 seconds and a kill."""
    folder = tmp_path / "run"
    launched = ["--multiprocessing-distributed", "--nproc", "2", "-j", "1", "-p", "3"]
    running = start(folder, *launched, "--dist-url", "tcp://localhost:29473", "--epochs", "500")
    wait_for(lambda: _lines(folder) > 2, running)
    asked = time.monotonic()
    os.killpg(running.pid, signal.SIGTERM)
    said = running.communicate(timeout=60)[0]
    assert running.returncode == 143, said
    assert len(said.splitlines()) == 1, said
    assert time.monotonic() - asked < 20
    assert content(folder)["progress"]["step"] % 16 % 3 == 0


@pytest.mark.slow
def test_a_run_stopped_with_its_group_ends_in_the_same_weights(tmp_path):
    """A5: what was saved is the whole state."""
    steps = ["--max-steps", "24"]
    whole = start(tmp_path / "whole", *steps)
    assert whole.wait(timeout=60) == 0
    folder = tmp_path / "run"
    running = start(folder, *steps, "-j", "1", "-p", "1")
    wait_for(lambda: _lines(folder) > 2, running)
    os.killpg(running.pid, signal.SIGTERM)
    assert running.wait(timeout=60) in (0, 143)
    again = start(folder, *steps)
    assert again.wait(timeout=60) == 0
    assert same_weights(folder, tmp_path / "whole")


def test_nohup_stays_in_force():
    """A5, another case: who asked that SIGHUP be ignored keeps that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Requests() as requests:
            signal.raise_signal(signal.SIGHUP)
            assert not requests.stop
    finally:
        signal.signal(signal.SIGHUP, before)


def _kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_death_is_one_line_that_names_the_cause(capfd):
    """A5: by a signal, while a batch is waited for."""
    with refuses("SIGKILL", "memory", "--workers", kind=RunError):
        list(Loader(Faulty(_kill_itself), 2, CPU, batch_size=2))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (-signal.SIGBUS, ["SIGBUS", "shared memory"]),
        (-signal.SIGSEGV, ["SIGSEGV", "--workers 0"]),
        (errno.ENOSPC, ["shared memory"]),
        (errno.EMFILE, ["ulimit -n"]),
        (1, ["status 1"]),
        (77, ["status 77"]),
    ],
)
def test_each_cause_has_its_words(status, words):
    """A5: the other ways in which a loading process ends."""

    def end() -> None:
        os.kill(os.getpid(), -status) if status < 0 else os._exit(status)

    with refuses(*words, kind=RunError):
        list(Loader(Faulty(end), 1, CPU, batch_size=2))


def test_a_death_between_epochs_does_not_interrupt_other_work():
    """A5: torch's handler raised wherever the main process was, in the middle of a save as well."""
    loader = Loader(Faulty(), 1, CPU, "go on", batch_size=2, persistent_workers=True)
    assert len(list(loader)) == 4
    (worker,) = loader._iterator._workers
    worker.kill()
    worker.join()
    for _ in range(100):  # here a SIGCHLD arrives
        time.sleep(0.001)
    with refuses("SIGKILL", "go on", kind=RunError):
        list(loader)


def test_a_death_is_told_where_torchs_handler_is_there_already(monkeypatch):
    """It raised in the middle of finding out why, in a process that had used other loaders."""
    before, own = signal.getsignal(signal.SIGCHLD), torch.utils.data._utils.signal_handling
    monkeypatch.setattr(own, "_SIGCHLD_handler_set", False)  # or it is set once a process
    list(torch.utils.data.DataLoader(torch.arange(4), num_workers=1))
    assert callable(signal.getsignal(signal.SIGCHLD))
    try:
        for _ in range(12):
            with refuses("status 77", kind=RunError):
                list(Loader(Faulty(lambda: os._exit(77)), 1, CPU, batch_size=2))
    finally:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


@pytest.mark.filterwarnings("error")
def test_more_processes_than_cpus_are_no_warning(monkeypatch):
    """It came from torch, on two lines."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert len(list(Loader(Faulty(), 2, CPU, batch_size=4))) == 2


def test_a_signal_leaves_loading_processes_alive_and_they_end_with_their_loader():
    """A5: whoever sends it, in whatever order."""
    loader = Loader(Faulty(), 2, CPU, batch_size=1, persistent_workers=True)
    batches = iter(loader)
    next(batches)
    workers = loader._iterator._workers
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        for worker in workers:
            os.kill(worker.pid, number)
    assert len(list(batches)) == 7
    assert all(worker.is_alive() for worker in workers)
    workers[0].terminate()  # as multiprocessing does at the end
    workers[0].join(5)
    assert workers[0].exitcode == -signal.SIGKILL
    workers[1].kill()


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (InputError("'x.png': cut off"), InputError, "'x.png': cut off"),
        (RunError("'x.png' is gone"), RunError, "'x.png' is gone"),
        (OSError(5, "Input/output error", "x.png"), OSError, "Input/output error: 'x.png'"),
        (
            RuntimeError(
                "unable to allocate shared memory(shm) for file </torch_1>: No space (28)"
            ),
            RunError,
            "shared memory",
        ),
    ],
)
def test_what_is_raised_in_a_loading_process_arrives_as_it_was(error, kind, words):
    """A6: without the traceback that torch puts into its text."""
    with refuses(words, kind=kind) as told:
        list(Loader(Faulty(lambda: _raise(error)), 1, CPU, batch_size=2))
    assert "Caught" not in str(told.value)


def test_a_programming_error_in_a_loading_process_keeps_its_traceback():
    """A6, the other side."""
    with pytest.raises(ZeroDivisionError, match="Original Traceback"):
        list(Loader(Faulty(lambda: 1 // 0), 1, CPU, batch_size=2))


def test_a_batch_that_cannot_be_handed_over_ends_the_wait(monkeypatch):
    """A6: such a batch was dropped after a traceback, and waited for without end."""

    def refuse(*_: object) -> None:
        raise RuntimeError("unable to open shared memory object </torch_1>: too many files (24)")

    loader = Loader(Faulty(), 1, CPU, batch_size=2)
    main, real = os.getpid(), reductions.ForkingPickler.dumps

    def dumps(value: object) -> memoryview:
        return real(value) if os.getpid() == main else refuse()

    monkeypatch.setattr(reductions.ForkingPickler, "dumps", dumps)
    with refuses("ulimit -n", kind=RunError):
        list(loader)


def test_a_long_temporary_folder_is_no_matter(tmp_path):
    """A6: sockets' paths are short, and a long TMPDIR made a run wait for ever."""
    long = tmp_path / ("x" * 120)
    long.mkdir()
    code = (
        "import torch; from tests.robustness.test_loading import *\n"
        "print(len(list(Loader(Faulty(), 2, CPU, batch_size=2))), tempfile.gettempdir())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(long)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split() == ["4", str(long)]  # other files still go where they were sent


def test_no_short_folder_is_told(monkeypatch):
    """A6, another case: nowhere to meet."""
    monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * 120)
    monkeypatch.setattr(loading.os, "access", lambda *_: False)
    monkeypatch.delitem(multiprocessing.current_process()._config, "tempdir", raising=False)
    with refuses("TMPDIR", "/" + "x" * 120 + "'", "--workers 0"):
        list(Loader(Faulty(), 1, CPU))


def test_little_shared_memory_is_one_line(tmp_path):
    """A6: /dev/shm of 1 MB; a clear line came, then a traceback."""
    code = "from tests.robustness.test_loading import *; list(Loader(Faulty(size=10**6), 1, CPU))"
    command = f"mount -t tmpfs -o size=1m tmpfs /dev/shm && exec {sys.executable} -c '{code}'"
    alone = ["unshare", "-m", "sh", "-c"]
    try:
        subprocess.run([*alone, "mount -t tmpfs tmpfs /dev/shm"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting is not allowed here")
    ended = subprocess.run([*alone, command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    one_line(ended.stderr.splitlines()[-1], "RunError", "/dev/shm", "1 MB")


def test_every_loader_of_the_package_is_this_one():
    """A5, A6: one mechanism for all."""
    for path in (ROOT / "ancor").rglob("*.py"):
        if path.name != "loading.py":
            assert "DataLoader" not in path.read_text(encoding="utf-8"), path


@pytest.mark.slow
def test_a_group_is_told_in_one_line_where_a_loading_process_dies(tmp_path):
    """A5: train.py as a process, one of whose loading processes is killed."""
    running = start(tmp_path / "run", "-j", "2", "-p", "1", "--epochs", "500")
    wait_for(lambda: _lines(tmp_path / "run") > 2, running)
    psutil.Process(running.pid).children()[0].kill()
    said = running.communicate(timeout=60)[0]
    assert running.returncode == 1
    one_line(said, "SIGKILL", "--resume auto")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors by /proc")
def test_a_pass_leaves_no_descriptors_open():
    """Those of ended loading processes were kept until Python looked for circles."""

    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    loader = Loader(torch.arange(8), 2, torch.device("cpu"), batch_size=4)
    list(loader)
    gc.collect()
    before = opened()
    gc.disable()
    try:
        for _ in range(4):
            list(Loader(torch.arange(8), 2, torch.device("cpu"), batch_size=4))
        patience = time.monotonic() + 10  # a queue's thread closes its own end
        while opened() > before and time.monotonic() < patience:
            time.sleep(0.05)
        assert opened() <= before
    finally:
        gc.enable()
