"""The only module that asks torch.distributed anything; without a process group, the answers are
those of one process.
"""

import torch.distributed as dist


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process."""
    return dist.get_rank() if _grouped() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if _grouped() else 1


def is_first() -> bool:
    """Whether this is the process that speaks and writes."""
    return rank() == 0
