"""Activations that are computed again: the same training, to the bit, in less memory."""

import copy
import re
import socket
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from ancor.cli.train import main
from ancor.methods.base import Batch
from ancor.methods.registry import METHODS
from ancor.models.backbones import build_backbone
from ancor.models.recomputing import blocks, recompute_activations
from ancor.runtime import distributed
from ancor.runtime.launch import Group, launch
from ancor.training.config import TrainConfig
from ancor.training.doctor.workload import Size, build, draw, losses_of_steps, trainer_of
from ancor.training.metrics import Meter
from tests.cases import first_quick, slow
from tests.conftest import SMALL
from tests.refusals import refused, refuses

NAMED = re.compile("checkpoint.activations")  # as a setting or, behind a command, a flag
CPU = torch.device("cpu")
BACKBONES = {
    "resnet12": (4, 32),
    "conv4": (4, 32),
    "resnet18forcifar": (8, 32),
    "torchvision:mobilenet_v3_small": (14, 32),
    "torchvision:densenet121": (7, 32),
    "timm:test_resnet": (5, 64),
    "timm:test_vit": (7, 160),
    "timm:test_efficientnet": (7, 64),
}


def passed(network: nn.Module, images: torch.Tensor, dtype: torch.dtype | None) -> int:
    """Pass images forward and back, twice; return the bytes that were kept of the last pass.

    What a block is given is kept beside what autograd saves.
    """
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def keep_given(block: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        for tensor in given:
            keep(tensor)

    for block in blocks(network):
        block.register_forward_pre_hook(keep_given)
    for number in range(2):
        kept.clear()
        torch.manual_seed(number)
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", dtype=dtype) if dtype else nullcontext(),
        ):
            features = network(images)
        features.float().square().sum().backward()
    return sum(kept.values())


@pytest.mark.parametrize("dtype", [None, slow(torch.bfloat16)], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", BACKBONES)
def test_gradients_and_statistics_are_the_same_and_less_is_kept(name, dtype):
    count, side = BACKBONES[name]
    torch.manual_seed(0)
    network = build_backbone(name).train()
    again = copy.deepcopy(network)
    recompute_activations(again)
    assert len(blocks(again)) == count
    images = torch.randn(4, 3, side, side)
    assert passed(again, images, dtype) < 0.7 * passed(network, images, dtype)
    for (key, one), other in zip(network.named_parameters(), again.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), key
        assert one.grad is None or torch.equal(one.grad, other.grad), key
    for (key, one), other in zip(network.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(one, other), key
    assert network.state_dict().keys() == again.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(network.eval()(images), copy.deepcopy(again).eval()(images))


def test_timms_own_way_moves_statistics_twice_and_ours_does_not():
    networks = [build_backbone("timm:test_resnet").train() for _ in range(2)]
    networks[0].set_grad_checkpointing()
    recompute_activations(networks[1])
    counts = []
    for network in networks:
        network(torch.randn(4, 3, 64, 64)).sum().backward()
        counts.append(max(int(b) for n, b in network.named_buffers() if n.endswith("tracked")))
    assert counts == [2, 1]


def test_a_backbone_of_single_layers_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())
    with refuses(NAMED, "Sequential"):
        recompute_activations(network)
    with refuses(re.compile("compile"), NAMED):
        TrainConfig(compile=True, checkpoint_activations=True)


def steps_of(name: str, recomputed: bool, precision: str = "fp32", arch: str = "resnet12") -> tuple:
    """Take three steps of a method, from the same weights and draws."""
    size = Size(arch, 32, 6, 3, 8, 24)
    method = build(name, size, CPU)
    if recomputed:
        recompute_activations(method.encoder.backbone)
    trainer = trainer_of(method, size, CPU, precision)
    return losses_of_steps(trainer, size, 3), method.state_dict(), method


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_alike(name):
    arch = "resnet12" if name == "ancor" else "conv4"  # the first has DropBlock, and takes its time
    losses, state, method = steps_of(name, False, arch=arch)
    again, theirs, other = steps_of(name, True, arch=arch)
    assert losses == again
    for key, tensor in state.items():
        assert torch.equal(tensor, theirs[key]), key
    clocks = [dict(m.encoder.backbone.named_buffers()) for m in (method, other)]
    for key, tensor in clocks[0].items():
        assert torch.equal(tensor, clocks[1][key]), key


def train_in_a_group(folder: str) -> None:
    """Take three steps of shares of each batch, kept and recomputed; leave the weights."""
    size, found = Size("conv4", 16, 8, 3, 8, 24), []
    for recomputed in (False, True):
        method = build("ancor", size, CPU)
        if recomputed:
            recompute_activations(method.encoder.backbone)
        trainer = trainer_of(method, size, CPU)
        for number in range(3):
            views, labels, indices, _ = draw(method, size, CPU, number)
            own, order = distributed.rank_slice(8), torch.arange(8).roll(number + 1)
            views = tuple(view[own] for view in views)
            trainer.step(Batch(views, labels[own], indices[own], order), Meter())
        found.append(method.state_dict())
    torch.save(found, Path(folder) / f"{distributed.rank()}.pt")


@pytest.mark.slow
def test_two_processes_train_alike(tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        group = Group(2, url=f"tcp://localhost:{probe.getsockname()[1]}", backend="gloo")
    launch(train_in_a_group, group, str(tmp_path))
    for rank in (0, 1):
        plain, again = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for key, tensor in plain.items():
            assert torch.equal(tensor, again[key]), key


RUNS = {
    "frozen at first": ["--freeze", "2", "--freeze-epochs", "1"],
    "bf16, in parts": ["--precision", "bf16", "--accumulate", "2"],
    "with fixed statistics": ["--freeze-bn", "--head", "fork", "--metric", "norm"],
}


@pytest.mark.parametrize("about", first_quick(RUNS))
def test_a_run_is_the_same_also_when_it_is_resumed_otherwise(about, tmp_path):
    flags = RUNS[about]
    common = [*SMALL, *flags, "--epochs", "2", "--val-episodes", "0"]
    given = "--checkpoint-activations"
    first, again, mixed = (tmp_path / name for name in ("plain", "again", "mixed"))
    assert main([*common, "--max-steps", "20", "--output-dir", str(first)]) == 0
    assert main([*common, "--max-steps", "20", "--output-dir", str(again), given]) == 0
    assert main([*common, "--max-steps", "7", "--output-dir", str(mixed), given]) == 0
    resume = ["--resume", str(mixed / "last.pth.tar"), "--output-dir", str(mixed)]
    assert main([*common, "--max-steps", "20", *resume]) == 0  # without the flag
    states = [
        torch.load(folder / "last.pth.tar", weights_only=True) for folder in (first, again, mixed)
    ]
    for state in states[1:]:
        assert state["progress"]["step"] == 20
        for key, tensor in states[0]["state_dict"].items():
            assert torch.equal(tensor, state["state_dict"][key]), key


def test_a_run_says_what_cannot_be_together(capsys, tmp_path):
    flags = ["--compile", "--checkpoint-activations", "--output-dir", str(tmp_path / "run")]
    refused(main, [*SMALL, *flags], capsys, "--compile", "--checkpoint-activations")
    assert not (tmp_path / "run").exists()
