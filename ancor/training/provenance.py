"""Where a run's numbers come from: settings, versions, machine, command."""

import json
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

import ancor
from ancor.checkpoints.checkpoint import FORMAT
from ancor.data import partition_table
from ancor.data.datasets import labels_csv
from ancor.runtime import devices
from ancor.safe_io.writing import write_result
from ancor.training.config import RunConfig


def write_configuration(config: RunConfig, folder: Path, device: torch.device) -> None:
    """Write config.json and command.txt, and labels.csv where a run makes its own partitions."""
    packages = ("torch", "torchvision", "numpy", "scikit-learn")
    environment = {
        "versions": {"ancor": ancor.__version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in packages},
        "git": _git_revision(),
        "host": platform.node(),
        "device": devices.describe(device),
    }
    text = json.dumps({"format": FORMAT, **config.plain(), "environment": environment}, indent=2)
    write_result(folder / "config.json", text + "\n")
    command = shlex.join(["python", *sys.argv])
    # Names of files need not be UTF-8: their bytes are written as they were given.
    write_result(folder / "command.txt", f"{command}\n".encode(errors="surrogateescape"))
    if config.data.shares:
        partition_table.write(config.data, folder / labels_csv.NAME)


def _git_revision() -> str | None:
    """Commit of the checkout that this package is in; None where there is none.

    An environment inside the checkout of something else is not part of it: it has no such file.
    """
    here = Path(__file__)
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD", f"HEAD:./{here.name}"],
            cwd=here.parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.split()[0]
