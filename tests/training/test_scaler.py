"""D: the loss scale that a checkpoint tells of is taken only where it is one."""

import math
from functools import partial

import pytest
import torch

from ancor.checkpoints import checkpoint
from ancor.cli.train import main
from ancor.training.state import _restore_scaler
from tests.conftest import QUICK

ODD = [math.nan, math.inf, 0.0, -1.0, 1e-60, 10**60, True, None, "65536", [1], torch.tensor(2.0)]


@pytest.fixture
def scaler():
    return torch.GradScaler("cpu")


def test_a_scale_and_its_steps_come_back_and_nothing_else(scaler):
    told = {"scale": 2.0**14, "_growth_tracker": 7, "growth_factor": 1e30, "growth_interval": 1}
    _restore_scaler(scaler, {**told, "backoff_factor": -1.0})
    expected = {**torch.GradScaler("cpu").state_dict(), "scale": 2.0**14, "_growth_tracker": 7}
    assert scaler.state_dict() == expected


@pytest.mark.parametrize("scale", ODD, ids=repr)
def test_an_odd_scale_is_refused(scaler, scale):
    with pytest.raises(ValueError, match="scale"):
        _restore_scaler(scaler, {"scale": scale, "_growth_tracker": 0})


@pytest.mark.parametrize("steps", [-1, 10**9, 2.5, True, None, "1"], ids=repr)
def test_an_odd_count_is_refused(scaler, steps):
    with pytest.raises(ValueError, match="held"):
        _restore_scaler(scaler, {"scale": 1.0, "_growth_tracker": steps})


def test_a_resumed_run_says_so_in_a_line(tmp_path, capsys, monkeypatch):
    enabled = partial(torch.GradScaler, "cpu", enabled=True)  # as of fp16, which needs a GPU
    monkeypatch.setattr("torch.GradScaler", lambda *_, **__: enabled())
    run = [*QUICK, "-a", "conv4", "--output-dir", str(tmp_path)]
    assert main([*run, "--max-steps", "2"]) == 0
    path = tmp_path / "last.pth.tar"
    content = checkpoint.read(path)
    assert content["progress"]["scaler"]["_growth_tracker"] == 2
    going_on = [*run, "--max-steps", "3", "--resume", str(path)]
    content["progress"]["scaler"]["scale"] = math.inf
    checkpoint.save(content, path)
    capsys.readouterr()
    assert main(going_on) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "a loss scale of inf" in line
    content["progress"]["scaler"]["scale"] = 2.0**10
    checkpoint.save(content, path)
    assert main(going_on) == 0
    assert checkpoint.read(path)["progress"]["scaler"]["scale"] == 2.0**10
