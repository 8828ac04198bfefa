"""SCGM-G and SCGM-A: their authors' numbers, and training by them."""

import json
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from ancor.checkpoints.checksum import sealed
from ancor.cli.train import main
from ancor.methods import subclasses
from ancor.methods.base import Batch
from ancor.methods.registry import METHODS
from ancor.methods.scgm import ScgmA, ScgmG, scgm_losses
from ancor.methods.whole_set_config import ScgmAConfig, ScgmGConfig
from ancor.models.config import EncoderConfig
from ancor.runtime import distributed
from ancor.runtime.launch import launch
from tests.cases import slow
from tests.golden_files import assert_agrees
from tests.golden_methods import arrays, drawn, fill_
from tests.refusals import refused, refuses, tells
from tests.training.steps import at_each_step
from tests.training.test_distributed import free_group
from tests.training.test_hooks import (
    IMAGES,
    assert_same,
    records,
    register,
    run,
    tables,  # noqa: F401  a fixture
)

CASES = sorted(key.removesuffix("/loss") for key in arrays("scgm") if key.endswith("/loss"))
NORMS = {"weight": "means", "logit_and_weight": "both", "none": "none"}


def given(name: str) -> torch.Tensor:
    return torch.from_numpy(arrays("scgm")[name])


def settings_of(case: str) -> dict:
    """Read a golden case's name: hard_tau0.5_alpha1, hard_norm_weight, soft, zero_q_row, ..."""
    tau, alpha = float(arrays("scgm")["tau"]), float(arrays("scgm")["alpha"])
    norm = case.partition("_norm_")[2]
    for word in case.split("_"):
        tau = float(word[3:]) if word.startswith("tau") else tau
        alpha = float(word[5:]) if word.startswith("alpha") else alpha
    return {
        "tau": tau,
        "alpha": alpha,
        "angle": "angular" in case,
        "class_norm": NORMS.get(norm, "embedding"),
    }


@pytest.mark.parametrize("case", CASES)
def test_golden_losses(case):
    golden, options = arrays("scgm"), settings_of(case)
    tensors = [given(name).clone().requires_grad_() for name in ("embedding", "mu_y", "mu_z")]
    embedding, class_means, means = tensors
    q = F.one_hot(given("subclass"), len(means)).double()
    q = given("soft_q") if case == "soft" else q
    if case == "zero_q_row":
        q[0] = 0
    terms = scgm_losses(
        *(embedding, given("labels"), q, class_means, means, options["tau"]),
        *(options["angle"], options["class_norm"]),
    )
    parts = {"ls1": "subclass", "ls2": "hierarchy", "ls3": "cls"}
    values = {name: terms[ours].value for name, ours in parts.items()}
    total = options["alpha"] * (values["ls1"] + values["ls2"]) + values["ls3"]
    for name, value in {**values, "loss": total}.items():
        assert_agrees(value.detach(), golden[f"{case}/{name}"], 1e-9)
    total.backward()
    for tensor, name in zip(tensors, ("embedding", "mu_y", "mu_z"), strict=True):
        assert_agrees(tensor.grad, golden[f"{case}/grad_{name}"], 1e-9)


def images(name: str, count: int, size: int) -> torch.Tensor:
    return drawn("scgm", name, (count, 3, size, size))


def named_tensors(method: ScgmG | ScgmA, head: str, layer: str = "") -> dict[str, torch.Tensor]:
    """Return the tensors of a method's encoder by the authors' names."""
    of_head = method.encoder.head.state_dict().items()
    of_head = {f"{head}{name.replace('2.', layer or '2.')}": tensor for name, tensor in of_head}
    return {**method.encoder.backbone.state_dict(), **of_head}


def started(method: ScgmG | ScgmA, means: str, *names: str) -> None:
    """Fill a method by the authors' names of its tensors."""
    named = named_tensors(method, *names)
    named[f"{means}mu_y"] = method.subclasses.class_means.data
    named[f"{means}mu_z"] = method.subclasses.means.data
    fill_("scgm", named)
    method.double().train()


