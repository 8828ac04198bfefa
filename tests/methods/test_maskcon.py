"""MaskCon, Grafit and CoIns as MaskCon's code has them: its numbers, and what none shows."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ancor.methods.base import Batch
from ancor.methods.contrastive_config import GrafitConfig, MaskConConfig
from ancor.methods.maskcon import CoinsMaskCon, Grafit, MaskCon, soft_targets
from ancor.methods.queues import LabeledQueue
from ancor.models.backbones import BACKBONES
from ancor.models.config import EncoderConfig
from ancor.models.encoder import EncoderOutput
from ancor.training.config import TrainConfig
from tests.cases import first_quick
from tests.golden_files import assert_agrees
from tests.golden_methods import agrees, arrays, drawn, fill_, tensor
from tests.methods.test_supcon import Flat
from tests.refusals import refuses

KINDS = {
    "maskcon": (MaskCon, MaskConConfig),
    "grafit": (Grafit, GrafitConfig),
    "coins": (CoinsMaskCon, GrafitConfig),
}


def told(kind: str, labels: str, rows: slice = slice(None), **settings) -> tuple:
    """Return a method whose networks give the golden embeddings, a batch, and these embeddings."""
    given = {name: tensor("maskcon", name)[rows] for name in ("q_raw", "k_raw", "cls_logits")}
    given["queue"], of_images = tensor("maskcon", "queue"), tensor("maskcon", "labels")[rows]
    classes, (dim, length) = given["cls_logits"].shape[1], given["queue"].shape
    (method_kind, config_kind) = KINDS[kind]
    config = config_kind(temperature=float(arrays("maskcon")["T1"]), queue_length=length,
                         name=kind, **settings)  # fmt: skip
    BACKBONES["flat"] = Flat
    method = method_kind(EncoderConfig("flat", "none", dim=dim, num_classes=classes), config)
    method.double()
    method.queue.queue.copy_(given["queue"])
    method.queue.queue_labels.copy_(tensor("maskcon", labels))
    query = given["q_raw"].requires_grad_()
    logits = given["cls_logits"].requires_grad_()
    if kind == "coins":
        method.classifier = torch.nn.Identity()
        method.classifier.weight = logits
    method.encoder.forward = lambda images: EncoderOutput(logits, query, None)
    method.key_encoder.forward = lambda images: EncoderOutput(None, given["k_raw"], None)
    batch = Batch((torch.empty(0),) * 2, of_images, torch.arange(len(query)))
    return method, batch, query, logits


@pytest.fixture(autouse=True)
def table():
    before = dict(BACKBONES)
    yield
    BACKBONES.clear()
    BACKBONES.update(before)


def cases() -> list[str]:
    return [name.removesuffix("/loss") for name in arrays("maskcon") if name.endswith("/loss")]


@pytest.mark.parametrize("case", cases())
def test_golden_loss(case):
    kind, *parts, weight = case.split("/")
    settings = {"coarse_weight": float(weight.removeprefix("w="))}
    if parts:
        settings["target_temperature"] = float(parts[0].removeprefix("T2="))
    method, batch, query, logits = told(kind, "queue_labels", **settings)
    value = sum(term.value for term in method.losses(batch).values())
    value.backward()
    agrees(value, "maskcon", f"{case}/loss")
    agrees(query.grad, "maskcon", f"{case}/grad_q_raw")
    if kind != "maskcon":
        gradient = torch.zeros_like(logits) if logits.grad is None else logits.grad
        agrees(gradient, "maskcon", f"{case}/grad_cls")


def test_golden_soft_targets():
    columns, labels = tensor("maskcon", "queue"), tensor("maskcon", "labels")
    key = F.normalize(tensor("maskcon", "k_raw"), dim=1)
    found = [name for name in arrays("maskcon") if "labels" in name and "T2=" in name]
    assert found
    for name in found:
        _, of_targets, *weight = name.removesuffix("/labels").split("/")
        weight = 1.0 if "w1" in weight[0] else float(weight[0].removeprefix("w="))
        same = labels[:, None] == tensor("maskcon", "queue_labels")
        ours = soft_targets(key, columns, same, float(of_targets.removeprefix("T2=")), weight)
        agrees(ours, "maskcon", name)


def test_golden_terms_and_logits():
    """`grafit` and `coins` at a w of 0 and 1 are the terms of each sample."""
    images = len(arrays("maskcon")["labels"])
    for kind, weight, of in (("grafit", 0, "self"), ("grafit", 1, "supcon"), ("coins", 1, "cls")):
        terms = []
        for row in range(images):
            rows = slice(row, row + 1)
            method, batch, *_ = told(kind, "queue_labels", rows, coarse_weight=float(weight))
            terms.append(sum(term.value for term in method.losses(batch).values()).detach())
        agrees(torch.stack(terms), "maskcon", f"terms/{of}")
    query, key = (F.normalize(tensor("maskcon", name), dim=1) for name in ("q_raw", "k_raw"))
    queue, scale = tensor("maskcon", "queue"), float(arrays("maskcon")["T1"])
    logits = torch.cat([(query * key).sum(1, keepdim=True), query @ queue], 1) / scale
    agrees(logits, "maskcon", "logits")


def test_golden_queue():
    method, batch, _, _ = told("maskcon", "queue_labels")
    method.losses(batch)
    method.after_step()
    agrees(method.queue.queue, "maskcon", "queue_after")
    for ours, name in (
        (method.queue.queue_labels, "queue_labels"),
        (method.queue.queue_ptr, "ptr"),
    ):
        assert ours.tolist() == arrays("maskcon")[f"{name}_after"].tolist()


def test_golden_class_without_a_key():
    """The published code divides 0 by 0; here such an image has itself as its target."""
    assert np.isnan(arrays("maskcon")["absent/authors_loss"])
    assert np.isnan(arrays("maskcon")["absent/authors_labels_row0"]).any()
    for weight in (0.3, 1.0):
        method, batch, query, _ = told("maskcon", "absent/queue_labels", coarse_weight=weight)
        labels = tensor("maskcon", "absent/queue_labels")
        same = batch.labels[:, None] == labels
        key = F.normalize(tensor("maskcon", "k_raw"), dim=1)
        targets = soft_targets(key, tensor("maskcon", "queue"), same, 0.05, weight)
        alone = ~same.any(1)
        assert alone[0]
        own = F.one_hot(torch.tensor(0), targets.shape[1]).double()
        assert torch.equal(targets[alone], own.expand_as(targets[alone]))
        assert torch.allclose(targets.sum(1), torch.ones(len(targets)).double())
        sum(term.value for term in method.losses(batch).values()).backward()
        assert query.grad.isfinite().all()
    method, batch, query, _ = told("grafit", "absent/queue_labels", coarse_weight=0.8)
    value = sum(term.value for term in method.losses(batch).values())
    value.backward()
    agrees(value, "maskcon", "absent/grafit_w0.8_loss")
    agrees(query.grad, "maskcon", "absent/grafit_w0.8_grad_q_raw")


@pytest.mark.parametrize("which", "ab")
def test_golden_rates(which):
    lr, epochs, warmup, batches = arrays("maskcon")[f"lr/{which}/config"].tolist()
    config = TrainConfig(lr=lr, epochs=int(epochs), warmup_epochs=warmup, cos=True, num_cycles=1)
    rates = [
        config.rate(epoch, batch, int(batches))
        for epoch in range(int(epochs))
        for batch in range(int(batches))
    ]
    assert_agrees(rates, arrays("maskcon")[f"lr/{which}/rates"], 1e-12)


def traces() -> list[str]:
    return sorted({name.split("/")[1] for name in arrays("maskcon") if name.endswith("/config")
                   and name.startswith("trace/")})  # fmt: skip


def published_names(encoder, classifier) -> dict[str, torch.Tensor]:
    """Return an encoder's tensors, and a classifier's, by the names of the published code."""
    state = {f"net.{name}": t for name, t in encoder.backbone.state_dict().items()}
    state |= {f"projector.{name}": t for name, t in encoder.head.state_dict().items()}
    return state | {f"classifer.{name}": t for name, t in classifier.state_dict().items()}


@pytest.mark.parametrize("trace", first_quick(reversed(traces())))
def test_golden_trace(trace):
    kind, stem = trace.split("_")
    steps, images, dim, length, classes, pixels, _ = arrays("maskcon")[f"trace/{trace}/config"]
    hyper = dict(zip(("m", "T1", "T2", "w", "lr", "momentum", "decay"),
                     arrays("maskcon")[f"trace/{trace}/hyper"].tolist(), strict=True))  # fmt: skip
    method_kind, config_kind = KINDS[kind]
    settings = {"target_temperature": hyper["T2"]} if kind == "maskcon" else {}
    settings |= {"temperature": hyper["T1"], "encoder_momentum": hyper["m"], "name": kind}
    config = config_kind(coarse_weight=hyper["w"], queue_length=int(length), **settings)
    arch = "resnet18forcifar" if stem == "stem32" else "resnet18"
    method = method_kind(EncoderConfig(arch, "none", True, int(dim), int(classes)), config)
    # A classifier that no loss reads is not built; the published code's stays as it began.
    features = method.encoder.backbone.out_features
    classifier = getattr(method, "classifier", torch.nn.Linear(features, int(classes)))
    query = published_names(method.encoder, classifier)
    fill_("maskcon", query)
    method.key_encoder.load_state_dict(method.encoder.state_dict())
    method.double().train()
    # Nothing reads a key encoder's classifier, and so none is kept: its average is followed here.
    averaged = classifier.double().weight.detach().clone()
    method.queue.queue.copy_(tensor("maskcon", "trace/queue0"))
    method.queue.queue_labels.copy_(tensor("maskcon", "trace/queue_labels0"))
    optimizer = torch.optim.SGD(
        method.parameters_to_train(), hyper["lr"], hyper["momentum"], weight_decay=hyper["decay"]
    )
    losses = []
    for step in range(int(steps)):
        shape = (int(images), 3, int(pixels), int(pixels))
        views = tuple(drawn("maskcon", f"x{which}{step}", shape) for which in "qk")
        labels = tensor("maskcon", f"trace/y{step}")
        averaged.lerp_(classifier.weight.detach(), 1 - hyper["m"])
        value = sum(t.value for t in method.losses(Batch(views, labels, labels)).values())
        losses.append(value.detach())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        method.after_step()
        agrees(method.queue.queue, "maskcon", f"trace/{trace}/queue{step + 1}")
    agrees(torch.stack(losses), "maskcon", f"trace/{trace}/losses")
    golden = arrays("maskcon")
    assert (
        method.queue.queue_labels.tolist() == golden[f"trace/{trace}/queue_labels_after"].tolist()
    )
    assert method.queue.queue_ptr.tolist() == golden[f"trace/{trace}/ptr"].tolist()
    state = {
        "encoder_q": published_names(method.encoder, classifier),
        "encoder_k": published_names(method.key_encoder, classifier)
        | {"classifer.weight": averaged},
    }
    slices = [name for name in golden if name.startswith(f"trace/{trace}/encoder_")]
    assert slices
    for name in slices:
        encoder, _, inside = name.split("/")[2].partition(".")
        ours = state[encoder][inside.removesuffix("[:8]")].flatten()[:8]
        agrees(ours, "maskcon", name)


def test_a_queue_knows_the_label_of_each_key():
    """Over its end, by more keys than it holds, and not where a step is undone."""
    queue = LabeledQueue(4, 5)
    assert queue.queue_labels.tolist() == [-1] * 5
    for count, expected in ((3, [0, 1, 2, -1, -1]), (4, [2, 3, 2, 0, 1]), (7, [3, 4, 5, 6, 2])):
        keys = torch.randn(count, 4)
        before = queue.queue.clone(), queue.queue_labels.clone(), queue.queue_ptr.clone()
        queue.enqueue(keys, torch.arange(count), torch.tensor(False))
        after = queue.queue, queue.queue_labels, queue.queue_ptr
        assert all(map(torch.equal, before, after))
        queue.enqueue(keys, torch.arange(count), torch.tensor(True))
        assert queue.queue_labels.tolist() == expected
        for label, column in zip(queue.queue_labels.tolist(), queue.queue.T, strict=True):
            if count == 7:  # all are of this call
                torch.testing.assert_close(column, F.normalize(keys[label], dim=0))


class Passes:
    """Two batches of five images a pass, whose views tell their pass."""

    def __init__(self) -> None:
        self.asked = []

    def another_pass(self, purpose: str, number: int):
        self.asked.append((purpose, number))
        for first in (0, 5):
            images = torch.arange(first, first + 5)
            view = torch.full((5, 3, 2, 2), float(number))
            view[range(5), 0, 0, 0] = 1.0 + images
            yield Batch((torch.full_like(view, torch.nan), view), images % 3, images)


def test_the_queue_is_filled_before_training_by_weak_views():
    """With several keys of an image where it is longer than the set; none is left random."""
    BACKBONES["flat"] = Flat
    for length, asked in ((8, 1), (23, 3)):
        config = MaskConConfig(queue_length=length)
        method = MaskCon(EncoderConfig("flat", "none", dim=4, num_classes=3), config)
        passes = Passes()
        method.before_training(passes)
        assert passes.asked == [("queue", number) for number in range(asked)]
        keys, labels = [], []
        for number in range(asked):
            for batch in Passes().another_pass("", number):
                keys.append(method.key_encoder(batch.views[1]).embedding.detach())
                labels.append(batch.labels)
        keys, labels = torch.cat(keys), torch.cat(labels)
        count = -(-length // 5) * 5  # whole batches
        for place in range(count - length, count):
            column = method.queue.queue[:, place % length]
            torch.testing.assert_close(column, F.normalize(keys[place], dim=0))
            assert method.queue.queue_labels[place % length] == labels[place]


def test_a_head_with_a_classifier_is_refused():
    with refuses("maskcon", "`head` fork", "`head` none"):
        MaskConConfig(name="maskcon").check("fork")
