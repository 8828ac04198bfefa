"""Randomness by address (ours).

Every random draw that a result depends on is seeded by (seed, what it is for, where in the run):
the number of workers, the order of work and an interruption change nothing, and a resume needs no
saved generator.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def address_seed(seed: int, purpose: str, *address: int) -> int:
    """Return a 63-bit seed, a pure function of its arguments.

    Args:
        seed: the run's seed.
        purpose: what is drawn, e.g. "view" or "shuffle".
        address: integers that tell this draw from the others of its purpose (epoch, index, ...).
    """
    text = ":".join([str(seed), purpose, *(str(int(part)) for part in address)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, purpose: str, *address: int) -> torch.Generator:
    """Return a CPU generator seeded by address (see `address_seed`)."""
    return torch.Generator().manual_seed(address_seed(seed, purpose, *address))


@contextmanager
def seeded(seed: int, purpose: str, *address: int) -> Iterator[None]:
    """Seed torch's global CPU generator by address inside the block; restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(address_seed(seed, purpose, *address))
        yield
