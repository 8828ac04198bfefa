"""How far a run is."""

from dataclasses import dataclass, field


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        epoch: epochs finished.
        position: batches done of the epoch that has begun.
        step: steps done, those included that were undone.
        undone: steps that were undone because something in them was not finite.
        best_accs: the rising 5-way validation accuracies (0-100), from 0.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    undone: int = 0
    best_accs: list[float] = field(default_factory=lambda: [0.0])

    def improves(self, accuracy: float) -> bool:
        """Note a validation accuracy (0-100) and tell whether it is the best so far."""
        if accuracy <= self.best_accs[-1]:
            return False
        self.best_accs.append(accuracy)
        return True
