"""What the doctor finds here, and that it would find what is wrong."""

import json
import math
import os
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import psutil
import pytest
import torch

from ancor.cli import doctor
from ancor.methods import losses
from ancor.runtime import devices, distributed
from ancor.training.doctor import checks, environment, run, speed
from ancor.training.doctor.report import LOOK, OK, WRONG
from ancor.training.doctor.workload import Size, build, draw, losses_of_steps, trainer_of
from tests.refusals import refused, tells

CPU = torch.device("cpu")
TINY = Size("conv4", 16, 16, 3, 8, known=60)


@pytest.fixture
def tiny(monkeypatch):
    """Every check on networks that take no time."""
    scope = run.Scope(("ancor", "supcon"), (TINY,), 2, 2)
    monkeypatch.setattr(run, "SMALL", scope)
    monkeypatch.setattr(checks, "PARITY", TINY)
    return scope


def test_the_machine_is_told_line_by_line(capsys):
    assert doctor.main([]) == 0
    shown = capsys.readouterr().out
    for name in ("packages", "devices", "cores", "memory", "caches"):
        assert tells(shown, name)
    assert tells(shown, "torch", torch.__version__.split("+")[0])
    assert tells(shown, "wrong", "0")


def test_the_checks_run_on_a_cpu_and_are_written(tmp_path, tiny, capsys):
    path = tmp_path / "doctor.json"
    assert doctor.main(["--gpu", "--device", "cpu", "--json", str(path)]) == 0
    report = json.loads(path.read_text(encoding="utf-8"))
    shown = capsys.readouterr().out
    assert {"parity", "precision", "waiting", "resume", "processes", "step memory"} <= report.keys()
    lines = [line for line in shown.splitlines() if line.startswith((OK, LOOK))]
    assert len(lines) == len(report)  # no two checks have one name
    for name, line in zip(report, lines, strict=True):
        assert f" {name} " in line
    assert report["parity"]["methods"].keys() == {"ancor", "supcon"}
    for found in report["parity"]["methods"].values():
        assert found["fp64"] == 0  # the reference is the CPU itself
        assert 0 < found["fp32"] < 1e-3
    assert report["resume"]["difference"] == 0
    assert report["step conv4"]["images_per_s"] > 0
    assert report["loader conv4"]["images_per_s"] > 0
    assert report["step memory"]["multi"] > 0


def test_a_device_that_is_not_there_is_refused(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    refused(doctor.main, ["--gpu", "--device", "cuda"], capsys, "--device", "cuda")


def test_wrong_arithmetic_is_found(tiny, monkeypatch, capsys):
    """Losses in fp32 that are a hundredth more in each second step."""
    honest, taken = losses.contrastive_loss, []

    def off(*arguments):
        term = honest(*arguments)
        taken.append(term.value.dtype)
        wrong = term.value.dtype == torch.float32 and len(taken) % 3 == 2
        return term._replace(value=term.value * 1.01) if wrong else term

    monkeypatch.setattr("ancor.methods.ancor.contrastive_loss", off)
    found = checks.parity(CPU, ["ancor", "supcon"])
    assert found.verdict == WRONG
    assert tells(found.text, "ancor")
    assert not tells(found.text, "supcon")
    monkeypatch.setattr(run, "examine", lambda *_: iter([found]))
    assert doctor.main(["--gpu", "--json", "-"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["parity"]["verdict"] == WRONG
    assert tells(captured.err, "parity")


def test_what_is_no_number_is_wrong(monkeypatch):
    monkeypatch.setattr(checks, "PARITY", TINY)
    assert checks.difference([[1.0, math.nan]], [[1.0, 1.0]]) == math.inf
    assert checks.difference([[1.0, 2.2]], [[1.0, 2.0]]) == pytest.approx(0.1)
    steps = iter([[[1.0]] * 20, [[math.inf]] * 20])
    monkeypatch.setattr(checks, "losses_under", lambda *_: next(steps))
    assert checks.precision(CPU).verdict == WRONG


def test_a_state_that_does_not_come_back_is_found(monkeypatch):
    monkeypatch.setattr(checks, "PARITY", TINY)
    assert checks.resuming(CPU).verdict == OK
    monkeypatch.setattr(checks, "restore", lambda trainer, content: None)
    assert checks.resuming(CPU).verdict == WRONG


def wrong_gather(part, count):
    return part.new_zeros(count, *part.shape[1:])


def gather_nothing(device_type):
    """Be a process whose gather answers wrongly."""
    distributed.gather = wrong_gather
    checks.collectives(device_type)


@pytest.mark.slow
def test_processes_that_answer_wrongly_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = checks.processes(CPU)
    assert (found.verdict, tells(found.text, "gloo", "2")) == (OK, True)
    assert not list(tmp_path.iterdir())  # what the processes of a launch wrote is gone with them
    monkeypatch.setattr(checks, "collectives", gather_nothing)
    found = checks.processes(CPU)
    assert found.verdict == WRONG
    assert tells(found.text, "gather")


@pytest.mark.slow
def test_two_processes_speak_where_there_is_one_gpu(monkeypatch):
    monkeypatch.setattr(checks, "count_gpus", lambda: 1)
    found = checks.processes(torch.device("cuda"))
    assert found.verdict == LOOK
    assert tells(found.text, "2", "gloo", "one GPU")


def test_a_slow_step_and_a_slow_loader_are_to_be_looked_at(monkeypatch):
    times = iter([3.0, 1.0])
    monkeypatch.setattr(speed, "seconds_of", lambda *_: next(times))
    found, rate = speed.step(CPU, TINY, 1)
    assert (found.verdict, rate) == (LOOK, pytest.approx(16 / 3))
    assert speed.loader(CPU, TINY, 1, needed=1e9).verdict == LOOK
    assert speed.loader(CPU, TINY, 1, needed=1.0).verdict == OK


def test_the_same_images_and_weights_are_drawn_again():
    losses_twice = [
        losses_of_steps(trainer_of(build("ancor", TINY, CPU), TINY, CPU), TINY, 2) for _ in "ab"
    ]
    assert losses_twice[0] == losses_twice[1]
    method = build("ancor", TINY, CPU, torch.float64)
    batch = draw(method, TINY, CPU, 3)
    assert batch.views[0].dtype == torch.float64
    assert len(set(batch.indices.tolist())) == TINY.images


def test_a_machine_that_others_use_is_told():
    """A process that keeps a core busy is seen; this one's own work is not."""
    busy = "while True: pass"
    others = [subprocess.Popen([sys.executable, "-c", busy]) for _ in range(devices.usable_cpus())]
    try:
        found = environment.cores()
    finally:
        for process in others:
            process.kill()
            process.wait()
    assert found.verdict == LOOK
    assert tells(found.text, "OMP_NUM_THREADS")
    assert found.figures["busy_elsewhere"] > environment.BUSY * devices.usable_cpus()


def test_too_many_threads_and_too_little_shared_memory_are_told(monkeypatch):
    monkeypatch.setattr(environment, "busy_elsewhere", lambda: 0.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 10 * os.cpu_count())
    assert tells(environment.cores().text, "OMP_NUM_THREADS")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert environment.cores().verdict == OK
    small = SimpleNamespace(free=2**26)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: small)
    if environment.SHARED.is_dir():
        assert (environment.memory().verdict, psutil.virtual_memory().total > 0) == (LOOK, True)
