"""Half an hour of training with validation and saves: nothing grows."""

import signal
import time

import numpy as np
import psutil
import pytest

from tests.robustness.runs import start, wait_for
from tests.robustness.sizes import TORTURE

MINUTES, WARM = 30, 10


def sample(process: psutil.Process) -> tuple[float, float, int, int]:
    """Return minutes, MB resident, open file descriptors, and processes."""
    megabytes = process.memory_info().rss / 2**20
    return time.monotonic() / 60, megabytes, process.num_fds(), 1 + len(process.children(True))


@pytest.mark.skipif(not TORTURE, reason="takes half an hour; make torture runs it")
def test_memory_descriptors_and_processes_stay(tmp_path):
    folder = tmp_path / "run"
    running = start(folder, "--epochs", "1000000", "-s", "1", "-j", "1")
    wait_for((folder / "last.pth.tar").exists, running)
    process, samples = psutil.Process(running.pid), []
    end = time.monotonic() + 60 * MINUTES
    while time.monotonic() < end:
        assert running.poll() is None, running.communicate()[0]
        samples.append(sample(process))
        time.sleep(5)
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) == 143
    late = np.array([row for row in samples if row[0] >= samples[0][0] + WARM])
    slope = np.polyfit(late[:, 0], late[:, 1], 1)[0]
    # Between epochs a validation opens files and workers of its own: what counts is that no level
    # rises.
    thirds = np.array_split(late[:, 2:], 3)
    print(
        f"{slope:+.3f} MB a minute over the last {MINUTES - WARM} of {MINUTES} minutes, from "
        f"{late[0, 1]:.0f} to {late[-1, 1]:.0f} MB; descriptors and processes at most "
        f"{[part.max(0).astype(int).tolist() for part in thirds]} by thirds"
    )
    assert slope < 0.2
    assert (thirds[-1].max(0) <= thirds[0].max(0)).all()
