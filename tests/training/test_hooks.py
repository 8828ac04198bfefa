"""What a method may ask of training (spec: the hooks 1 to 12), through the real loop."""

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ancor.cli.train import main
from ancor.data.config import DataConfig
from ancor.data.registry import DATASETS
from ancor.errors import InputError
from ancor.methods.base import Batch, Method
from ancor.methods.config import AncorConfig, MethodConfig
from ancor.methods.losses import LossTerm, classification_loss
from ancor.methods.registry import METHODS, MethodSpec
from ancor.methods.similarities import normalize
from ancor.models.backbones import BACKBONES
from ancor.models.config import EncoderConfig
from ancor.runtime import distributed
from ancor.runtime.devices import Runtime
from ancor.runtime.launch import launch
from ancor.runtime.settings import above, setting
from ancor.training.batches import TrainingBatches
from ancor.training.resolve import resolve
from ancor.training.run import Launch, train
from tests.refusals import refused, refuses, tells
from tests.training.test_distributed import free_group

IMAGES, BATCH = 60, 20


class Small(nn.Module):
    """A backbone whose samples do not touch each other."""

    out_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.layer = nn.Linear(48, self.out_features)

    def forward(self, images: Tensor) -> Tensor:
        return torch.tanh(self.layer(self.avgpool(images).flatten(1)))


@dataclass(frozen=True)
class WholeConfig(MethodConfig):
    temperature: float = setting(0.25, "of the soft targets", above(0), flags=("--cst-t",))
    every: int = setting(2, "epochs between two assignments", above(0))

    def resolved(self, images_of_class: list[int], batch_size: int) -> "WholeConfig":
        if batch_size % 2:
            raise InputError(f"`batch_size` {batch_size}: expected an even number of images")
        return self


class Whole(Method):
    """All hooks at once: a memory of all images, class means, an assignment every few epochs."""

    views = ("weak", "strong", "weak")
    seen: ClassVar[list] = []

    def __init__(
        self, encoder_config: EncoderConfig, config: WholeConfig, labels: Tensor | None = None
    ) -> None:
        super().__init__(encoder_config, config, labels)
        counts = torch.zeros(encoder_config.num_classes, device=labels.device)
        self.counts = counts.index_add(0, labels, torch.ones(len(labels), device=labels.device))
        self.labels = labels
        self.means = nn.Parameter(torch.randn(encoder_config.num_classes, 8))
        self.unused = nn.Parameter(torch.ones(3))
        self.register_buffer("memory", torch.zeros(len(labels), 8))
        self.register_buffer("assigned", torch.zeros(len(labels), dtype=torch.int64))
        self.assignments = 0
        self.waiting: list[tuple[Tensor, Tensor]] = []

    def gathered(self, batch: Batch, features: Tensor) -> tuple[Tensor, Tensor]:
        indices = batch.indices.to(features.device)
        every = (distributed.gather(part, batch.images) for part in (indices, features.float()))
        return tuple(every)

    @torch.no_grad()
    def before_training(self, batches: TrainingBatches) -> None:
        self.seen.append(("training", self.training, torch.is_autocast_enabled("cpu")))
        for batch in batches.another_pass("fill"):
            indices, features = self.gathered(batch, self.encode(batch.views[0]).features)
            self.memory[indices] = features

    @torch.no_grad()
    def before_epoch(self, epoch: int, batches: TrainingBatches) -> None:
        self.seen.append((epoch, self.training, torch.is_autocast_enabled("cpu")))
        if epoch % self.config.every:
            return
        self.assignments += 1
        self.assigned.copy_((self.memory.double() @ torch.randn(8, 1).double() > 0)[:, 0])

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        assert torch.equal(self.labels[batch.indices], batch.labels)
        output = self.encode(torch.cat(batch.views))
        first, *_ = output.features.float().chunk(3)
        self.waiting.append(self.gathered(batch, first.detach()))
        logits = first @ self.means.T
        soft = (
            self.memory[batch.indices] @ self.means.detach().T / self.config.temperature
        ).softmax(1)
        value = -(soft * logits.log_softmax(1)).sum(1).mean()
        return {
            "soft": LossTerm(value),
            "means": classification_loss(logits, batch.labels),
            "head": classification_loss(output.logits, batch.labels.repeat(3)),
            "assigned": LossTerm(F.mse_loss(first.sum(1), self.assigned[batch.indices].float())),
        }

    def after_step(self, good: Tensor | None = None) -> None:
        indices, features = (torch.cat(part) for part in zip(*self.waiting, strict=True))
        self.memory[indices] = torch.where(good, features, self.memory[indices])
        self.waiting.clear()

    def extra_state(self) -> dict:
        return {"assignments": self.assignments}

    def load_extra_state(self, state) -> None:
        self.assignments = state["assignments"]


