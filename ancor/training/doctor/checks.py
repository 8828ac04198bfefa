"""Whether steps are right on a device, and do not wait for it."""

import io
import math
import os
import socket
import warnings
from collections.abc import Sequence

import numpy as np
import torch

from ancor.errors import InputError, RunError
from ancor.runtime import distributed
from ancor.runtime.devices import count_gpus
from ancor.runtime.launch import Group, launch
from ancor.training.doctor.report import LOOK, OK, WRONG, Finding
from ancor.training.doctor.workload import Size, build, draw, losses_of_steps, name_of, trainer_of
from ancor.training.metrics import Meter
from ancor.training.state import restore, trainer_state

CPU = torch.device("cpu")
PARITY = Size("conv4", 32, 32, 5, 64)
# Largest relative difference of a loss over three steps that rounding explains.
ALLOWED = {torch.float64: 1e-7, torch.float32: 1e-3}
AUTOCAST = 0.05  # of a loss over twenty steps, that reduced precision explains


def difference(ours: list[list[float]], theirs: list[list[float]]) -> float:
    """Return the largest relative difference of losses; infinity where one is not finite."""
    ours, theirs = np.ravel(ours), np.ravel(theirs)
    if not np.isfinite([ours, theirs]).all():
        return math.inf
    return float((np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1e-3)).max())


def parity(device: torch.device, methods: Sequence[str]) -> Finding:
    """Hold three steps of each method against those of the CPU in fp64.

    Our arithmetic on a CPU is held to the authors' numbers by the tests.
    """
    dtypes = [torch.float32] if device.type == "mps" else [torch.float64, torch.float32]
    worst = dict.fromkeys(dtypes, 0.0)
    by_method, beyond = {}, []
    for name in methods:
        expected = _three_losses(name, CPU, torch.float64)
        found = {
            dtype: difference(_three_losses(name, device, dtype), expected) for dtype in dtypes
        }
        worst = {dtype: max(worst[dtype], found[dtype]) for dtype in dtypes}
        by_method[name] = {name_of(dtype): found[dtype] for dtype in dtypes}
        if any(found[dtype] > ALLOWED[dtype] for dtype in dtypes):
            beyond.append(name)
    shown = ", ".join(f"{name_of(dtype)} {worst[dtype]:.1e}" for dtype in dtypes)
    text = f"{len(by_method)} methods, three steps, against the CPU in fp64: {shown}"
    if beyond:
        allowed = ", ".join(f"{name_of(dtype)} {ALLOWED[dtype]:.0e}" for dtype in dtypes)
        text += f"; beyond rounding ({allowed}): {', '.join(beyond)}"
    return Finding("parity", WRONG if beyond else OK, text, {"methods": by_method})


def precision(device: torch.device) -> Finding:
    """Hold twenty steps of ANCOR under autocast against fp32."""
    names = ["bf16", "fp16"] if device.type == "cuda" else ["bf16"]
    expected = losses_under("ancor", device, 20, "fp32")
    found = {name: difference(losses_under("ancor", device, 20, name), expected) for name in names}
    worst = max(found.values())
    shown = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
    verdict = OK if worst <= AUTOCAST else LOOK if math.isfinite(worst) else WRONG
    return Finding("precision", verdict, f"20 steps of ancor against fp32: {shown}", found)


def waiting(device: torch.device, methods: Sequence[str]) -> Finding:
    """Find calls inside a step for which the host waits for the device."""
    if device.type != "cuda":
        return Finding("waiting", OK, f"nothing is waited for on {device.type}")
    found = {}
    for name in methods:
        trainer = trainer_of(build(name, PARITY, device), PARITY, device)
        batches = [draw(trainer.method, PARITY, device, number) for number in range(4)]
        meter = Meter()
        for batch in batches[:2]:
            trainer.step(batch, meter)
        torch.cuda.synchronize()
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it may miss some
            torch.cuda.set_sync_debug_mode("error")
        try:
            for batch in batches[2:]:
                trainer.step(batch, meter)
        except RuntimeError as error:
            found[name] = str(error).splitlines()[0]
        finally:
            torch.cuda.set_sync_debug_mode(before)
    if not found:
        return Finding("waiting", OK, f"no call in a step of {len(methods)} methods waits")
    text = f"a step of {', '.join(found)} waits for the device"
    return Finding("waiting", LOOK, text, {"methods": found})


