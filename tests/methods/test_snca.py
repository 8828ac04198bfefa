"""SNCA: its authors' numbers, its memory, and training by it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ancor.checkpoints.checksum import sealed
from ancor.cli.train import main
from ancor.methods.base import Batch
from ancor.methods.registry import METHODS
from ancor.methods.snca import Snca, logits_of, nearest_classes, neighborhood_loss
from ancor.methods.whole_set_config import SncaConfig
from ancor.models.config import EncoderConfig
from ancor.models.encoder import EncoderOutput
from ancor.runtime import distributed
from ancor.runtime.launch import launch
from tests.golden_files import assert_agrees
from tests.golden_methods import arrays
from tests.refusals import refused, refuses
from tests.training.steps import at_each_step
from tests.training.test_distributed import free_group
from tests.training.test_hooks import (
    assert_same,
    records,
    register,
    run,
    tables,  # noqa: F401  a fixture
)

TAGS = sorted({key.partition("/")[0] for key in arrays("snca") if key.endswith("/hyper")})
SETTINGS = {"val_episodes": 0, "mlp": True, "dim": 6}


@pytest.mark.parametrize("tag", TAGS)
def test_golden(tag):
    """Every array of three successive updates, by the functions and through the method."""
    golden = arrays("snca")
    temperature, momentum, margin = golden[f"{tag}/hyper"].tolist()
    labels = torch.from_numpy(golden["labels"])
    dim = golden["memory0"].shape[1]
    config = SncaConfig(
        temperature, margin * temperature, (momentum,), memory_schedule=(), name="snca"
    )
    encoder = EncoderConfig("conv4", "none", dim=dim, num_classes=int(labels.max()) + 1)
    method = Snca(encoder, config, labels).double()
    method.encode = lambda images: EncoderOutput(images, images, None)
    method.memory.copy_(torch.from_numpy(golden["memory0"]))
    steps = sorted(key.split("/")[1] for key in golden if key.startswith(f"{tag}/step"))
    for number, step in enumerate(dict.fromkeys(steps)):
        wanted = {key: golden[f"{tag}/{step}/{key}"] for key in
                  ("logits", "loss", "grad_features", "grad_raw", "memory_after")}  # fmt: skip
        raw = torch.from_numpy(golden[f"raw{number}"]).requires_grad_()
        indices = torch.from_numpy(golden[f"indices{number}"])
        unit = F.normalize(raw.detach(), dim=1).requires_grad_()
        logits = logits_of(unit, method.memory, temperature)
        assert_agrees(logits.detach(), wanted["logits"], 1e-9)
        loss = neighborhood_loss(unit, method.memory, labels, indices, temperature, margin)
        loss.backward()
        assert_agrees(unit.grad, wanted["grad_features"], 1e-9)
        value = method.losses(Batch((raw,), labels[indices], indices))["snca"].value
        value.backward()
        assert_agrees(value.detach(), wanted["loss"], 1e-9)
        assert_agrees(raw.grad, wanted["grad_raw"], 1e-9)
        method.after_step(torch.tensor(True))
        assert_agrees(method.memory, wanted["memory_after"], 1e-9)


def drawn(count: int = 40, dim: int = 5, classes: int = 3, seed: int = 0) -> tuple:
    """Draw a memory, labels of which the last is of an image alone, and vectors of 9 images."""
    torch.manual_seed(seed)
    memory = F.normalize(torch.randn(count, dim, dtype=torch.float64), dim=1)
    labels = torch.arange(count) % classes
    labels[-1] = classes
    indices = torch.tensor([count - 1, *range(8)])
    unit = F.normalize(torch.randn(9, dim, dtype=torch.float64), dim=1)
    return unit, memory, labels, indices


def plain_loss(unit, memory, labels, indices, temperature) -> torch.Tensor:
    """The formula, image by image."""
    total = 0
    for vector, index in zip(unit, indices.tolist(), strict=True):
        weights = [torch.exp(vector @ row / temperature) for row in memory]
        others = [j for j in range(len(memory)) if j != index]
        same = [weights[j] for j in others if labels[j] == labels[index]]
        if same:
            total = total - torch.log(sum(same) / sum(weights[j] for j in others))
    return total / len(unit)


@pytest.mark.parametrize("block", [1, 100, 1 << 20])
def test_the_loss_is_its_formula_in_whatever_blocks(block, monkeypatch):
    monkeypatch.setattr("ancor.methods.losses.BLOCK_ELEMENTS", block)
    unit, *others = drawn()
    ours, theirs = (unit.clone().requires_grad_() for _ in range(2))
    loss, wanted = neighborhood_loss(ours, *others, 0.1), plain_loss(theirs, *others, 0.1)
    (3 * loss).backward()
    (3 * wanted).backward()
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert not ours.grad[0].any()  # alone in its class


def test_no_temperature_overflows():
    unit, memory, *others = (part.float() if part.is_floating_point() else part for part in drawn())
    unit.requires_grad_()
    loss = neighborhood_loss(unit, memory, *others, 1e-3)
    loss.backward()
    assert loss.isfinite()
    assert unit.grad.isfinite().all()


def test_neighbors_vote_and_the_own_row_does_not():
    """By 30 rows of 40, with weights, against a loop."""
    unit, memory, labels, indices = drawn()
    memory[indices] = unit  # which would win each vote
    found = nearest_classes(unit, memory, labels, 4, 0.1, indices)
    for vector, index, own in zip(unit, indices.tolist(), found.tolist(), strict=True):
        similar = sorted(((memory @ vector)[j].item(), j) for j in range(len(memory)) if j != index)
        votes = np.zeros(4)
        for similarity, j in similar[-30:]:
            votes[labels[j]] += np.exp(similarity / 0.1)
        assert own == votes.argmax()


def test_the_memorys_momentum_follows_its_schedule():
    config = SncaConfig()
    assert [config.momentum(epoch) for epoch in (0, 79, 80, 119, 120, 500)] == [
        *(0.5, 0.5, 0.8, 0.8, 0.9, 0.9)
    ]


def test_what_has_no_meaning_is_refused(tmp_path, capsys):
    for head in ("seq", "fork", "cls"):
        with refuses("snca", f"`head` {head}", "`head` none"):
            SncaConfig(name="snca").check(head)
    with refuses("`memory_momentum` 0.5", "`memory_schedule` 80 120"):
        SncaConfig(memory_momentum=(0.5,)).check("none")
    with refuses("snca"):
        SncaConfig(name="snca").resolved([1, 1], 2)
    command = ["--dataset", "digits", "--mode", "coarse", "--method", "snca"]
    refused(main, [*command, "--head", "seq"], capsys, "snca", "--head seq", "--head none")
    refused(main, [*command, "--queue-k", "9"], capsys, "--queue-k", "snca", "--method")


def test_a_memory_that_does_not_fit_is_refused():
    with torch.device("meta"):
        method = Snca(EncoderConfig("conv4", "none"), SncaConfig(), torch.zeros(10**6).long())
    with refuses("`dim` 128", "1000000", "cpu"):
        method.check_memory(2**20, torch.device("cpu"))


@pytest.mark.parametrize("stops", [(2,), (3,), (4, 5, 7)], ids=str)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_ends_as_one_that_was_not_stopped(stops, precision, tmp_path):
    """In mid-epoch and between epochs, the memory's momentum changing; to the bit."""
    given = {**SETTINGS, "precision": precision, "memory_schedule": (1, 2)}
    whole = run(tmp_path / "whole", "snca", **given)
    for stop in (*stops, None):
        parts = run(tmp_path / "parts", "snca", max_steps=stop, **given)
    for section in ("state_dict", "optimizer"):
        assert_same(parts[section], whole[section])
    assert parts["progress"]["memory_momentum"] == whole["progress"]["memory_momentum"] == 0.9
    figures = records(tmp_path / "whole")[-1]
    assert 0 <= figures["health/memory_knn"] <= 1
    assert figures["loss/snca"] > 0