def optimizer_of(method, lr: float, momentum: float, decay: float) -> torch.optim.Optimizer:
    moving = [p for p in method.parameters_to_train() if p.requires_grad]
    return torch.optim.SGD(moving, lr=lr, momentum=momentum, weight_decay=decay)


def take_step(method, batch: Batch, optimizer) -> dict[str, float]:
    terms = method.losses(batch)
    values = {name: term.value for name, term in terms.items()}
    total = sum(values.values())
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    method.after_step()
    return {"total": float(total.detach()), **{k: float(v.detach()) for k, v in values.items()}}


def test_golden_trace_g(monkeypatch):
    """Two epochs: E step, Sinkhorn, M step, of the whole model."""
    golden = arrays("scgm")
    size, count, classes, found, dim, side = golden["trace_g/config"].tolist()
    tau, alpha, power, lr, momentum, decay = golden["trace_g/hyper"].tolist()
    labels = given("trace_g/labels")
    config = ScgmGConfig(found, tau, alpha, power, assign_every=1, name="scgm-g")
    encoder = EncoderConfig("resnet18", "none", mlp=True, dim=dim, num_classes=classes)
    method = ScgmG(encoder, config, labels)
    started(method, "", "fc_enc.")
    optimizer = optimizer_of(method, lr, momentum, decay)
    solved = []

    def noted(joint: torch.Tensor, sharpness: float):
        before = joint.exp()
        result = real(joint, sharpness)
        solved.append((before, result.iterations))
        return result

    real = subclasses.sinkhorn
    monkeypatch.setattr(subclasses, "sinkhorn", noted)

    def batches(prefix: str, epoch: int):
        for number in range(count):
            part = torch.arange(number * size, (number + 1) * size)
            yield Batch((images(f"{prefix}{epoch}_{number}", size, side),), labels[part], part)

    losses = []
    for epoch in range(len(golden["trace_g/iterations"])):
        passes = SimpleNamespace(another_pass=lambda purpose, number: batches("xe", number))
        method.before_epoch(epoch, passes)
        joint, iterations = solved[-1]
        assert_agrees(joint, golden["trace_g/joint"][epoch], 1e-9)
        assert iterations == golden["trace_g/iterations"][epoch]
        assert method.clusters().tolist() == golden["trace_g/assignments"][epoch].tolist()
        for batch in batches("xm", epoch):
            step = take_step(method, batch, optimizer)
            parts = [step["subclass"] / alpha, step["hierarchy"] / alpha, step["cls"]]
            losses.append([step["total"], *parts])
    assert_agrees(losses, golden["trace_g/losses"], 1e-9)
    assert_agrees(method.subclasses.class_means.detach(), golden["trace_g/mu_y"], 1e-9)
    assert_agrees(method.subclasses.means.detach(), golden["trace_g/mu_z"], 1e-9)
    ended = named_tensors(method, "fc_enc.")
    slices = [key for key in golden if key.startswith("trace_g/") and key.endswith("[:8]")]
    assert len(slices) >= 5
    for key in slices:
        ours = ended[key.removeprefix("trace_g/").removesuffix("[:8]")].flatten()[:8]
        assert_agrees(ours, golden[key], 1e-9)


