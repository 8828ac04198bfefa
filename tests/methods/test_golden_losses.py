"""Losses and queues against the paper's own code."""

import pytest
import torch
from torch.nn import functional as F

from ancor.methods.losses import (
    CONTRASTIVE,
    Contrast,
    classification_loss,
    contrastive_logits,
    contrastive_loss,
    cosine,
)
from ancor.methods.queues import ClassQueues, SingleQueue
from tests.golden_files import arrays, assert_agrees

TOLERANCE = 1e-5


def golden_contrast(metric: str, queue: str) -> Contrast:
    given = {k: torch.from_numpy(v) for k, v in arrays("losses").items() if v.ndim}
    columns = F.normalize(given[queue], dim=-2)
    return Contrast(
        query=given["q"].clone().requires_grad_(),
        key=given["k"],
        columns=columns.view(-1, *columns.shape[-2:]),
        labels=given["y"],
        class_weight=given["W"] if metric == "angular" else None,
        temperature=0.2,
    )


@pytest.mark.parametrize("metric", ["angular", "norm"])
@pytest.mark.parametrize("calculator", [*CONTRASTIVE, "cst_all_multi"])
def test_golden_contrastive(metric, calculator):
    golden, name = arrays("losses"), f"{metric}/{calculator}"
    queue = "squeue" if calculator == "cst_all" else "queue"
    contrast = golden_contrast(metric, queue)
    calculator = calculator.removesuffix("_multi")
    logits = contrastive_logits(calculator, contrast)
    assert_agrees(logits.detach(), golden[f"{name}/logits"], TOLERANCE)
    loss = contrastive_loss(calculator, contrast)
    loss.value.backward()
    assert_agrees(loss.value.detach(), golden[f"{name}/ce"], TOLERANCE)
    assert_agrees(contrast.query.grad, golden[f"{name}/grad_q"], TOLERANCE)


def test_golden_classification():
    golden = arrays("losses")
    logits = torch.from_numpy(golden["cls_logits"]).clone().requires_grad_()
    loss = classification_loss(logits, torch.from_numpy(golden["y"]))
    loss.value.backward()
    assert_agrees(loss.value.detach(), golden["cls/ce"], TOLERANCE)
    assert_agrees(logits.grad, golden["cls/grad"], TOLERANCE)


def test_golden_cosine():
    golden = arrays("losses")
    ours = cosine(torch.from_numpy(golden["q"]), torch.from_numpy(golden["k"]))
    assert_agrees(ours, golden["cosine_loss_q_k"], TOLERANCE)


@pytest.mark.parametrize("kind", ["multi", "single"])
def test_golden_queue(kind):
    golden = arrays("queues")
    start = torch.from_numpy(golden[f"{kind}/init"])
    queue = ClassQueues(*start.shape) if kind == "multi" else SingleQueue(*start.shape)
    queue.queue.copy_(F.normalize(start, dim=-2))
    for step in range(12):
        keys, labels = (torch.from_numpy(golden[f"{name}/{step}"]) for name in ("keys", "labels"))
        queue.enqueue(keys, labels)
        state = F.normalize(torch.from_numpy(golden[f"{kind}/{step}"]), dim=-2)
        assert_agrees(queue.queue, state, TOLERANCE)
        assert queue.queue_ptr.tolist() == golden[f"{kind}_ptr/{step}"].tolist()
