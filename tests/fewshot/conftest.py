"""What several files of this folder start from."""

import numpy as np
import pytest

import ancor
from ancor.data.config import DataConfig


@pytest.fixture(scope="module")
def encoder(quick_run):
    """The encoder of a short run on digits, on the CPU."""
    return ancor.load_encoder(quick_run / "model_best.pth.tar", device="cpu")


@pytest.fixture(scope="module")
def queries():
    """The first test images of digits."""
    return list(DataConfig("digits").load("test").subset(np.arange(60)).images)
