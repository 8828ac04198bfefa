"""Learning rates by epoch (the paper's code), or by step; and those of SupContrast's code."""

import math


def step_rate(lr: float, epoch: int, milestones: tuple[int, ...], gamma: float) -> float:
    """lr * gamma ** (milestones at or before this epoch, counted from 0)."""
    return lr * gamma ** sum(epoch >= milestone for milestone in milestones)


def cosine_rate(lr: float, epoch: int, epochs: int, num_cycles: int) -> float:
    """Cosine with restarts: lr * (1 + cos(pi * (epoch mod L) / L)) / 2 with L = epochs // cycles.

    With fewer epochs than cycles L is 1: the rate stays `lr`. What epochs leave over L times cycles
    begins a cycle more, which the end cuts off.
    """
    length = max(1, epochs // num_cycles)
    return lr * (1 + math.cos(math.pi * (epoch % length) / length)) / 2


def cosine_of_steps(lr: float, step: int, steps: int, num_cycles: int) -> float:
    """The same where steps are counted (ours): the cycles are all of one length, steps / cycles.

    None is cut off, whose first steps would be taken at the full rate when training ends.
    """
    return cosine_rate(lr, step * num_cycles % max(1, steps), steps, 1)


def warmup_factor(step: int, steps: int) -> float:
    """Rise in a line from 0 at step 0 to 1 at step `steps` (Goyal et al., arXiv 1706.02677)."""
    return step / steps if step < steps else 1.0


def supcontrast_rate(
    lr: float,
    step: int,
    batches: int,
    epochs: int,
    milestones: tuple[int, ...] | None,
    gamma: float,
    warmup: float = 0,
    start: float = 0.01,
) -> float:
    """SupContrast's rate of a step: an epoch's, or within a warm-up a line to that of its last.

    Epochs are counted from 1: epoch e has the rate of step_rate at e - 1, or of one cosine that
    comes to lr * gamma^3 in the last epoch.

    Args:
        lr: the largest.
        step: counted from 0 over all epochs.
        batches: steps of an epoch.
        epochs: how many there are.
        milestones: epochs after which the rate falls by gamma; None: the cosine.
        gamma: see there.
        warmup: epochs of the warm-up.
        start: the rate that it begins with.
    """
    if step < warmup * batches:
        last = (math.ceil(warmup) - 1) * batches
        end = supcontrast_rate(lr, last, batches, epochs, milestones, gamma)
        return start + (end - start) * step / (warmup * batches)
    epoch = step // batches
    if milestones is not None:
        return step_rate(lr, epoch, milestones, gamma)
    floor = lr * gamma**3
    return floor + (lr - floor) * (1 + math.cos(math.pi * (epoch + 1) / epochs)) / 2
