"""Under torchrun: two agents as two nodes, and a worker that is killed."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from ancor.cli.train import main
from tests.conftest import SMALL
from tests.refusals import tells

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend", "c10d"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def start(flags: list[str], train_flags: list[str]) -> subprocess.Popen:
    return run_apart([*TORCHRUN, *flags, str(ROOT / "train.py"), *SMALL, *train_flags])


def run_apart(command: list[str]) -> subprocess.Popen:
    """Start a command as docs/scaling.md does."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
    )


def finish(*agents: subprocess.Popen) -> str:
    said = "".join(agent.communicate(timeout=120)[0] for agent in agents)
    assert [agent.returncode for agent in agents] == [0] * len(agents), said
    return said


def state(folder: Path) -> dict:
    return torch.load(folder / "last.pth.tar", weights_only=True)


@pytest.mark.slow  # the last test here has torchrun train too
def test_two_nodes_do_what_two_processes_of_one_do(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    steps = ["--max-steps", "3", "--val-episodes", "0"]
    launched = ["--multiprocessing-distributed", "--nproc", "2"]
    launched += ["--dist-url", f"tcp://localhost:{free_port()}"]
    assert main([*SMALL, *steps, *launched, "--output-dir", str(one)]) == 0
    place = [
        "--nnodes",
        "2",
        "--nproc-per-node",
        "1",
        "--rdzv-endpoint",
        f"localhost:{free_port()}",
    ]
    # --batch-size is a node's: half as many on each of two nodes are as many in all.
    flags = [*steps, "-b", "32", "--output-dir", str(two)]
    finish(start(place, flags), start(place, flags))
    for name, tensor in state(one)["state_dict"].items():
        torch.testing.assert_close(state(two)["state_dict"][name], tensor, msg=name)


def workers_of(agent: subprocess.Popen) -> list[psutil.Process]:
    """List torchrun's direct children that train."""
    children = psutil.Process(agent.pid).children()
    return [child for child in children if "train.py" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_a_killed_worker_restarts_all_from_the_last_save(tmp_path):
    folder = tmp_path / "run"
    flags = ["--epochs", "4", "--val-episodes", "0", "--resume", "auto"]
    where = ["--nproc-per-node", "2", "--max-restarts", "2", "--rdzv-endpoint", "localhost:0"]
    agent = start(where, [*flags, "--output-dir", str(folder)])
    deadline = time.monotonic() + 100
    while not (folder / "last.pth.tar").exists():
        assert agent.poll() is None, agent.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers_of(agent)[1].kill()
    finish(agent)
    assert state(folder)["epoch"] == 4
    told = (folder / "log.txt").read_text()
    assert tells(told, "Going on", "last.pth.tar")  # torchrun may restart them twice
    undisturbed = tmp_path / "undisturbed"
    finish(start(where, [*flags, "--output-dir", str(undisturbed)]))
    for name, tensor in state(undisturbed)["state_dict"].items():
        assert torch.equal(state(folder)["state_dict"][name], tensor), name


@pytest.mark.slow
@pytest.mark.parametrize("launched", [True, False], ids=["own processes", "torchrun"])
def test_nothing_runs_on_after_a_failure(launched, tmp_path, capfd):
    flags = ["--lr", "1e30", "-p", "1", "--output-dir", str(tmp_path / "run")]
    if launched:
        flags += ["--multiprocessing-distributed", "--nproc", "2"]
        flags += ["--dist-url", f"tcp://localhost:{free_port()}"]
        assert main([*SMALL, *flags]) == 1
        said = "".join(capfd.readouterr())
        assert len([line for line in said.splitlines() if line.strip()]) == 1, said
        below = psutil.Process().children(recursive=True)
        alive = [p for p in below if "spawn_main" in str(p.cmdline())]
    else:
        started = start(["--nproc-per-node", "2", "--rdzv-endpoint", "localhost:0"], flags)
        said = started.communicate(timeout=120)[0]
        assert started.returncode == 1
        of_run = psutil.process_iter(["cmdline"])
        alive = [p for p in of_run if str(tmp_path) in str(p.info["cmdline"])]
    assert tells(said, re.compile(r"\b(nan|inf) at step \d"))
    assert alive == []