class Pairs(Method):
    """Compares all images of a batch, whatever process holds them."""

    views, accumulates = ("strong", "strong"), False

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        vectors = normalize(self.encode(torch.cat(batch.views)).embedding.float()).chunk(2)
        both = [distributed.gather_with_gradient(one, batch.images) for one in vectors]
        labels = distributed.gather(batch.labels, batch.images).repeat(2)
        own = distributed.rank_slice(batch.images)
        logits = vectors[0] @ torch.cat(both).T / 0.5
        same = (batch.labels[:, None] == labels).float()
        mine = torch.arange(batch.images)[own]
        logits[torch.arange(len(mine)), mine] = -1e4
        same[torch.arange(len(mine)), mine] = 0
        value = -(logits.log_softmax(1) * same).sum(1) / same.sum(1)
        return {"pairs": LossTerm(value.mean())}


DEFAULTS = {"lr": 0.05, "mlp": True, "dim": 6}
SPECS = {
    "whole": MethodSpec(Whole, WholeConfig, DEFAULTS),
    "pairs": MethodSpec(Pairs, MethodConfig, {"head": "none"}),
}


@pytest.fixture(autouse=True)
def tables():
    before = [(table, dict(table)) for table in (METHODS, BACKBONES, DATASETS)]
    register()
    yield
    for table, entries in before:
        table.clear()
        table.update(entries)


def register() -> None:
    METHODS.update(SPECS)
    BACKBONES["small"] = Small
    spec = DATASETS["digits"]
    DATASETS["few"] = replace(spec, reader=few, transforms=spec.transforms.augmented("full"))


def few(partition: str):
    return DATASETS["digits"].load(partition, None).subset(np.arange(IMAGES))


def run(folder: Path, method: str = "whole", precision: str = "fp32", **given) -> dict:
    """Train, or go on where the folder holds a run; return what last.pth.tar holds."""
    from ancor.checkpoints import checkpoint

    last = folder / "last.pth.tar"
    content = checkpoint.read(str(last)) if last.exists() else None
    settings = {"dataset": "few", "mode": "coarse", "name": method, "arch": "small", "epochs": 4}
    settings |= {"batch_size": BATCH, "val_episodes": 0, "print_freq": 1, "workers": 0}
    config, _ = resolve(settings | given)
    train(config, Launch(folder, Runtime.named("cpu", precision), content, last))
    return torch.load(last, weights_only=True) if distributed.is_main_process() else {}


def records(folder: Path) -> list[dict]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "step"]


def assert_same(ours, theirs) -> None:
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert_same(ours[name], theirs[name])
    elif isinstance(ours, list):
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif torch.is_tensor(ours):
        assert torch.equal(ours, theirs)
    else:
        assert ours == theirs


