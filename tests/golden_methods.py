"""The golden numbers of other methods: tests/golden/methods/README.md says what they are."""

import functools
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.golden import fill
from tests.golden_files import assert_agrees

FOLDER = Path(os.environ.get("ANCOR_GOLDEN_METHODS_DIR", Path(__file__).parent / "golden/methods"))
TOLERANCE = 1e-9


@functools.cache
def arrays(method: str) -> dict[str, np.ndarray]:
    """Read all arrays of a method's file."""
    with np.load(FOLDER / f"{method}.npz") as file:
        return dict(file)


def tensor(method: str, name: str) -> Tensor:
    """Return a copy of one of its arrays as a tensor."""
    return torch.from_numpy(np.array(arrays(method)[name]))


def drawn(method: str, name: str, shape: tuple[int, ...]) -> Tensor:
    """Return an input that both sides draw by its name, in fp64."""
    seed = int(arrays(method)["seed"])
    return torch.from_numpy(fill.array(name, shape, seed)).double()


def fill_(method: str, state: dict[str, Tensor]) -> None:
    """Overwrite tensors by what both sides draw by their names."""
    fill.fill_(state, int(arrays(method)["seed"]))


def agrees(ours: Tensor, method: str, name: str) -> None:
    """Assert that a tensor is the golden one, to 1e-9 of its largest magnitude."""
    assert_agrees(ours.detach(), arrays(method)[name], TOLERANCE)
