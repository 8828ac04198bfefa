"""Real pictures that are no part of the project: tests of them are passed over where they lack.

They lie in the folder that ANCOR_SHARED names, or in `shared` beside the project.
"""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("ANCOR_SHARED", Path(__file__).parents[2] / "shared"))


def shared(name: str) -> Path:
    """Return the path of a file or folder of the shared data."""
    return SHARED / "data" / name


def needs_shared(name: str) -> pytest.MarkDecorator:
    """Pass a test over, with a reason, where a folder of the shared data lacks."""
    return pytest.mark.skipif(
        not shared(name).exists(),
        reason=f"needs data/{name} in the folder of shared data (ANCOR_SHARED)",
    )