@pytest.mark.parametrize("stops", [(2,), (3,), (4, 5, 7)], ids=str)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_method_ends_as_one_that_was_not_stopped(stops, precision, tmp_path):
    """1 to 4: facts, passes, parameters and state; in mid-epoch, at an epoch's end; in bf16."""
    Whole.seen = []
    flags = {"precision": precision, "warmup_epochs": 1.5, "cos": True, "num_cycles": 1}
    whole = run(tmp_path / "whole", **flags)
    bf16 = precision == "bf16"
    once = [("training", True, bf16), *((epoch, True, bf16) for epoch in range(4))]
    assert Whole.seen == once
    Whole.seen = []
    for stop in (*stops, None):
        parts = run(tmp_path / "parts", max_steps=stop, **flags)
    assert Whole.seen == once  # no epoch's preparation was done twice
    for section in ("state_dict", "optimizer"):
        assert_same(parts[section], whole[section])
    assert parts["progress"]["assignments"] == whole["progress"]["assignments"] == 2
    rates = [[r["lr"] for r in records(tmp_path / name)] for name in ("whole", "parts")]
    assert rates[0] == rates[1]


def test_what_is_beside_the_encoder_is_trained_and_saved(tmp_path):
    """3, 4: also a parameter that no loss reached, whose gradient is 0; 9: no accuracies."""
    begun = run(tmp_path / "run", max_steps=1, lr=1e-9)["state_dict"]
    ended = run(tmp_path / "run")["state_dict"]
    assert not torch.equal(begun["module.means"], ended["module.means"])
    assert not torch.equal(begun["module.memory"], ended["module.memory"])
    assert ended["module.assigned"].dtype == torch.int64
    assert torch.allclose(ended["module.unused"], begun["module.unused"], atol=1e-3)  # decayed
    record = records(tmp_path / "run")[-1]
    assert record["loss/soft"] > 0
    assert "top1/soft" not in record
    assert "top1/means" in record
    best = torch.load(tmp_path / "run" / "model_best.pth.tar", weights_only=True)["state_dict"]
    assert all(name.startswith("module.encoder_q.") for name in best)


def test_a_file_of_other_images_does_not_fit_the_memory(tmp_path):
    """4: a memory of as many rows as images were, in one line."""
    run(tmp_path / "run", max_steps=1)
    DATASETS["few"] = replace(
        DATASETS["few"], reader=lambda partition: few(partition).subset(np.arange(40))
    )
    with refuses("last.pth.tar'", "memory", "(40, 8)"):
        run(tmp_path / "run")


def test_the_loops_own_names_are_refused():
    from types import SimpleNamespace

    from ancor.training.state import trainer_state
    from ancor.training.trainer import Trainer

    class Taken(Pairs):
        def extra_state(self) -> dict:
            return {"step": 3}

    method = Taken(EncoderConfig("small", "none", num_classes=2), MethodConfig())
    batches = SimpleNamespace(batch_size=4, device=torch.device("cpu"))
    trainer = Trainer(method, batches, resolve({"mode": "coarse"})[0].training, None, None, None)
    with refuses("'step'", kind=ValueError):
        trainer_state(trainer)


def test_an_undone_step_leaves_the_memory(tmp_path):
    """4: what `after_step` writes depends on `good`."""

    class Breaks(Whole):
        def losses(self, batch: Batch) -> dict[str, LossTerm]:
            terms = super().losses(batch)
            if len(self.memories) == 2:
                terms["soft"] = LossTerm(terms["soft"].value * torch.inf)
            self.memories.append(self.memory.clone())
            return terms

    Breaks.memories = []
    METHODS["breaks"] = MethodSpec(Breaks, WholeConfig)
    run(tmp_path / "run", "breaks", epochs=2, skip_nonfinite=1)
    same = [torch.equal(one, other) for one, other in pairwise(Breaks.memories)]
    assert same == [False, False, True, False, False]


def batches_of(views: tuple[str, ...], on_device: bool = False, workers: int = 0):
    transforms = DATASETS["few"].transforms
    partition = few("train")
    labels = partition.coarse_labels
    device = torch.device("cpu")
    return TrainingBatches(
        partition, labels, transforms, views, BATCH, 3, workers, device, on_device
    )


