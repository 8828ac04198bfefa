"""What the operating system asks of a run: to stop, or to save."""

import os
import signal
import threading
import time
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT)
# A launcher passes on what a terminal has sent to all its processes already.
ECHO_SECONDS = 0.5


class Requests:
    """Takes signals for a run while it is entered; training looks between two steps.

    The first SIGTERM or SIGINT asks to stop after the step, a second one ends the process at once;
    SIGUSR1, where there is one, asks to save and go on.

    Attributes:
        stop: number of the signal that asks to stop; 0: none does.
        save: whether to save.
    """

    def __init__(self) -> None:
        self.stop, self.save = 0, False
        self._since = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Requests":
        if threading.current_thread() is threading.main_thread():  # no other may take signals
            for number in STOPPING:
                self._before[number] = signal.signal(number, self._asked_to_stop)
            if hasattr(signal, "SIGUSR1"):
                self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._asked_to_save)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        if not self.stop:
            self.stop, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > ECHO_SECONDS:
            os._exit(128 + number)

    def _asked_to_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True


def leave_signals_to_the_run(worker: int) -> None:
    """Make a loading process deaf to Ctrl-C, and end at SIGTERM: its run decides when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
