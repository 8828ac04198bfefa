"""The golden numbers: where they lie, and how closely ours must agree with them."""

import functools
import importlib.util
import json
import os
from pathlib import Path

import numpy as np

FOLDER = Path(os.environ.get("ANCOR_GOLDEN_DIR", Path(__file__).parent / "golden"))
SEED = json.loads((FOLDER / "meta.json").read_text())["seed"]

_spec = importlib.util.spec_from_file_location("golden_fill", FOLDER / "fill.py")
_fill = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fill)
array = functools.partial(_fill.array, seed=SEED)
fill_ = functools.partial(_fill.fill_, seed=SEED)


@functools.cache
def arrays(name: str) -> dict[str, np.ndarray]:
    """Read all arrays of one file."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def assert_agrees(ours, golden, tolerance: float) -> None:
    """Largest absolute difference, over the golden array's largest magnitude."""
    ours, golden = np.asarray(ours, dtype=np.float64), np.asarray(golden, dtype=np.float64)
    assert ours.shape == golden.shape
    error = np.abs(ours - golden).max() / max(np.abs(golden).max(), 1e-300)
    assert error <= tolerance, f"differs by {error:.2e} of the largest magnitude"
