"""A small run that many tests look at."""

import fcntl
import logging
import os
import subprocess
import sys

import pytest

# Networks here are so small that threads would mostly wait for one another, and for other tests';
# read by torch and NumPy when they are imported, here and in what tests start.
os.environ["OMP_NUM_THREADS"] = "1"
# Hundreds of processes of tests read what the first has compiled, also where that is turned off.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
if not os.environ.get("ANCOR_TEST_GPU"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks: figures here are of the CPU


from ancor.cli.train import main
from tests.shared import shared

# No test sends anything, whoever is logged in where tests run.
os.environ |= {"WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}

QUICK = ["--dataset", "digits", "--mode", "coarse", "-b", "64", "--val-episodes", "4", "--quiet"]
QUICK += ["--queue-k", "32", "--precision", "fp32"]
# A training of images of a quarter of the pixels takes two fifths of the time.
SMALL = [*QUICK, "--image-size", "16"]


@pytest.fixture(autouse=True)
def console_of_the_test():
    """Leaves no console of a command to the next test, as pytest closes its stream."""
    yield
    logging.getLogger("ancor").handlers.clear()


@pytest.fixture(scope="session")
def quick_run(tmp_path_factory):
    """The folder of a run of two epochs on digits."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    command = [*QUICK, "--epochs", "2", "-s", "1", "-p", "5", "--output-dir", str(folder)]
    assert main(command) == 0
    return folder


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory):
    """A folder of this run of the tests that all of its processes see."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def real_cifar100(common_folder):
    """A folder with the whole of CIFAR-100 in its official layout, where its images are there."""
    unpack = shared("cifar100/unpack_cifar100.py")
    if not unpack.exists():
        pytest.skip("needs data/cifar100 in the folder of shared data (ANCOR_SHARED)")
    root, part = common_folder / "real-cifar100", common_folder / "real-cifar100.part"
    with (common_folder / "real-cifar100.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            subprocess.run([sys.executable, unpack, part], check=True, capture_output=True)
            part.rename(root)
    return root