def test_a_file_of_another_momentum_is_refused(tmp_path):
    run(tmp_path, "snca", max_steps=2, **SETTINGS)
    content = torch.load(tmp_path / "last.pth.tar", weights_only=True)
    content["progress"]["memory_momentum"] = 7.0
    del content["checksum"]
    torch.save(sealed(content), tmp_path / "last.pth.tar")
    with refuses("last.pth.tar'", "7.0"):
        run(tmp_path, "snca", **SETTINGS)


def test_an_undone_step_leaves_the_memory(tmp_path, monkeypatch):
    memories = []

    class Watched(Snca):
        def after_step(self, good=None) -> None:
            before = self.memory.clone()
            super().after_step(good)
            memories.append(torch.equal(before, self.memory))

    def broken(step: int, batch: Batch) -> Batch:
        return batch._replace(views=(batch.views[0] * torch.inf,)) if step == 2 else batch

    monkeypatch.setitem(METHODS, "snca", METHODS["snca"].__class__(Watched, SncaConfig))
    at_each_step(monkeypatch, broken)
    run(tmp_path, "snca", head="none", epochs=2, skip_nonfinite=1, **SETTINGS)
    assert memories == [False, False, True, False, False, False]


def train_all(folder: str) -> None:
    """Train in this group of processes."""
    register()
    given = {**SETTINGS, "batch_size": 19, "accumulate": 2}
    run(Path(folder) / str(distributed.world_size()), "snca", epochs=2, **given)


@pytest.mark.slow
def test_unequal_parts_of_two_processes_fill_one_memory(tmp_path):
    train_all(str(tmp_path))
    launch(train_all, free_group(), str(tmp_path))
    one, two = (
        torch.load(tmp_path / count / "last.pth.tar", weights_only=True)["state_dict"]
        for count in "12"
    )
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