def test_golden_trace_a():
    """Three steps as published: no gradient reaches the subclasses' means."""
    golden = arrays("scgm")
    size, steps, classes, found, dim, length, side = golden["trace_a/config"].tolist()
    key_momentum, _, cst, tau1, tau2, alpha, lr, momentum, decay = golden["trace_a/hyper"].tolist()
    config = ScgmAConfig(
        queue_length=length,
        temperature=cst,
        encoder_momentum=key_momentum,
        num_subclasses=found,
        subclass_temperature=tau1,
        class_temperature=tau2,
        subclass_weight=alpha,
        name="scgm-a",
    )
    encoder = EncoderConfig("resnet18", "none", mlp=True, dim=dim, num_classes=classes)
    method = ScgmA(encoder, config, torch.zeros(steps * size, dtype=torch.int64))
    started(method, "fc.2.", "fc.", "2.fc1.")
    method.key_encoder.load_state_dict(method.encoder.state_dict())
    assert_agrees(method.subclasses.means, golden["trace_a/mu_z_start"], 1e-9)
    assert_agrees(method.subclasses.class_means.detach(), golden["trace_a/mu_y_start"], 1e-9)
    method.queue.queue.copy_(F.normalize(given("trace_a/queue0"), dim=1))
    optimizer = optimizer_of(method, lr, momentum, decay)
    losses = []
    for number in range(steps):
        indices = torch.arange(number * size, (number + 1) * size)
        method.subclasses.assigned[indices] = given(f"trace_a/z{number}")
        views = tuple(images(f"sa{which}{number}", size, side) for which in "qk")
        batch = Batch(views, given(f"trace_a/y{number}"), indices)
        step = take_step(method, batch, optimizer)
        parts = [step["subclass"] / alpha, step["hierarchy"] / alpha]
        losses.append([step["total"], step["cls"], step["cst_by_class"], *parts])
    assert_agrees(losses, golden["trace_a/losses"], 1e-9)
    columns = F.normalize(given("trace_a/queue_after"), dim=1)
    assert_agrees(method.queue.queue, columns, 1e-9)
    assert method.queue.queue_ptr.tolist() == golden["trace_a/ptr"].tolist()
    assert_agrees(method.subclasses.means, golden["trace_a/mu_z_after"], 1e-9)
    assert_agrees(method.subclasses.class_means.detach(), golden["trace_a/mu_y_after"], 1e-9)
    assert method.subclasses.means.requires_grad == golden["trace_a/mu_z_has_grad"]
    query = named_tensors(method, "fc.", "2.fc1.")
    key = {**method.key_encoder.backbone.state_dict()}
    key |= {f"fc.{name}": tensor for name, tensor in method.key_encoder.head.state_dict().items()}
    slices = [name for name in golden if name.startswith("trace_a/") and name.endswith("[:8]")]
    assert len(slices) >= 4
    for name in slices:
        _, which, tensor = name.removesuffix("[:8]").replace(".", "/", 1).split("/")
        ours = (query if which == "encoder_q" else key)[tensor].flatten()[:8]
        assert_agrees(ours, golden[name], 1e-9)


BOTH = ("scgm-g", "scgm-a")
FEW = {"val_episodes": 0, "dim": 6, "num_subclasses": 6, "assign_every": 2, "queue_length": 8}


def train(folder: Path, name: str, **changes) -> dict:
    """Train on a few images; settings that a method does not have are left out."""
    known = {field.name for field in fields(METHODS[name].config)}
    few = {k: v for k, v in FEW.items() if k in known or k in ("val_episodes", "dim")}
    return run(folder, name, **{**few, **changes})


@pytest.fixture
def epochs_assigned(monkeypatch) -> list[int]:
    """How many images each E step assigned."""
    solved, real = [], subclasses.sinkhorn

    def noted(joint: torch.Tensor, sharpness: float):
        solved.append(len(joint))
        return real(joint, sharpness)

    monkeypatch.setattr(subclasses, "sinkhorn", noted)
    return solved


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("stops", [(2,), (6,), (3, 7, 8)], ids=str)
@pytest.mark.parametrize("precision", ["fp32", slow("bf16")])
def test_a_resumed_run_ends_as_one_that_was_not_stopped(
    name, stops, precision, tmp_path, epochs_assigned
):
    """To the bit, in mid-epoch and right before an E step; none is done twice."""
    flags = {"precision": precision, "detach_means": False} if name == "scgm-a" else {}
    whole = train(tmp_path / "whole", name, **flags)
    assert epochs_assigned == [IMAGES] * 2
    epochs_assigned.clear()
    for stop in (*stops, None):
        parts = train(tmp_path / "parts", name, max_steps=stop, **flags)
    assert epochs_assigned == [IMAGES] * 2
    for section in ("state_dict", "optimizer"):
        assert_same(parts[section], whole[section])
    assert (whole["state_dict"]["module.subclasses.assigned"] >= 0).all()


