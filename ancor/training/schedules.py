"""Learning rates by epoch (the paper's code), or by step."""

import math


def step_rate(lr: float, epoch: int, milestones: tuple[int, ...], gamma: float) -> float:
    """lr * gamma ** (milestones at or before this epoch, counted from 0)."""
    return lr * gamma ** sum(epoch >= milestone for milestone in milestones)


def cosine_rate(lr: float, epoch: int, epochs: int, num_cycles: int) -> float:
    """Cosine with restarts: lr * (1 + cos(pi * (epoch mod L) / L)) / 2 with L = epochs // cycles.

    With fewer epochs than cycles L is 1: the rate stays `lr`. Steps may be counted for epochs.
    """
    length = max(1, epochs // num_cycles)
    return lr * (1 + math.cos(math.pi * (epoch % length) / length)) / 2


def warmup_factor(step: int, steps: int) -> float:
    """Rise in a line from 0 at step 0 to 1 at step `steps` (Goyal et al., arXiv 1706.02677)."""
    return step / steps if step < steps else 1.0
