"""Schedules and four steps of training against the paper's own code."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ancor.checkpoints.state_dicts import PREFIX
from ancor.methods.ancor import Ancor
from ancor.methods.base import Batch
from ancor.methods.config import AncorConfig
from ancor.models.config import EncoderConfig
from ancor.training.schedules import cosine_rate, step_rate
from ancor.training.state import method_state
from tests.cases import slow
from tests.golden_files import array, arrays, assert_agrees, fill_

SCHEDULES = {
    "cos10_200": lambda epoch: cosine_rate(0.03, epoch, 200, 10),
    "cos1_800": lambda epoch: cosine_rate(0.03, epoch, 800, 1),
    "cos3_100": lambda epoch: cosine_rate(0.1, epoch, 100, 3),
    "step": lambda epoch: step_rate(0.03, epoch, (120, 160), 0.1),
    "step_g": lambda epoch: step_rate(0.5, epoch, (5, 5, 20), 0.3),
}
METHODS = {
    "ancor": ("seq", "multi", "angular", ("cls", "cst_by_class")),
    "moco": ("none", "single", "norm", ("cst_all",)),
    "coarse": ("cls", "none", "norm", ("cls",)),
    "fork_norm": ("fork", "multi", "norm", ("cls", "cst_by_class")),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_golden_schedule(name):
    golden = arrays("lr_schedules")[name]
    assert_agrees([SCHEDULES[name](epoch) for epoch in range(len(golden))], golden, 1e-12)


def start(method: Ancor) -> None:
    """Put a method into the trace's first state (golden/README.md)."""
    state = {name.removeprefix(PREFIX): t for name, t in method_state(method).items()}
    fill_({name: t for name, t in state.items() if name.startswith("encoder_q.")})
    if method.queue is None:
        return
    ours, theirs = method.key_encoder.shared_parameters(), method.encoder.shared_parameters()
    for key, query in zip(ours, theirs, strict=True):
        key.data.copy_(query.data)
    for name, tensor in state.items():
        if name.startswith("encoder_k.") and "running" in name:
            tensor.copy_(state[name.replace("encoder_k.", "encoder_q.")])
    shape = tuple(method.queue.queue.shape)
    columns = torch.from_numpy(array(f"trace_queue_{len(shape)}", shape))
    method.queue.queue.copy_(F.normalize(columns, dim=-2))


def batch(step: int) -> Batch:
    views = (torch.from_numpy(array(f"x{which}{step}", (8, 3, 64, 64))).double() for which in "qk")
    labels = torch.from_numpy((abs(array(f"ty{step}", (8,))) * 1e4).astype(np.int64) % 5)
    return Batch(tuple(views), labels, torch.arange(8))


# Heads, queues and losses of the slow ones are those of the others; the metric of one is tested in
# tests/methods/test_golden_losses.py as well.
@pytest.mark.parametrize(
    "name", [slow(name) if name in ("fork_norm", "moco") else name for name in METHODS]
)
def test_golden_trace(name):
    golden = arrays("train_trace")
    head, queue, metric, calculators = METHODS[name]
    method = Ancor(
        EncoderConfig("resnet50", head, mlp=True, dim=32, num_classes=5),
        AncorConfig(queue, 48, metric, calculators, 0.2, 0.9),
    )
    start(method)
    method.double().train()
    if method.queue is not None:  # the trace's queue was normalized in fp32, ours must be in fp64
        method.queue.queue.copy_(F.normalize(method.queue.queue, dim=-2))
    optimizer = torch.optim.SGD(
        method.encoder.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4
    )
    for step in range(4):
        losses = [term.value for term in method.losses(batch(step)).values()]
        assert_agrees(torch.stack(losses).detach(), golden[f"{name}/losses/{step}"], 1e-6)
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
        method.after_step()
    state = method_state(method)
    for key in (k for k in golden if k.startswith(f"{name}/final/")):
        if name == "coarse" and "encoder_k" in key:  # ours keeps no key encoder there
            continue
        assert_agrees(state[PREFIX + key.removeprefix(f"{name}/final/")][:8], golden[key], 1e-6)
    if method.queue is not None:
        columns = F.normalize(torch.from_numpy(golden[f"{name}/queue"]), dim=-2)
        assert_agrees(method.queue.queue, columns, 1e-6)
        assert method.queue.queue_ptr.tolist() == golden[f"{name}/queue_ptr"].tolist()
