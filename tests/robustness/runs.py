"""Runs of train.py that are hurt, and what is left of them."""

import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
NATIVE = ["--dataset", "digits", "--mode", "coarse", "-b", "64", "--quiet", "--queue-k", "32"]
NATIVE += ["--precision", "fp32", "--resume", "auto", "--val-episodes", "2"]
BASE = [*NATIVE, "--image-size", "16"]  # a quarter of the pixels


def start(folder: Path, *flags: str) -> subprocess.Popen:
    """Start train.py in a process group of its own."""
    command = [sys.executable, str(ROOT / "train.py"), *BASE, "--output-dir", str(folder), *flags]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def content(folder: Path) -> dict:
    return torch.load(folder / "last.pth.tar", weights_only=True)


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = content(one)["state_dict"], content(other)["state_dict"]
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def wait_for(condition, process: subprocess.Popen, seconds: float = 120) -> None:
    """Wait until something holds; AssertionError if the process ends or time runs out before."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)
