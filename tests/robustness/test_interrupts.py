"""SIGTERM, SIGINT and SIGUSR1 between any two steps, and two runs in one folder."""

import os
import random
import signal
import time

import pytest

from ancor.cli.train import main
from ancor.methods.base import Batch
from ancor.training.run_folder import RunSaver
from tests.refusals import one_line, refused
from tests.robustness.runs import BASE, content, same_weights, start, wait_for
from tests.robustness.sizes import SEED, TORTURE
from tests.training.steps import at_each_step

STEPS = 60  # of 16 an epoch


def signal_at(monkeypatch, steps: set[int], number: signal.Signals) -> None:
    """Send this process a signal during some steps of every run."""

    def act(step: int, _: Batch) -> None:
        if step in steps:
            steps.discard(step)
            os.kill(os.getpid(), number)

    at_each_step(monkeypatch, act)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main([*BASE, "--max-steps", str(STEPS), "--output-dir", str(folder)]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("run", range(30 if TORTURE else 2))
def test_interrupted_runs_end_in_the_same_weights(run, undisturbed, tmp_path, monkeypatch, capsys):
    rng = random.Random(SEED + run if TORTURE else run)
    moments = set(rng.sample(range(STEPS), rng.randint(1, 3)))
    number = rng.choice([signal.SIGTERM, signal.SIGINT])
    folder = tmp_path / "run"
    command = [*BASE, "--max-steps", str(STEPS), "--output-dir", str(folder)]
    for moment in sorted(moments):
        with monkeypatch.context() as patched:
            signal_at(patched, {moment}, number)
            workers = ["-j", str(rng.randint(0, 1))]
            assert main([*command, *workers]) == 128 + number
        one_line(capsys.readouterr().err, number.name)
        assert content(folder)["progress"]["step"] == moment + 1
    assert main(command) == 0
    assert same_weights(folder, undisturbed)
    assert content(folder)["best_accs"] == content(undisturbed)["best_accs"]


def test_a_signal_to_save_saves_and_goes_on(tmp_path, monkeypatch):
    seen = []
    real = RunSaver.__call__

    def save(self, trainer, *what):
        seen.append(trainer.progress.step)
        real(self, trainer, *what)

    monkeypatch.setattr(RunSaver, "__call__", save)
    signal_at(monkeypatch, {4}, signal.SIGUSR1)
    folder = tmp_path / "run"
    assert main([*BASE, "--max-steps", "8", "--output-dir", str(folder)]) == 0
    assert seen == [5, 8]
    assert content(folder)["progress"]["step"] == 8


@pytest.mark.slow
def test_two_signals_end_a_run_at_once_and_one_line_each(tmp_path):
    folder = tmp_path / "run"
    running = start(folder, "--save-minutes", "0.01", "-p", "1", "--epochs", "500")
    wait_for((folder / "last.pth.tar").exists, running)
    running.send_signal(signal.SIGSTOP)  # so that both arrive before a step ends
    running.send_signal(signal.SIGTERM)
    running.send_signal(signal.SIGCONT)
    said = running.communicate(timeout=60)[0]
    assert running.returncode == 143, said
    one_line(said, "SIGTERM", "--resume auto")


@pytest.mark.slow
def test_two_processes_stop_at_the_same_step(tmp_path):
    folder = tmp_path / "run"
    launched = ["--multiprocessing-distributed", "--nproc", "2"]
    launched += ["--dist-url", "tcp://localhost:29471", "-p", "3", "--save-minutes", "0.01"]
    running = start(folder, *launched, "--epochs", "500")
    wait_for((folder / "last.pth.tar").exists, running)
    running.send_signal(signal.SIGTERM)
    said = running.communicate(timeout=60)[0]
    assert running.returncode == 143, said
    step = content(folder)["progress"]["step"]
    assert step % 16 % 3 == 0  # a print
    # E25: what the first process says reaches the terminal, the command to go on among it.
    one_line(said, f"step {step}", "--resume auto", " ".join(launched[:5]))


def test_a_second_run_in_a_folder_is_refused_while_the_first_lives(tmp_path, capsys):
    folder = tmp_path / "run"
    command = [*BASE, "--epochs", "500", "--output-dir", str(folder)]
    first = start(folder, *command, "--save-minutes", "0.01", "-j", "1")
    wait_for((folder / "last.pth.tar").exists, first)
    for flags in (command, [*command, "--overwrite"]):
        refused(main, [*flags, "--max-steps", "1"], capsys, repr(str(folder)))
    first.kill()
    first.wait()
    started = time.monotonic()
    steps = str(content(folder)["progress"]["step"] + 2)
    assert main([*command, "--max-steps", steps]) == 0
    assert time.monotonic() - started < 60
