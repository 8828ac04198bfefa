"""A small run that many tests look at."""

import pytest
import torch

from ancor.cli.train import main

# Networks here are so small that threads would mostly wait for one another.
torch.set_num_threads(1)

QUICK = ["--dataset", "digits", "--mode", "coarse", "-b", "64", "--val-episodes", "4", "--quiet"]
QUICK += ["--queue-k", "32", "--precision", "fp32"]


@pytest.fixture(scope="session")
def quick_run(tmp_path_factory):
    """The folder of a run of two epochs on digits."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    command = [*QUICK, "--epochs", "2", "-s", "1", "-p", "5", "--output-dir", str(folder)]
    assert main(command) == 0
    return folder