@pytest.mark.parametrize("name", BOTH)
def test_clusters_are_scored_beside_fine_labels(name, tmp_path, caplog):
    with caplog.at_level("INFO"):
        train(tmp_path, name, save_freq=1)
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    epochs = [record for record in lines if record["kind"] == "epoch"]
    assert len(epochs) == 4
    for record in epochs:
        assert 0 < record["clusters/nmi"] < 1
        assert 0 < record["clusters/homogeneity"] < 1
        assert record["clusters/used"] == 6
    assert epochs[0]["clusters/nmi"] == epochs[1]["clusters/nmi"]  # assigned every second one
    assert tells(caplog.text, "Epoch 4/4", "NMI", "homogeneity")
    assert records(tmp_path)[-1]["loss/subclass"] > 0


def test_published_scgm_a_never_trains_its_subclasses(tmp_path):
    state = {
        (detached, steps): train(
            tmp_path / f"{detached} {steps}", "scgm-a", detach_means=detached, max_steps=steps
        )["state_dict"]["module.subclasses.means"]
        for detached in (True, False)
        for steps in (1, None)
    }
    assert torch.equal(state[True, 1], state[True, None])  # no decay either
    assert not torch.equal(state[False, 1], state[False, None])


@pytest.mark.parametrize("name", BOTH)
def test_an_undone_step_changes_nothing(name, tmp_path, monkeypatch):
    states = []

    class Watched(METHODS[name].load()):
        def after_step(self, good=None) -> None:
            super().after_step(good)
            states.append({key: tensor.clone() for key, tensor in self.state_dict().items()})

    def broken(step: int, batch: Batch) -> Batch:
        views = (batch.views[0] * torch.inf, *batch.views[1:])
        return batch._replace(views=views) if step == 1 else batch

    monkeypatch.setitem(METHODS, name, replace(METHODS[name], method=Watched))
    at_each_step(monkeypatch, broken)
    train(tmp_path, name, epochs=1, skip_nonfinite=1)
    assert_same(states[1], states[0])
    assert not torch.equal(states[2]["encoder.backbone.layer.weight"],
                           states[1]["encoder.backbone.layer.weight"])  # fmt: skip


def test_a_file_of_other_subclasses_is_refused(tmp_path):
    train(tmp_path, "scgm-g", max_steps=2)
    content = torch.load(tmp_path / "last.pth.tar", weights_only=True)
    content["state_dict"]["module.subclasses.assigned"][0] = 6
    del content["checksum"]
    torch.save(sealed(content), tmp_path / "last.pth.tar")
    with refuses("last.pth.tar'", "6"):
        train(tmp_path, "scgm-g")


def test_what_has_no_meaning_is_refused(capsys):
    for config in (ScgmGConfig(name="scgm-g"), ScgmAConfig(name="scgm-a")):
        for head in ("seq", "fork", "cls"):
            with refuses(config.name, f"`head` {head}", "`head` none"):
                config.check(head)
        config.check("none")
    with refuses("`queue` single", "cst_by_class"):
        ScgmAConfig(queue="single").check("none")
    with refuses("`class_norm`", "'logit'", "embedding"):
        ScgmGConfig(class_norm="logit")
    command = ["--dataset", "digits", "--mode", "coarse", "--method", "scgm-g"]
    refused(main, [*command, "--num-subclasses", "2"], capsys, "--num-subclasses 2", "3")
    refused(main, [*command, "--detach-means"], capsys, "--detach-means", "scgm-g", "--method")


def train_all(folder: str) -> None:
    """Train in this group of processes."""
    register()
    for number, (name, changes) in enumerate(PROCESSES):
        train(Path(folder) / f"{distributed.world_size()} {number}", name, epochs=3, **changes)


ODD = {"batch_size": 19, "accumulate": 2}
PROCESSES = [("scgm-g", ODD), ("scgm-a", {**ODD, "detach_means": False})]


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path):
    """Both pass their parts in the E step, and one solves it."""
    train_all(str(tmp_path))
    launch(train_all, free_group(), str(tmp_path))
    for number, (name, _) in enumerate(PROCESSES):
        one, two = (
            torch.load(tmp_path / f"{count} {number}" / "last.pth.tar", weights_only=True)
            for count in (1, 2)
        )
        for key, tensor in one["state_dict"].items():
            torch.testing.assert_close(
                two["state_dict"][key], tensor, rtol=1e-4, atol=1e-5, msg=f"{number} {name}: {key}"
            )
