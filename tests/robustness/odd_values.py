"""Tensors that are not plain, and values that no file of ours holds, by name."""

import math
from collections import OrderedDict

import numpy as np
import torch


class Other(torch.Tensor):
    """A tensor of another class."""


def recursive() -> list:
    """A list that holds itself."""
    made: list = [1]
    made.append(made)
    return made


def shared(depth: int) -> list:
    """Lists in lists, two in each, which are `depth` lists in memory."""
    made: list = [1]
    for _ in range(depth):
        made = [made, made]
    return made


def deep(depth: int) -> list:
    """A list in a list in a list."""
    made: list = []
    for _ in range(depth):
        made = [made]
    return made


def values() -> dict[str, object]:
    """Values that are no tensors."""
    return {
        "nothing": None,
        "a truth": True,
        "a number": 3,
        "minus": -1,
        "large": 2**63,
        "400 digits": 10**400,
        "a fraction": 1.5,
        "infinite": math.inf,
        "no number": math.nan,
        "a word": "x",
        "a steering word": "\x1b[2J\x1b]0;x\a\n\u202e",
        "a NUL": "a\0b",
        "a long word": "x" * 100_000,
        "no list": [],
        "a list": [1, "x"],
        "a recursive list": recursive(),
        "shared lists": shared(60),
        "a deep list": deep(500),
        "a tuple": (1, 2),
        "a set": {1, 2},
        "no table": {},
        "a table": {"x": 1},
        "a table of numbers": {1: 2, None: 3},
        "an ordered table": OrderedDict(x=1),
        "NumPy's float": np.float64(3),
        "complex": 1j,
        "a type": torch.float32,
        "a size": torch.Size([2, 3]),
        "a device": torch.device("cpu"),
    }


def tensors(shape: tuple[int, ...] = (2, 3)) -> dict[str, torch.Tensor]:
    """Tensors that are not plain, or not of the kind that is expected, of one shape."""
    plain = torch.ones(shape)
    flat = torch.ones(max(1, plain.numel()))
    return {
        "meta": torch.empty(shape, device="meta"),
        "sparse": plain.to_sparse(),
        "compressed": torch.ones(2, 3).to_sparse_csr(),
        "quantized": torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "complex": plain.to(torch.complex64),
        "conjugate": torch.conj(plain.to(torch.complex64)),
        "negative": torch.conj(torch.ones(shape, dtype=torch.complex64)).imag,
        "with a gradient": plain.clone().requires_grad_(),
        "parameter": torch.nn.Parameter(plain),
        "of another class": plain.as_subclass(Other),
        "one number": torch.ones(()).expand(shape),
        "one of a million": torch.ones(()).expand(1000, 1000),
        "one of a billion": torch.ones(()).expand(2**30),
        "nothing, many times": torch.empty(0, 2**40),
        "no dimension": torch.tensor(1.0),
        "empty": torch.empty(0),
        "truths": plain.bool(),
        "whole": plain.long(),
        "bytes": plain.to(torch.uint8),
        "half": plain.half(),
        "double": plain.double(),
        "of eight bits": plain.to(torch.float8_e4m3fn),
        "unsigned": plain.to(torch.uint16),
        "turned": plain.mT if plain.ndim > 1 else plain,
        "flat": flat,
        "infinite": plain * math.inf,
        "no number": plain * math.nan,
    }
