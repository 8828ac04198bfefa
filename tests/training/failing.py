"""What a process of a group does to die; alone here, as each process imports what it runs."""

import os

import torch

from ancor.errors import InputError
from ancor.runtime import distributed


def fail(how: str) -> None:
    """Have the second of two processes die while the first waits for it."""
    if distributed.rank() == 1:
        if how == "killed":
            os.kill(os.getpid(), 9)
        raise {
            "input": InputError("--lr 9: too much"),
            "other": KeyError("lost"),
            "lines": RuntimeError("what was wrong\nand advice on it"),
        }[how]
    torch.distributed.barrier()
