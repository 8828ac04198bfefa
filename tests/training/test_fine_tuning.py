"""Issue 17, 4: what is frozen, at which rates the rest trains, and that a run goes on exactly."""

import json
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ancor.checkpoints import checkpoint
from ancor.cli.train import main
from ancor.data.partition import Partition
from ancor.data.registry import DATASETS
from ancor.methods.ancor import Ancor
from ancor.methods.base import Batch
from ancor.methods.config import AncorConfig
from ancor.models.backbones import BACKBONES
from ancor.models.config import EncoderConfig
from ancor.models.groups import batch_norms
from ancor.runtime import distributed
from ancor.runtime.devices import Runtime
from ancor.runtime.launch import launch
from ancor.training.config import TrainConfig
from ancor.training.defaults import (
    FINE_TUNING,
    FROM_PRETRAINED,
    WITH_BATCH_NORM,
    following,
)
from ancor.training.metrics import Meter
from ancor.training.resolve import resolve
from ancor.training.run import Launch, train
from ancor.training.trainer import Trainer
from tests.conftest import QUICK, SMALL
from tests.training.test_distributed import free_group

BATCH = 8
CPU = torch.device("cpu")


class Batches:
    """What a trainer needs of its batches."""

    batch_size, device = BATCH, CPU


def batch(number: int, size: int = 16, dtype: torch.dtype = torch.float32) -> Batch:
    """A batch of random images, whose part on this process is its own."""
    own = distributed.rank_slice(BATCH)
    draw = torch.Generator().manual_seed(number)
    views = torch.randn(2, BATCH, 3, size, size, generator=draw, dtype=dtype)
    labels = torch.arange(BATCH) % 3
    return Batch((views[0, own], views[1, own]), labels[own], torch.arange(BATCH)[own])


def made(
    arch: str = "conv4", head: str = "seq", dtype: torch.dtype = torch.float32, **settings
) -> Trainer:
    """A trainer of a small ANCOR."""
    torch.manual_seed(0)
    config = AncorConfig(queue_length=16, encoder_momentum=0.5)
    method = Ancor(EncoderConfig(arch, head, True, 6, 3), config).to(dtype)
    return Trainer(method, Batches(), TrainConfig(**settings), None, None, None)


def step(trainer: Trainer, *numbers: int, **about) -> None:
    trainer.method.train()
    for number in numbers:
        trainer.step(batch(number, **about), Meter())


