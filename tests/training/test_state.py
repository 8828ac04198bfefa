"""D: the loss scale that a checkpoint tells of is taken only where it is one."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from ancor.checkpoints import checkpoint
from ancor.cli.train import main
from ancor.methods.ancor import Ancor
from ancor.methods.config import AncorConfig
from ancor.models.config import EncoderConfig
from ancor.training.config import TrainConfig
from ancor.training.state import restore, trainer_state
from ancor.training.trainer import Trainer
from tests.conftest import SMALL
from tests.refusals import refused, refuses

ODD = [math.nan, math.inf, 0.0, -1.0, 1e-60, 10**60, True, None, "65536", [1], torch.tensor(2.0)]


def restored(**told: object) -> dict:
    """Return the state of the scaler of a trainer that took a file's state."""
    method = Ancor(EncoderConfig("conv4", "seq", dim=4, num_classes=3), AncorConfig(queue_length=4))
    batches = SimpleNamespace(batch_size=4, device=torch.device("cpu"))
    made = Trainer(method, batches, TrainConfig(), None, None, None)
    made.scaler = torch.GradScaler("cpu")
    content = {**trainer_state(made), "epoch": 0, "best_accs": [0.0]}
    content["progress"]["scaler"] = told
    restore(made, content)
    return made.scaler.state_dict()


def test_a_scale_and_its_steps_come_back_and_nothing_else():
    told = {"scale": 2.0**14, "_growth_tracker": 7}
    found = restored(**told, growth_factor=1e30, growth_interval=1, backoff_factor=-1.0)
    assert found == {**torch.GradScaler("cpu").state_dict(), **told}


@pytest.mark.parametrize("scale", ODD, ids=repr)
def test_an_odd_scale_is_refused(scale):
    with refuses("loss scale", repr(scale), kind=ValueError):
        restored(scale=scale, _growth_tracker=0)


@pytest.mark.parametrize("steps", [-1, 10**9, 2.5, True, None, "1"], ids=repr)
def test_an_odd_count_is_refused(steps):
    with refuses("loss scale", f"{steps!r} steps", kind=ValueError):
        restored(scale=1.0, _growth_tracker=steps)


def test_a_resumed_run_says_so_in_a_line(tmp_path, capsys, monkeypatch):
    enabled = partial(torch.GradScaler, "cpu", enabled=True)  # as of fp16, which needs a GPU
    monkeypatch.setattr("torch.GradScaler", lambda *_, **__: enabled())
    run = [*SMALL, "-a", "conv4", "--output-dir", str(tmp_path)]
    assert main([*run, "--max-steps", "2"]) == 0
    path = tmp_path / "last.pth.tar"
    content = checkpoint.read(path)
    assert content["progress"]["scaler"]["_growth_tracker"] == 2
    going_on = [*run, "--max-steps", "3", "--resume", str(path)]
    content["progress"]["scaler"]["scale"] = math.inf
    checkpoint.save(content, path)
    refused(main, going_on, capsys, repr(str(path)), "loss scale", "inf")
    content["progress"]["scaler"]["scale"] = 2.0**10
    checkpoint.save(content, path)
    assert main(going_on) == 0
    assert checkpoint.read(path)["progress"]["scaler"]["scale"] == 2.0**10
