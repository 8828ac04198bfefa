"""What a test does within each step of training."""

from collections.abc import Callable

from ancor.methods.base import Batch
from ancor.training import trainer


def at_each_step(monkeypatch, act: Callable[[int, Batch], Batch | None]) -> None:
    """Call a function with the number and batch of each step, which takes what it returns."""
    real = trainer.micro_batches

    def parts(batch: Batch, size: int, count: int, seed: int, step: int) -> object:
        return real(act(step, batch) or batch, size, count, seed, step)

    monkeypatch.setattr(trainer, "micro_batches", parts)