@pytest.mark.parametrize("on_device", [False, True])
def test_views_of_different_kinds(on_device):
    """5: a weak view is the dataset's without color and blur, wherever colors are changed."""
    mixed = next(batches_of(("weak", "strong", "weak"), on_device).epoch(0))
    plain = DATASETS["few"] = replace(
        DATASETS["few"], transforms=DATASETS["few"].transforms.augmented("crops")
    )
    assert not plain.transforms.draws_colors
    weak = next(batches_of(("strong",)).epoch(0))
    assert torch.equal(mixed.indices, weak.indices)
    gray = weak.views[0]
    assert torch.allclose(mixed.views[0], gray, atol=1e-6)
    assert not torch.allclose(mixed.views[1], gray, atol=0.1)
    assert not torch.equal(mixed.views[0], mixed.views[2])


def test_a_kind_that_is_unknown_is_named():
    with refuses("'stronk'", "strong, weak"):
        batches_of(("stronk",))


@pytest.mark.parametrize("workers", [0, 1])
def test_another_pass_draws_apart_from_epochs(workers):
    """2: its views and order are of its purpose and number, and leave the epochs' as they are."""
    batches = batches_of(("strong",), workers=workers)
    before = list(batches.epoch(0))
    passes = [list(batches.another_pass("fill", number)) for number in (0, 0, 1)]
    passes.append(list(batches.another_pass("assign", 0)))
    after = list(batches.epoch(0))
    assert_same([list(b.views) for b in before], [list(b.views) for b in after])
    assert_same([list(b.views) for b in passes[0]], [list(b.views) for b in passes[1]])
    orders = [torch.cat([b.indices for b in one]).tolist() for one in (before, *passes[1:])]
    assert len({tuple(order) for order in orders}) == 4
    assert all(sorted(order) == list(range(IMAGES)) for order in orders)
    image = orders[0][0]
    views = [torch.cat([b.views[0] for b in one])[order.index(image)]
             for one, order in zip((before, *passes[1:]), orders, strict=True)]  # fmt: skip
    assert len({view.numpy().tobytes() for view in views}) == 4


def test_a_pass_that_is_left_early_leaves_no_trace():
    batches = batches_of(("strong",), workers=1)
    next(batches.another_pass("fill"))
    assert len(list(batches.epoch(1))) == IMAGES // BATCH
    batches = batches_of(("strong",))
    assert_same(
        [b.indices for b in batches.epoch(1)], [b.indices for b in batches_of(("weak",)).epoch(1)]
    )


def rates_of_steps(folder: Path, **given) -> list[float]:
    run(folder, "pairs", **given)
    return [record["lr"] for record in records(folder)]


def test_the_rate_of_every_step(tmp_path):
    """6: MaskCon's: it rises from 0 over the warm-up, then falls as one cosine, step by step."""
    lr, epochs, warmup, steps = 0.2, 5, 2, IMAGES // BATCH
    flags = {"lr": lr, "epochs": epochs, "cos": True, "num_cycles": 1}
    found = rates_of_steps(tmp_path / "run", warmup_epochs=float(warmup), **flags)
    expected = []
    for step in range(epochs * steps):
        done = (step - warmup * steps) / ((epochs - warmup) * steps)
        falls = lr * (1 + np.cos(np.pi * done)) / 2
        expected.append(lr * step / (warmup * steps) if done < 0 else falls)
    assert found[0] == 0
    assert np.allclose(found, expected, rtol=1e-12, atol=0)


def test_the_rate_of_steps_with_milestones_and_of_part_of_an_epoch(tmp_path):
    flags = {"lr": 0.1, "epochs": 3, "schedule": (2,), "gamma": 0.5}
    found = rates_of_steps(tmp_path / "run", warmup_epochs=1.4, **flags)  # 4 steps of 3 an epoch
    assert np.allclose(found, [0, 0.025, 0.05, 0.075, 0.1, 0.1, 0.05, 0.05, 0.05])