def values(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def changed(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {name for name, t in module.state_dict().items() if not torch.equal(before[name], t)}


def of_timm(name: str, **about) -> nn.Module:
    """A network of timm with a drop path, as a backbone."""
    import timm  # not where processes start

    network = timm.create_model(name, num_classes=0, drop_path_rate=0.5, **about)
    network.out_features = network.num_features
    return network


@pytest.mark.parametrize("arch", ["conv4", "resnet12", "test_resnet"])
def test_batch_norm_that_is_frozen_goes_by_the_statistics_it_has(arch, monkeypatch):
    monkeypatch.setitem(BACKBONES, "test_resnet", partial(of_timm, "test_resnet"))
    trainer = made(arch, freeze_bn=True)
    method = trainer.method
    norms = batch_norms(method.encoder.backbone)
    with torch.no_grad():
        for norm in norms:  # statistics that no batch has
            norm.running_mean.normal_(generator=torch.Generator().manual_seed(1))
            norm.running_var.fill_(3)
    query, key = values(method.encoder), values(method.key_encoder)
    step(trainer, 0, 1)
    for before, encoder in ((query, method.encoder), (key, method.key_encoder)):
        moved = changed(before, encoder)
        assert any(name.startswith("backbone.") for name in moved)  # its weights train
        assert not [name for name in moved if "running" in name or "num_batches" in name]
        assert not any(norm.training for norm in batch_norms(encoder.backbone))
    assert len(norms) == len(batch_norms(method.key_encoder.backbone)) > 0
    if arch == "conv4":  # nothing of which is dropped in training
        images = batch(5).views[0]
        method.train()
        alone = method.encoder.backbone(images[:2])
        torch.testing.assert_close(method.encoder.backbone(images)[:2], alone)


@pytest.mark.parametrize("arch", ["conv4", "resnet12", "test_resnet", "test_vit"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_frozen_backbone_stays_to_the_bit_in_both_encoders(arch, optimizer, monkeypatch):
    """Weights, batch-norm statistics and DropBlock's count; the head trains, its keys follow."""
    monkeypatch.setitem(BACKBONES, "test_resnet", partial(of_timm, "test_resnet"))
    monkeypatch.setitem(BACKBONES, "test_vit", partial(of_timm, "test_vit", img_size=16))
    trainer = made(arch, freeze="all", optimizer=optimizer, lr=0.01)
    method = trainer.method
    query, key = values(method.encoder), values(method.key_encoder)
    step(trainer, 0, 1, 2)
    for before, encoder in ((query, method.encoder), (key, method.key_encoder)):
        moved = changed(before, encoder)
        assert moved
        assert all(name.startswith("head.") for name in moved)
        assert all(int(m.clock) == 0 for m in encoder.modules() if hasattr(m, "clock"))
    assert changed(values(method.encoder.backbone), method.key_encoder.backbone) == set()
    known = {p for p, state in trainer.optimizer.state.items() if state}
    assert known == {p for p in method.encoder.head.parameters() if p.requires_grad}
    images = batch(0).views[0]
    assert torch.equal(*(method.encoder.backbone(images) for _ in range(2)))  # nothing is dropped
    guarded = sum(tensor.numel() for tensor in method.moved_by_losses())
    assert guarded == sum(p.numel() for p in method.key_encoder.head.parameters())


def test_first_groups_are_frozen_and_the_others_are_not():
    trainer = made(freeze=2, lr=0.01)
    before = values(trainer.method.encoder.backbone)
    step(trainer, 0, 1)
    moved = changed(before, trainer.method.encoder.backbone)
    assert moved == {name for name in before if name.startswith(("layer3", "layer4"))}
    assert changed(before, trainer.method.key_encoder.backbone) == moved


def test_a_frozen_backbone_passes_alike_in_training_and_evaluation():
    """No dropout, no statistics of the batch; also after an evaluation has set the modes."""
    trainer = made("resnet12", freeze="all")
    method, images = trainer.method, batch(0).views[0]
    method.encoder.eval()
    expected = method.encoder(images).features
    method.encoder.train()
    method.train()
    assert method.training
    assert method.encoder.head.training
    assert torch.equal(method.encoder(images).features, expected)


def saved_in_a_step(**settings) -> list[Tensor]:
    """What autograd keeps for a backward pass, in a step."""
    trainer, kept = made(**settings), []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step(trainer, 0)
    return kept


def test_nothing_is_kept_for_a_gradient_of_what_is_frozen():
    """Must show: no gradient memory for it: no feature map at all, and fewer of fewer stages."""
    maps = [
        sum(t.numel() for t in saved_in_a_step(freeze=freeze) if t.ndim == 4)
        for freeze in (0, 2, "all")
    ]
    assert maps[0] > maps[1] > maps[2] == 0


def plain_steps(trainer: Trainer, clip: float | None, parts: int, count: int) -> list[Tensor]:
    """Take steps by a loop of torch's own, with the trainer's method and settings."""
    method, config = trainer.method, trainer.config
    parameters = [p for p in method.parameters_to_train() if p.requires_grad]
    kinds = {
        "sgd": partial(torch.optim.SGD, momentum=config.momentum),
        "adamw": torch.optim.AdamW,
    }
    optimizer = kinds[config.optimizer](parameters, lr=config.lr, weight_decay=config.weight_decay)
    for number in range(count):
        optimizer.zero_grad()
        whole = batch(number)
        for own in torch.arange(BATCH).chunk(parts):
            views = tuple(view[own] for view in whole.views)
            terms = method.losses(Batch(views, whole.labels[own], whole.indices[own]))
            (sum(term.value for term in terms.values()) / parts).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        method.after_step(torch.tensor(True))
    return parameters


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("clip", [None, 0.1])
def test_a_step_is_that_of_a_plain_loop(clip, scaled, optimizer):
    """Clipping counts the whole gradient: of both parts of a batch, without the scaler's factor."""
    settings = {"optimizer": optimizer, "lr": 1e-2, "weight_decay": 0.05, "accumulate": 2}
    trainer, plain = made(clip_grad=clip, **settings), made(**settings)
    trainer.scaler = torch.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
    torch.manual_seed(0)
    step(trainer, 0, 1, 2)
    for group in trainer.optimizer.param_groups:
        assert group["lr"] == 1e-2
    parameters = plain_steps(plain, clip, 2, 3)
    ours = [p for p in trainer.method.parameters_to_train() if p.requires_grad]
    for mine, theirs in zip(ours, parameters, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-5)
    if clip is not None:
        assert float(trainer._norm) > clip  # what it was before


def test_rates_of_groups_and_one_group_by_default():
    plain = made().optimizer
    assert len(plain.param_groups) == 1
    assert "lr_scale" not in plain.param_groups[0]
    trainer = made(layer_decay=0.5, backbone_lr_scale=0.2)
    trainer_rates = {g.get("lr_scale", 1): len(g["params"]) for g in trainer.optimizer.param_groups}
    assert list(trainer_rates) == pytest.approx([0.2 / 16, 0.2 / 8, 0.2 / 4, 0.2 / 2, 1])
    assert {group["weight_decay"] for group in trainer.optimizer.param_groups} == {1e-4}  # of all


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_what_is_thawed_begins_without_momenta(optimizer):
    """As if the optimizer had just been made for it; the head's momenta go on."""
    trainer = made(freeze="all", freeze_epochs=1, optimizer=optimizer, lr=0.01)
    step(trainer, 0, 1)
    assert not trainer.freeze_for(0)
    assert trainer.freeze_for(1)
    backbone = list(trainer.method.encoder.backbone.parameters())
    states = [trainer.optimizer.state[p] for p in backbone]
    assert all(not torch.count_nonzero(value) for state in states for value in state.values())
    before = values(trainer.method.encoder.backbone)
    step(trainer, 2)
    assert {"layer1.0.weight", "layer1.1.running_mean"} <= changed(
        before, trainer.method.encoder.backbone
    )
    if optimizer == "sgd":  # v = g
        momenta = [trainer.optimizer.state[p]["momentum_buffer"] for p in backbone]
        for parameter, momentum in zip(backbone, momenta, strict=True):
            decayed = parameter.grad + 1e-4 * (parameter + 0.01 * momentum)
            torch.testing.assert_close(momentum, decayed, rtol=1e-4, atol=1e-6)
    else:
        assert {float(trainer.optimizer.state[p]["step"]) for p in backbone} == {1}


@pytest.mark.parametrize("frozen", ["all", 0])
def test_an_undone_step_leaves_the_states_of_adamw(frozen, monkeypatch):
    trainer = made(freeze=frozen, optimizer="adamw", skip_nonfinite=1)
    step(trainer, 0)
    state = {p: {n: t.clone() for n, t in s.items()} for p, s in trainer.optimizer.state.items()}
    before = values(trainer.method)
    losses = trainer.method.losses
    monkeypatch.setattr(
        trainer.method,
        "losses",
        lambda each: {k: t._replace(value=t.value * torch.nan) for k, t in losses(each).items()},
    )
    step(trainer, 1)
    assert changed(before, trainer.method) == set()
    for parameter, known in state.items():
        for name, tensor in known.items():
            assert torch.equal(trainer.optimizer.state[parameter][name], tensor)


def few(partition: str) -> Partition:
    return DATASETS["digits"].load(partition, None).subset(np.arange(48))


def run(folder: Path, **given) -> dict:
    """Train on a few digits, 3 epochs of 2 steps; go on where the folder holds a run."""
    last = folder / "last.pth.tar"
    content = checkpoint.read(str(last)) if last.exists() else None
    settings = {"dataset": "few", "mode": "coarse", "arch": "conv4", "epochs": 3, "workers": 0}
    settings |= {"batch_size": 24, "val_episodes": 0, "queue_length": 16, "dim": 6}
    config, _ = resolve(settings | given)
    train(config, Launch(folder, Runtime.named("cpu", "fp32"), content, last))
    return torch.load(last, weights_only=True)


SETTINGS = {
    "sgd": {"freeze": 2, "freeze_epochs": 1, "clip_grad": 0.5, "lr": 0.01},
    "adamw": {
        **{"optimizer": "adamw", "freeze": "all", "freeze_epochs": 1},
        **{"layer_decay": 0.8, "backbone_lr_scale": 0.5},
    },
}


def assert_same(ours: object, theirs: object) -> None:
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert_same(ours[name], theirs[name])
    elif isinstance(ours, Tensor):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_resumed_run_ends_in_the_same_state(name, tmp_path, monkeypatch):
    """Stopped in mid-epoch while frozen, at the end of that, and in mid-epoch after it."""
    monkeypatch.setitem(DATASETS, "few", replace(DATASETS["digits"], reader=few))
    whole, first = run(tmp_path / "whole", **SETTINGS[name]), "module.encoder_q.layer1.0.weight"
    weights = []
    for stop in (1, 2, 3, None):
        parts = run(tmp_path / "parts", max_steps=stop, **SETTINGS[name])
        weights.append(parts["state_dict"][first])
    for section in ("state_dict", "optimizer"):
        assert_same(parts[section], whole[section])
    same = [torch.equal(one, other) for one, other in pairwise(weights)]
    assert same == [True, False, False]


def refused(capsys, *flags: str) -> str:
    capsys.readouterr()
    assert main([*QUICK, "-a", "conv4", "-b", "512", "-j", "0", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    "other",
    [
        ("--optimizer", "adamw"),
        ("--freeze", "all"),
        ("--freeze", "1", "--freeze-epochs", "3"),
        ("--layer-decay", "0.9"),
        ("--backbone-lr-scale", "0.9"),
    ],
)
def test_a_resumed_run_cannot_change_what_its_momenta_are_of(other, quick_run, capsys):
    line = refused(capsys, "--resume", str(quick_run / "last.pth.tar"), *other)
    assert "a resumed run cannot change it" in line


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--freeze", "7"), "--freeze 7: the backbone has 4 groups; give 0 to 4, or all"),
        (("--freeze", "-1"), "--freeze -1: expected 0 or more, or all"),
        (("--freeze-epochs", "2"), "--freeze-epochs 2: nothing is frozen; name it by --freeze"),
        (("--optimizer", "adamw", "--momentum", "1"), "--momentum 1.0: expected below 1"),
        (("--optimizer", "adam"), "did you mean adamw?"),
        (("--clip-grad", "0"), "--clip-grad 0.0: expected a finite number above 0"),
        (("--layer-decay", "1.5"), "--layer-decay 1.5: expected a number above 0, 1 at most"),
        (("--layer-decay", "nan"), "--layer-decay nan"),
    ],
)
def test_odd_settings_are_refused_in_a_line(flags, words, capsys, tmp_path):
    assert words in refused(capsys, *flags, "--output-dir", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_start_says_what_trains(tmp_path, capsys):
    flags = ["-a", "conv4", "--optimizer", "adamw", "--freeze", "2", "--layer-decay", "0.5"]
    command = [*[flag for flag in SMALL if flag != "--quiet"], *flags, "--max-steps", "1"]
    assert main([*command, "--output-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Trains    AdamW, 0.08 M parameters; the first 2 of 4 groups frozen (0.04 M)" in said
    assert "rates 0.00025 to 0.001 in 3 steps" in said
    assert "AdamW's defaults: --lr 0.001 --wd 0.05" in said
    assert "--freeze names keeps the weights that the seed drew" in said


@pytest.mark.parametrize(
    ("method", "freeze", "told"), [("ce", "all", True), ("ancor", "all", False), ("ce", "2", False)]
)
def test_a_training_that_can_change_no_score_is_told(method, freeze, told, tmp_path, capsys):
    flags = ["-a", "conv4", "--method", method, "--freeze", freeze, "--max-steps", "1"]
    command = [*[flag for flag in SMALL if flag != "--quiet"], *flags]
    assert main([*command, "--output-dir", str(tmp_path)]) == 0
    assert ("--head seq has an embedding" in capsys.readouterr().out) is told


def test_defaults_follow_from_pretrained_weights_and_the_optimizer():
    assert following("drawn", {})[1] == {}
    adamw = {"name": "ce", **FROM_PRETRAINED["adamw"], **FINE_TUNING}
    assert following("pretrained", {})[1] == adamw
    assert following("pretrained", {}, batch_norm=True)[1] == {**adamw, **WITH_BATCH_NORM}
    sgd = {"name": "ce", **FROM_PRETRAINED["sgd"], **FINE_TUNING}
    given = {"lr": 1.0, "optimizer": "sgd"}
    sgd.pop("lr")
    assert following("pretrained", given, batch_norm=True)[1] == sgd
    head = following("features", {})[1]
    assert head["epochs"] == 50
    assert not head.keys() & {"freeze_bn", "name", "augment"}


@pytest.mark.parametrize(
    ("given", "method", "rate"),
    [
        ({"arch": "timm:test_resnet", "pretrained": "x.pth"}, "ce", 3e-3),
        ({"arch": "resnet50", "pretrained": "default"}, "ce", 3e-3),
        ({"arch": "timm:test_vit", "pretrained": "x.pth"}, "ce", 1e-3),
        ({"arch": "timm:test_resnet", "pretrained": "x.pth", "name": "snca"}, "snca", 3e-3),
        ({"arch": "timm:test_resnet", "pretrained": "x.pth", "temperature": 0.5}, "ancor", 3e-3),
        ({"arch": "timm:test_vit", "pretrained": "x.pth", "class_weighting": "sqrt"}, "ce", 1e-3),
        ({"arch": "timm:test_resnet", "pretrained": "x.pth", "mode": "fine"}, "ancor", 3e-3),
        ({"arch": "timm:test_resnet"}, "ancor", 0.03),
        # A file of weights for the paper's backbones changed no default before, and does not now.
        ({"arch": "resnet50", "pretrained": "moco.pth"}, "ancor", 0.03),
    ],
)
def test_the_method_and_rate_of_fine_tuning(given, method, rate):
    """Coarse labels alone, unless a method, its parts or fine labels are asked for."""
    config, taken = resolve({"dataset": "living17", "mode": "coarse", **given})
    assert (config.method.name, config.training.lr) == (method, rate)
    if rate != 0.03:
        assert (config.training.epochs, config.data.augment) == (4, "crops")
        told = next(t for name, t in taken.items() if name.endswith("on pretrained weights"))
        assert ("queue_length" in told) is (method == "ancor")


@pytest.mark.parametrize(
    ("given", "weights"),
    [
        ({"name": "ancor"}, (1.0, 0.3)),
        ({"name": "fork"}, (1.0, 0.3)),
        ({"temperature": 0.5}, (1.0, 0.3)),
        ({"name": "ancor", "loss_weights": (1.0, 1.0)}, (1.0, 1.0)),
        # Of a single loss there is nothing to weigh.
        ({"name": "ancor", "calculators": ("cls",)}, None),
        ({"name": "moco"}, None),
        ({"name": "ce"}, None),
    ],
)
def test_the_contrast_weighs_less_on_pretrained_weights(given, weights):
    started = {"arch": "timm:test_resnet", "pretrained": "x.pth"}
    config, taken = resolve({"dataset": "living17", "mode": "coarse", **started, **given})
    assert config.method.loss_weights == weights
    told = next(t for name, t in taken.items() if name.endswith("on pretrained weights"))
    assert ("loss_weights" in told) is (weights == (1.0, 0.3))
    drawn, _ = resolve({"dataset": "living17", "mode": "coarse", "arch": "resnet50"})
    assert drawn.method.loss_weights is None


class Layers(nn.Module):
    """A backbone of two groups whose samples do not touch each other."""

    out_features = 12

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(48, 12), nn.Linear(12, 12)

    def forward(self, images: Tensor) -> Tensor:
        return torch.tanh(self.second(torch.tanh(self.first(images.flatten(1)))))


class Sent(TorchDispatchMode):
    """Counts the numbers that collectives are given."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.namespace == "c10d":
            leaves = torch.utils._pytree.tree_leaves(args)
            self.count += sum(t.numel() for t in leaves if isinstance(t, Tensor))
        return function(*args, **(kwargs or {}))


def freeze_and_thaw(folder: str) -> None:
    """Take steps with a frozen backbone, then with all of it, and leave weights and counts."""
    BACKBONES["layers"] = Layers
    for optimizer in ("sgd", "adamw"):
        settings = {"optimizer": optimizer, "lr": 0.01, "clip_grad": 0.5, "dtype": torch.float64}
        trainer = made("layers", freeze="all", freeze_epochs=1, **settings)
        trainer.method.prepare(CPU)
        sent = []
        for numbers in ((0, 1), (2, 3)):
            with Sent() if distributed.world_size() > 1 else nullcontext() as counted:
                step(trainer, *numbers, size=4, dtype=torch.float64)
            sent.append(getattr(counted, "count", 0))
            if trainer.freeze_for(1):
                trainer.method.prepare(CPU)
        name = f"{optimizer}-{distributed.world_size()}-{distributed.rank()}"
        torch.save(values(trainer.method), Path(folder) / f"{name}.pt")
        (Path(folder) / f"{name}.json").write_text(json.dumps(sent))


@pytest.mark.slow
def test_two_processes_do_what_one_does_and_send_nothing_of_what_is_frozen(tmp_path):
    freeze_and_thaw(str(tmp_path))
    launch(freeze_and_thaw, free_group(), str(tmp_path))
    size = sum(p.numel() for p in Layers().parameters())
    for optimizer in ("sgd", "adamw"):
        one, first, second = (
            torch.load(tmp_path / f"{optimizer}-{which}.pt", weights_only=True)
            for which in ("1-0", "2-0", "2-1")
        )
        for name, tensor in one.items():
            assert torch.equal(first[name], second[name]), name
            torch.testing.assert_close(first[name], tensor, rtol=1e-9, atol=1e-9)
        frozen, all_of_it = json.loads((tmp_path / f"{optimizer}-2-0.json").read_text())
        assert 2 * size <= all_of_it - frozen < 2 * size + 20  # and what DDP says of its buckets
