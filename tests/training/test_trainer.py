"""A step of training as a device sees it, and compiled."""

from contextlib import nullcontext

import pytest
import setuptools  # noqa: F401  (torch.compile imports it, too late once distutils is there)
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ancor.cli.train import main
from ancor.methods.ancor import Ancor
from ancor.methods.base import Batch
from ancor.methods.config import AncorConfig
from ancor.models.config import EncoderConfig
from ancor.training.config import TrainConfig
from ancor.training.metrics import Meter
from ancor.training.trainer import Trainer
from tests.conftest import QUICK

META = torch.device("meta")  # has no numbers: what asks it for some stands out


class HostCopies(TorchDispatchMode):
    """Counts operations that bring something from the device to the host, and fails them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        on_device = any(isinstance(a, torch.Tensor) and a.device == META for a in tree_leaves(args))
        try:
            result = function(*args, **(kwargs or {}))
        except (NotImplementedError, RuntimeError):  # meta tensors have nothing to give
            self.seen.append(str(function))
            raise
        if on_device and any(
            isinstance(r, torch.Tensor) and r.device != META for r in tree_leaves(result)
        ):
            self.seen.append(str(function))
        return result


class Batches:
    batch_size, device = 10, META


FORMS = {
    "ancor": ("seq", AncorConfig(queue_length=16)),
    "few images, long queue": ("seq", AncorConfig(queue_length=5000, drop_unfilled=True)),
    "all classes": (
        "seq",
        AncorConfig(queue_length=16, calculators=("cls", "cst_all_by_class"), queue_dtype="bf16"),
    ),
    "moco": (
        "none",
        AncorConfig(queue="single", queue_length=7, calculators=("cst_all",)),
    ),
    "coarse only": ("cls", AncorConfig(calculators=("cls",))),
}


@pytest.fixture
def trainer(request, monkeypatch):
    """A trainer on a device without numbers; autocast knows no such device."""
    monkeypatch.setattr(torch, "autocast", lambda *given, **more: nullcontext())
    head, config = FORMS[request.param]
    with META:
        method = Ancor(EncoderConfig("resnet12", head, True, 6, 3), config)
    method.prepare(META)
    made = Trainer(method, Batches(), TrainConfig(accumulate=2), None, None, None)
    made.fused = True  # as on a GPU, where the optimizer's kernel looks at found_inf itself
    step = made.optimizer.step

    def without_kernel() -> None:
        del made.optimizer.found_inf
        step()

    made.optimizer.step = without_kernel
    return made


@pytest.mark.parametrize("trainer", FORMS, indirect=True)
def test_a_step_asks_the_device_for_nothing(trainer):
    views = tuple(torch.empty(2, Batches.batch_size, 3, 32, 32, device=META))
    labels = torch.arange(Batches.batch_size) % 3
    meter = Meter()
    with HostCopies() as copies:
        trainer.step(Batch(views[: len(trainer.method.views)], labels, labels), meter)
    assert copies.seen == []
    with HostCopies() as copies, pytest.raises((NotImplementedError, RuntimeError)):
        meter.read()  # which has to ask: the count would see it
    assert len(copies.seen) == 1


@pytest.mark.slow
def test_compiled_training_does_the_same(tmp_path):
    from torch._dynamo.utils import counters

    states = {}
    for name, flags in (("plain", []), ("compiled", ["--compile"])):
        folder = tmp_path / name
        command = [*QUICK, *flags, "--max-steps", "3", "--lr", "1e-3"]
        assert main([*command, "--output-dir", str(folder)]) == 0
        states[name] = torch.load(folder / "last.pth.tar", weights_only=True)["state_dict"]
    assert counters["stats"]["unique_graphs"] >= 2  # query and key encoder
    for name, tensor in states["plain"].items():
        torch.testing.assert_close(states["compiled"][name], tensor, rtol=1e-3, atol=1e-3)
