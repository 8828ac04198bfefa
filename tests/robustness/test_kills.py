"""kill -9 at random moments: every resume finds a whole state, at most one interval old."""

import os
import random
import re
import signal
import socket
import time

import pytest

from ancor.checkpoints import checkpoint
from ancor.cli.train import main
from tests.robustness.runs import BASE, content, start, wait_for
from tests.robustness.sizes import SEED, TORTURE

SAVE_SECONDS = 0.5
# What a save itself may take on a busy machine, in which the interval goes on.
SLACK_SECONDS = 1.5


def flags(processes: int) -> list[str]:
    """Save every half second, print (and so tell how far it is) at every step; never end."""
    found = ["--save-minutes", str(SAVE_SECONDS / 60), "-p", "1", "--epochs", "100000"]
    found += ["-s", "1000000", "--val-episodes", "0"]
    if processes > 1:
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        found += ["--multiprocessing-distributed", "--nproc", str(processes)]
        found += ["--dist-url", f"tcp://localhost:{port}"]
    return found


def steps(folder) -> list[tuple[float, int]]:
    """Read (time of day, step) of each step print from log.txt-like records."""
    text = (folder / "metrics.jsonl").read_text()
    return [int(n) for n in re.findall(r'"kind": "step", "step": (\d+)', text)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "kills"), [(1, 60 if TORTURE else 2), (2, 40 if TORTURE else 1)]
)
def test_a_killed_run_loses_at_most_one_interval(processes, kills, tmp_path):
    rng = random.Random(SEED if TORTURE else 1)
    folder, lost_at_most = tmp_path / "run", 0
    for number in range(kills):
        before = len(steps(folder)) if number else 0
        victim = start(folder, *flags(processes))
        wait_for(lambda b=before: folder.exists() and _steps_or_none(folder) > b, victim)
        time.sleep(rng.uniform(0, 4 * SAVE_SECONDS))
        os.killpg(victim.pid, signal.SIGKILL)
        victim.communicate()
        done = steps(folder)
        found = checkpoint.newest(folder)
        if found is None:  # killed before the first interval had passed
            assert len(done) - before < 1000
            continue
        path, state = found
        assert path.name == checkpoint.LAST  # never a broken one
        lost = done[-1] - state["progress"]["step"]
        lost_at_most = max(lost_at_most, lost)
        assert lost >= 0
        # Steps within one interval, at the rate of this part of the run.
        assert lost <= _steps_in(folder, SAVE_SECONDS + SLACK_SECONDS), number
    last = ["--max-steps", str(done[-1] + 5), "-p", "1", "--output-dir", str(folder)]
    assert main([*BASE, *flags(processes)[:2], *last]) == 0
    assert content(folder)["progress"]["step"] == done[-1] + 5
    print(f"{kills} kills, {processes} processes: at most {lost_at_most} steps lost, seed {SEED}")


def _steps_or_none(folder) -> int:
    return len(steps(folder)) if (folder / "metrics.jsonl").exists() else 0


def _steps_in(folder, seconds: float) -> int:
    """Estimate generously how many steps so many seconds hold, from the prints' images/s."""
    text = (folder / "metrics.jsonl").read_text()
    rates = sorted(float(r) for r in re.findall(r'"images_per_s": ([\d.]+)', text))
    return int(rates[-1] / 64 * seconds) + 2
