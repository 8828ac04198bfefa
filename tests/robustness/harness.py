"""The promise of every command, whatever it is given, and a closed room to watch it in.

A command ends with status 0, 1 or 2; if not with 0 then with one line on stderr; and it writes
nowhere but where it was told to.
"""

import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import matplotlib.font_manager

ROOT = Path(__file__).parents[2]
LIMIT = 60  # seconds for a case; most take a tenth of one
# Room for a case beyond what the process holds: what asks for more is to be told so in one line.
MEMORY = 6 * 2**30


def commands() -> dict[str, object]:
    """All commands' modules by name: new ones are found too."""
    found = {}
    for path in sorted((ROOT / "ancor" / "cli").glob("*.py")):
        module = import_module(f"ancor.cli.{path.stem}")
        if hasattr(module, "main") and hasattr(module, "build_parser"):
            found[path.stem.replace("_", "-")] = module
    return found


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str
    seconds: float


class TookTooLong(BaseException):
    """No handler of ordinary exceptions may stop it."""


class Room:
    """A folder that stands for the whole world: working directory, home, place for temporary files.

    Args:
        root: the folder.
        shelf: another folder, of files to read, in which nothing may change either.
    """

    def __init__(self, root: Path, shelf: Path) -> None:
        self.root, self.shelf = root, shelf
        self.work = root / "a" / "b" / "work"  # deep enough for a few ..
        self.home, self.temp = root / "home", root / "temp"
        for folder in (self.work, self.home, self.temp):
            folder.mkdir(parents=True)

    def environment(self) -> dict[str, str]:
        """What a process in this room sees; no network, and nothing of the user's home."""
        nowhere = "http://127.0.0.1:9"
        places = {"HOME": self.home, "XDG_CACHE_HOME": self.home / ".cache", "TMPDIR": self.temp}
        places["MPLCONFIGDIR"] = matplotlib.get_cachedir()  # where its list of fonts lies already
        proxies = {f"{kind}_proxy": nowhere for kind in ("http", "https")}
        return {**{name: str(place) for name, place in places.items()}, **proxies}

    def snapshot(self) -> dict[str, tuple]:
        """Everything in the room and on the shelf, with what tells a change."""
        found = {}
        for top in (self.root, self.shelf):
            for folder, inside, files in os.walk(top):
                # torch makes an empty folder of its own for what it might compile, multiprocessing
                # one for its sockets, which goes when the process ends.
                own = ("torchinductor_", "pymp-")
                inside[:] = [name for name in inside if not name.startswith(own)]
                for name in (*inside, *files):
                    path = os.path.join(folder, name)
                    status = os.lstat(path)
                    is_file = name in files
                    found[path] = (status.st_size, status.st_mtime_ns) if is_file else ()
        return found

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Work in the room for a while."""
        before = Path.cwd(), dict(os.environ), tempfile.tempdir
        os.chdir(self.work)
        os.environ.update(self.environment())
        tempfile.tempdir = str(self.temp)
        try:
            yield
        finally:
            os.chdir(before[0])
            os.environ.clear()
            os.environ.update(before[1])
            tempfile.tempdir = before[2]


@contextmanager
def limits() -> Iterator[None]:
    """Stop what runs away, before it takes the machine with it."""

    def late(*_: object) -> None:
        raise TookTooLong(f"more than {LIMIT} s")

    handler = signal.signal(signal.SIGALRM, late)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, before[1]))
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def streams() -> Iterator[tuple]:
    """Catch both streams of this process and of those that it starts."""
    saved = os.dup(1), os.dup(2)
    python = sys.stdout, sys.stderr
    with tempfile.TemporaryFile(dir="/tmp") as out, tempfile.TemporaryFile(dir="/tmp") as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        try:
            yield out, err
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = python
            for number, copy in enumerate(saved, start=1):
                os.dup2(copy, number)
                os.close(copy)


def run(main: Callable[[list[str]], int], argv: Sequence[str], room: Room) -> Ended:
    """Run a command in this process, as a process of its own would: its warnings are lines too."""
    logger = logging.getLogger("ancor")
    logger.handlers.clear()
    start = time.perf_counter()
    with room.entered(), streams() as (out, err):
        with warnings.catch_warnings(record=True) as warned, limits():
            try:
                status = main(list(argv))
            except SystemExit as ended:
                status = ended.code
        sys.stdout.flush()
        sys.stderr.flush()
        written = []
        for file in (out, err):
            file.seek(0)
            written.append(file.read().decode("utf-8", "replace"))
    logger.handlers.clear()
    close_figures()
    silent = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
    lines = [f"{w.message}\n" for w in warned if not issubclass(w.category, silent)]
    return Ended(status, written[0], written[1] + "".join(lines), time.perf_counter() - start)


def close_figures() -> None:
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def broken_promise(ended: Ended) -> str | None:
    """Say what of the promise a command broke; None: nothing."""
    if type(ended.status) is not int or ended.status not in (0, 1, 2):
        return f"ended with {ended.status!r}"
    if "Traceback (most recent call last)" in ended.err + ended.out:
        return "showed a traceback"
    lines = ended.err.splitlines()
    if ended.status and (len(lines) != 1 or not lines[0].strip()):
        return f"ended with status {ended.status} and {len(lines)} lines on stderr"
    return None


def keep(main: Callable, argv: Sequence[str], room: Room, places: Sequence[Path]) -> Ended:
    """Run a command, assert that it keeps the promise, and tidy up what it wrote.

    Args:
        main: the command.
        argv: its arguments.
        room: where it runs.
        places: what it may write: files, and folders with all that is in them.
    """
    before = room.snapshot()
    ended = run(main, argv, room)
    judge(ended, argv, room, before, places)
    return ended


def judge(ended: Ended, argv: Sequence[str], room: Room, before: dict, places: Sequence[Path]):
    """Assert that a command that ended in a room has kept the promise, and tidy up after it."""
    after = room.snapshot()
    changed = [path for path in after if after[path] != before.get(path)]
    gone = [path for path in before if path not in after]
    allowed = [os.path.normpath(room.work / place) for place in places]
    stray = [path for path in changed + gone if not _inside(path, allowed)]
    for path in changed:
        if path not in before and os.path.lexists(path):
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    wrong = broken_promise(ended)
    assert wrong is None, f"{wrong}\n{list(argv)}\n{ended.err}"
    assert not stray, f"wrote to {stray}\n{list(argv)}\n{ended.err}"


def _inside(path: str, places: list[str]) -> bool:
    """Tell whether a path is one of the places, in one of them, or a folder that leads to one."""
    return any(
        path == place or path.startswith(place + os.sep) or place.startswith(path + os.sep)
        for place in places
    )
