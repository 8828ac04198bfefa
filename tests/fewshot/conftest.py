"""What several files of this folder start from."""

import pytest

import ancor


@pytest.fixture(scope="module")
def encoder(quick_run):
    """The encoder of a short run on digits, on the CPU."""
    return ancor.load_encoder(quick_run / "model_best.pth.tar", device="cpu")
