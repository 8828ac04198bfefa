"""How far a run is, and how long the rest takes."""

import time
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        epoch: epochs finished.
        position: batches done of the epoch that has begun.
        step: steps done, those included that were undone.
        undone: steps that were undone because something in them was not finite.
        best_accs: the rising 5-way validation accuracies (0-100), from 0.
        best_epochs: the epoch of each, counted from 1; None: not known.
        seconds: time that earlier starts trained for, up to their last save; None: not known.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    undone: int = 0
    best_accs: list[float] = field(default_factory=lambda: [0.0])
    best_epochs: list[int | None] = field(default_factory=lambda: [None])
    seconds: float | None = 0.0

    def improves(self, accuracy: float, epoch: int | None = None) -> bool:
        """Note a validation accuracy (0-100) and return whether it is the best so far."""
        if accuracy <= self.best_accs[-1]:
            return False
        self.best_accs.append(accuracy)
        self.best_epochs.append(epoch)
        return True

    def forget_best(self) -> None:
        """Forget the best accuracy, which is in no file: a later one may be as good."""
        if len(self.best_accs) > 1:
            self.best_accs.pop(), self.best_epochs.pop()

    def ends(self, batches: int) -> bool:
        """Return whether all batches of the epoch are done: what follows them is still due.

        So a run stands that was stopped in the last step of an epoch.
        """
        return self.position == batches

    def steps_left(self, epochs: int, per_epoch: int, max_steps: int | None) -> int:
        """Return the steps to the end of `epochs` epochs, or to `max_steps`; 0 or less: none."""
        left = (epochs - self.epoch) * per_epoch - self.position
        return left if max_steps is None else min(left, max_steps - self.step)


class Pace:
    """The time that steps take, validations and saves included, since it was made.

    Args:
        step: steps done before.
    """

    def __init__(self, step: int) -> None:
        self.first, self._began = step, time.monotonic()

    def seconds(self) -> float:
        """Return the time since it was made."""
        return time.monotonic() - self._began

    def left(self, step: int, steps: int) -> str:
        """Return the time, `0:12:34`, that `steps` more take after step `step`."""
        return str(timedelta(seconds=round(self.seconds() / (step - self.first) * steps)))