def test_without_a_warm_up_the_rate_is_an_epochs_to_the_bit(tmp_path):
    from ancor.training.schedules import cosine_rate

    found = rates_of_steps(tmp_path / "run", lr=0.3, epochs=4, cos=True, num_cycles=1)
    assert found == [cosine_rate(0.3, step // 3, 4, 1) for step in range(12)]


def test_a_warm_up_that_never_ends_is_told(tmp_path, caplog):
    with caplog.at_level("INFO"):
        run(tmp_path / "run", "pairs", warmup_epochs=4.0)
    assert tells(caplog.text, "`warmup_epochs` 4", "4 epochs")


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e300", "some"])
def test_a_warm_up_that_is_no_number_of_epochs_is_refused(value, capsys):
    command = ["--dataset", "digits", "--mode", "coarse", f"--warmup-epochs={value}"]
    shown = "'some'" if value == "some" else str(float(value))
    refused(main, command, capsys, "--warmup-epochs", shown)


def test_defaults_of_a_method_go_before_a_datasets_and_after_flags():
    """11: digits' settings suit ANCOR; a method's own defaults are not overwritten by them."""
    given = {"dataset": "digits", "mode": "coarse", "name": "whole"}
    config, taken = resolve(given)
    own = taken["digits's own defaults"]
    assert config.method.temperature == 0.25
    assert (config.training.lr, config.encoder.mlp, config.encoder.dim) == (0.05, True, 6)
    assert config.training.batch_size == DataConfig("digits").spec.training_defaults["batch_size"]
    assert own.keys() <= {"arch", "batch_size", "epochs", "save_freq"}
    config, _ = resolve(given | {"lr": 0.5, "temperature": 2.0})
    assert (config.training.lr, config.method.temperature) == (0.5, 2.0)
    ancor, _ = resolve({"dataset": "digits", "mode": "coarse"})
    assert ancor.method == replace(
        AncorConfig(), temperature=0.5, queue_length=256, encoder_momentum=0.99
    )


def test_a_method_may_refuse_a_batch_size_or_micro_batches(tmp_path):
    """8, 11: before anything is written."""
    with refuses("`batch_size` 15"):
        run(tmp_path / "run", batch_size=15)
    with refuses("`accumulate` 2", "pairs"):
        run(tmp_path / "run", "pairs", accumulate=2)
    assert not (tmp_path / "run").exists()


def train_all(folder: str) -> None:
    """Train each method in this group of processes."""
    register()
    for name, given in CASES.items():
        method, _, _ = name.partition(" ")
        run(Path(folder) / f"{distributed.world_size()} {name}", method, epochs=2, **given)


CASES = {
    "whole": {},
    "whole accumulated": {"accumulate": 2},
    "pairs": {},
    "pairs odd": {"batch_size": 19},
}
CASES["whole odd"] = {"batch_size": 18, "accumulate": 3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    before = [(table, dict(table)) for table in (METHODS, BACKBONES, DATASETS)]
    train_all(str(folder))
    for table, entries in before:
        table.clear()
        table.update(entries)
    launch(train_all, free_group(), str(folder))
    return folder


def two_as_one(folders: Path, case: str) -> list[dict]:
    """Assert that two processes end in the weights of one; return both checkpoints."""
    one, two = (
        torch.load(folders / f"{count} {case}" / "last.pth.tar", weights_only=True)
        for count in (1, 2)
    )
    for name, tensor in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    return [one, two]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_do_what_one_does(case, folders):
    """1 to 4, 8: passes, means beside the encoder, memory, and pairs over both processes."""
    one, two = two_as_one(folders, case)
    assert one["progress"].get("assignments") == two["progress"].get("assignments")


def test_a_run_with_a_frozen_layer_goes_on(tmp_path):
    """3: ANCOR freezes what no loss reaches; such a run could not be resumed."""
    flags = {"head": "fork", "metric": "norm", "calculators": ("cst_by_class",)}
    flags |= {"queue_length": 8}
    whole = run(tmp_path / "whole", "ancor", **flags)
    run(tmp_path / "parts", "ancor", max_steps=4, **flags)
    parts = run(tmp_path / "parts", "ancor", **flags)
    for section in ("state_dict", "optimizer"):
        assert_same(parts[section], whole[section])
