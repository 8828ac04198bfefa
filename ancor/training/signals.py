"""What the operating system asks of a run: to stop, or to save."""

import os
import signal
import time
from collections.abc import Callable
from types import FrameType

from ancor.runtime.processes import in_main_thread

# A terminal that was closed sends SIGHUP, a reader of the output that went away SIGPIPE.
STOPPING = ("SIGTERM", "SIGINT", "SIGHUP", "SIGPIPE")
# A launcher passes on what a terminal has sent to all its processes already.
ECHO_SECONDS = 1.0


class Requests:
    """Takes signals for a run while it is entered; training looks between two steps.

    The first of `STOPPING` asks to stop after the step, a second one ends the process at once;
    SIGUSR1, where there is one, asks to save and go on. A SIGHUP that is ignored already, as nohup
    has it, stays ignored.

    Attributes:
        stop: number of the signal that asks to stop; 0: none does.
        save: whether to save.
    """

    def __init__(self) -> None:
        self.stop, self.save = 0, False
        self._since = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Requests":
        if in_main_thread():  # no other may take signals
            for name in STOPPING:
                self._take(name, self._asked_to_stop)
            self._take("SIGUSR1", self._asked_to_save)
        return self

    def _take(self, name: str, handler: Callable[[int, FrameType | None], None]) -> None:
        number = getattr(signal, name, None)  # Windows has few of them
        if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
            return
        self._before[number] = signal.signal(number, handler)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        if not self.stop:
            self.stop, self._since = number, time.monotonic()
        elif number == getattr(signal, "SIGPIPE", None):  # one for each line that nobody reads
            return
        elif time.monotonic() - self._since > ECHO_SECONDS:
            os._exit(128 + number)

    def _asked_to_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True