def resuming(device: torch.device) -> Finding:
    """Go on from a state written after two steps of four, and compare the losses."""
    through = trainer_of(build("ancor", PARITY, device), PARITY, device)
    losses_of_steps(through, PARITY, 2)
    file = io.BytesIO()
    content = {**trainer_state(through), "epoch": 0, "best_accs": []}
    torch.save(content, file)
    expected = losses_of_steps(through, PARITY, 2, first=2)
    file.seek(0)
    again = trainer_of(build("ancor", PARITY, device), PARITY, device)
    restore(again, torch.load(file, map_location="cpu", weights_only=True))
    found = difference(losses_of_steps(again, PARITY, 2, first=2), expected)
    verdict = OK if found <= ALLOWED[torch.float32] else WRONG
    text = f"two steps and two more from a file differ from four by {found:.1e}"
    return Finding("resume", verdict, text, {"difference": found})


def processes(device: torch.device) -> Finding:
    """Let two processes, on two GPUs where there are as many, exchange numbers of known answers."""
    gpus = count_gpus() if device.type == "cuda" else 0
    backend = "nccl" if gpus > 1 else "gloo"
    place = "cpu" if gpus == 1 else device.type
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    group = Group(2, url=f"tcp://localhost:{port}", backend=backend, minutes=2)
    try:
        launch(collectives, group, place)
    except (InputError, RunError) as error:
        return Finding("processes", WRONG, f"2 processes with {backend}: {error}")
    text = f"2 processes with {backend} gather, exchange and average as one"
    if gpus == 1:
        text += " on the CPU; there is one GPU: nothing was sent between two"
        return Finding("processes", LOOK, text)
    return Finding("processes", OK, text)


def _three_losses(name: str, device: torch.device, dtype: torch.dtype) -> list[list[float]]:
    trainer = trainer_of(build(name, PARITY, device, dtype), PARITY, device)
    with _ExactProducts():
        return losses_of_steps(trainer, PARITY, 3)


def losses_under(name: str, device: torch.device, steps: int, precision: str) -> list[list[float]]:
    """Return the losses of a method's first steps in a precision."""
    trainer = trainer_of(build(name, PARITY, device), PARITY, device, precision)
    return losses_of_steps(trainer, PARITY, steps)


class _ExactProducts:
    """Products of fp32 are of fp32, not of TF32, in the block."""

    def __enter__(self) -> None:
        self.before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        self._set(False, False)

    def __exit__(self, *_: object) -> None:
        self._set(*self.before)

    def _set(self, convolutions: bool, products: bool) -> None:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.backends.cuda.matmul.allow_tf32 = products


def collectives(device_type: str) -> None:
    """Be one of the processes: raise a RuntimeError where an answer is not the one of one."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local) if device_type == "cuda" else torch.device(device_type)
    count = 7  # which no two processes share evenly
    whole = torch.arange(3.0 * count, device=device).view(count, 3)
    own = whole[distributed.rank_slice(count)]
    order = torch.arange(count).flip(0)
    expected = whole.flip(0)[distributed.rank_slice(count)]
    mean = torch.tensor(float(distributed.rank()), device=device)
    half = (distributed.world_size() - 1) / 2
    for name, good in (
        ("gather", distributed.gather(own, count).equal(whole)),
        ("exchange", distributed.exchange(own, order).equal(expected)),
        ("average", float(distributed.average(mean)) == half),
    ):
        if not good:
            raise RuntimeError(f"{name} gave other numbers than one process has")
