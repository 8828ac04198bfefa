"""What a run says: console, log.txt, metrics.jsonl and trackers (TensorBoard and others)."""

import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ancor.runtime.distributed import is_main_process
from ancor.runtime.settings import with_flags
from ancor.runtime.text import LONGEST_LINE, printable, shortened
from ancor.runtime.trackers import TensorBoard, Tracker

if TYPE_CHECKING:
    from tqdm import tqdm

log = logging.getLogger("ancor")


class _Formatter(logging.Formatter):
    """Shows flags in place of settings, and lets no name of a class or file steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as text, escaping what is not printable, line by line."""
        text = with_flags(super().format(record))
        return "\n".join(printable(shortened(line, LONGEST_LINE)) for line in text.split("\n"))


class _Console(logging.StreamHandler):
    """Standard output, which is silent where nobody reads it: how a command ends tells of that."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing of a closed pipe, a closed terminal or a full disk."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def configure_console(quiet: bool = False, stream: TextIO | None = None) -> None:
    """Send the package's messages to a stream, by default stdout, in the first process only.

    Only warnings if quiet.
    """
    handler = _Console(stream or sys.stdout)
    handler.setFormatter(_Formatter("%(message)s"))
    handler.setLevel(logging.WARNING if quiet else logging.INFO)
    handler.addFilter(lambda record: is_main_process())
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def shows_bars(quiet: bool) -> bool:
    """Whether there is a terminal to draw bars on."""
    return not quiet and is_main_process() and sys.stderr.isatty()


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def progress(items: Iterable, quiet: bool = False, **bar: Any) -> "tqdm":
    """Wrap in a tqdm bar on stderr where that is a terminal; elsewhere, or if quiet, in none."""
    return tqdm(items, disable=not shows_bars(quiet), leave=False, **bar)


class _LogFile(logging.FileHandler):
    """A log file that is silent where it cannot be written: a full disk is told of elsewhere."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing."""


class RunLog:
    """Writes a run's records into its folder, appending to what an earlier part left there.

    Args:
        folder: the run's output directory.
        metrics: its metrics.jsonl, open for appending.
        first_step: steps done before; TensorBoard drops what a cut-off part wrote after them.
        bars: whether progress bars run beside, around which messages have to be led.
        tracker: what shows the figures beside TensorBoard.
    """

    def __init__(
        self,
        folder: Path,
        metrics: TextIO,
        first_step: int = 0,
        bars: bool = False,
        tracker: Tracker | None = None,
    ) -> None:
        self._stack, self._failed = ExitStack(), False
        if tracker is not None:
            self._stack.callback(self._end, tracker)
        handler = _LogFile(folder / "log.txt", encoding="utf-8")
        handler.setFormatter(_Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        log.addHandler(handler)
        self._stack.callback(handler.close)
        self._stack.callback(log.removeHandler, handler)
        self._metrics = metrics
        if metrics.tell():  # an earlier part may have been cut off in the middle of a line
            metrics.write("\n" * (not _ends_a_line(folder / "metrics.jsonl")))
        board = TensorBoard(folder, first_step)
        self._stack.callback(self._end, board)
        self._trackers = [board, tracker] if tracker else [board]
        if bars:
            self._stack.enter_context(logging_redirect_tqdm([log]))

    def record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl, and show its numbers.

        Args:
            kind: `step`, `epoch` or `validation`; groups the curves.
            step: optimizer steps done.
            values: figures by name; names with a slash make groups of their own.
        """
        numbers = {
            name if "/" in name else f"{kind}/{name}": value
            for name, value in values.items()
            if isinstance(value, int | float)
        }
        try:
            self._metrics.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
            for tracker in self._trackers:
                tracker.scalars(step, numbers)
            self._failed = False
        except self._failures as error:  # a full disk is no reason to stop training
            self._tell(error)

    def picture(self, name: str, image: np.ndarray, step: int = 0) -> None:
        """Show an image, (3, H, W) of uint8."""
        try:
            for tracker in self._trackers:
                tracker.picture(name, image, step)
        except self._failures as error:
            self._tell(error)

    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        return tuple(kind for tracker in self._trackers for kind in tracker.failures)

    def _end(self, tracker: Tracker) -> None:
        try:
            tracker.close()
        except tracker.failures as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        """Say once that figures cannot be written, until they can again."""
        if not self._failed:
            why = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            log.error("Could not write figures (%s); training goes on", why)
        self._failed = True

    def close(self) -> None:
        """Flush and close everything."""
        self._stack.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class NoLog(RunLog):
    """What processes other than the first are given: it writes nothing."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Write nothing."""

    def picture(self, name: str, image: np.ndarray, step: int = 0) -> None:
        """Show nothing."""
