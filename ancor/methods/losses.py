"""Contrastive and classification losses, as pure functions on tensors.

The paper: Bukchin et al., "Fine-grained Angular Contrastive Learning with Coarse Labels", CVPR
2021, arXiv 2012.03515. Shapes: N samples, D embedding size, C classes, K columns of a queue.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from ancor.methods.similarities import (
    Groups,
    angular,
    angular_similarities,
    grouped_products,
    normalize,
    on_device,
    wide,
)

# Logits that one block of a loss may hold: bounds the memory that a loss needs beside the queue. An
# accelerator takes longer to be told of a small block than to compute it: there a batch of 256 with
# the paper's queue is one block.
BLOCK_ELEMENTS = 1 << 20
SHARED = 4  # times as many where each block reads the same keys again, which is what takes its time
ACCELERATOR_ELEMENTS = 1 << 25


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of logits (N, C) and labels (N,), times `weights` (C,) of the classes.

    It is divided by N, not by the sum of the weights that happen to be in the batch as torch's is:
    so the parts of a batch, and processes, add up to the whole.
    """
    if weights is None:
        return F.cross_entropy(logits, labels)
    return (F.cross_entropy(logits, labels, reduction="none") * weights[labels]).mean()


def cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Negative mean cosine similarity of two batches of vectors (N, D); no gradient to `target`.

    As in SimSiam (Chen and He, CVPR 2021, arXiv 2011.10566). It fits calculators that give a pair
    of vectors; none of the four here does.
    """
    return -(normalize(prediction) * normalize(target.detach())).sum(1).mean()


class Contrast(NamedTuple):
    """What a contrastive calculator is given.

    Attributes:
        query: embeddings of one view, (N, D), with gradient.
        key: embeddings of the other view, (N, D), without.
        columns: unit keys of the queue before this batch is put in: R rings, (R, D, K).
        labels: classes of the samples, (N,), on the host, where they group the batch.
        class_weight: (C, D) for the metric `angular`; None for `norm`.
        temperature: T, by which similarities are divided.
        filled: leading columns of each ring that count, (R,); the others get a logit of minus
            infinity. None: all count.
    """

    query: Tensor
    key: Tensor
    columns: Tensor
    labels: Tensor
    class_weight: Tensor | None
    temperature: float
    filled: Tensor | None = None

    def under_metric(self) -> "Contrast":
        """Return this with q' / T, k' and unit class weights.

        Logits are linear in q', so that T divides N x D numbers here and not N x K of them.
        """
        query, key, weights = wide(self.query), wide(self.key).detach(), self.class_weight
        if weights is None:
            query, key = normalize(query), normalize(key)
        else:
            weights = normalize(wide(weights.detach()))
            own = weights[self.labels.to(weights.device, non_blocking=True)]
            query, key = angular(query, own), angular(key, own)
        return self._replace(query=query / self.temperature, key=key, class_weight=weights)

    def similarities(self, query: Tensor, groups: Groups) -> Tensor:
        """Logits (n, K) of q' / T (n, D) with the keys of each row's ring under the metric."""
        if self.class_weight is None:
            result = grouped_products(query, self.columns, groups)
        else:
            result = angular_similarities(query, self.columns, self.class_weight, groups)
        if self.filled is None:
            return result
        rings, counts = zip(*groups, strict=True)
        filled = self.filled[on_device(np.repeat(rings, counts), query.device)]
        beyond = torch.arange(result.shape[1], device=result.device) >= filled[:, None]
        return result.masked_fill(beyond, -torch.inf)

    def logits(self, rows: Tensor, groups: Groups) -> Tensor:
        """Logits (n, 1 + K) of some rows of the batch, by `groups`, the positive first."""
        return self._with_positive(rows, self.similarities(self.query[rows], groups))

    def logits_of_all(self, rows: Tensor) -> Tensor:
        """Logits (n, 1 + R K) of some rows of the batch with all rings, the positive first."""
        rings = len(self.columns)
        groups = [(ring, len(rows)) for ring in range(rings)]
        by_ring = self.similarities(self.query[rows].repeat(rings, 1), groups)
        by_row = by_ring.unflatten(0, (rings, -1)).transpose(0, 1)
        return self._with_positive(rows, by_row.flatten(1))

    def _with_positive(self, rows: Tensor, negatives: Tensor) -> Tensor:
        positive = (self.query[rows] * self.key[rows]).sum(1, keepdim=True)
        return torch.cat([positive, negatives], dim=1)


# Rows of the batch (n,) on the device, and their logits (n, 1 + negatives): a block of a loss.
Blocks = Iterator[tuple[Tensor, Tensor]]


def rows_per_block(columns: int, device: torch.device, shared: bool = True) -> int:
    """Return how many rows of that many logits each a block of a loss may hold.

    Args:
        columns: logits of a row.
        device: where they are computed.
        shared: whether all rows have the same keys.
    """
    elements = BLOCK_ELEMENTS * (SHARED if shared else 1)
    if device.type != "cpu":
        elements = ACCELERATOR_ELEMENTS
    return max(1, elements // columns)


def _class_blocks(labels: np.ndarray, most: int) -> Iterator[list[tuple[int, int]]]:
    """Yield the groups of blocks of up to `most` rows of sorted labels, (ring, rows) of each.

    A class is divided only where it alone is larger, so that its ring is read once.
    """
    block: list[tuple[int, int]] = []
    rings, counts = np.unique(labels, return_counts=True)
    for ring, count in zip(rings.tolist(), counts.tolist(), strict=True):
        for start in range(0, count, most):
            rows = min(most, count - start)
            if block and sum(each for _, each in block) + rows > most:
                yield block
                block = []
            block.append((ring, rows))
    yield block


def by_class(contrast: Contrast) -> Blocks:
    """`cst_by_class`: negatives are the queue of the sample's own class, (n, 1 + K) (the paper's).

    The work follows the classes that the batch holds, not their number C.
    """
    device = contrast.query.device
    labels = contrast.labels.numpy()
    order = on_device(labels.argsort(kind="stable"), device)
    most = rows_per_block(contrast.columns.shape[-1], device, shared=False)
    blocks = list(_class_blocks(labels, most))
    sizes = [sum(rows for _, rows in groups) for groups in blocks]
    for rows, groups in zip(order.split(sizes), blocks, strict=True):
        yield rows, contrast.logits(rows, groups)


def all_by_class(contrast: Contrast) -> Blocks:
    """`cst_all_by_class`: negatives are all queues, class 0 first, (n, 1 + C K) (the paper's)."""
    rings, _, length = contrast.columns.shape
    batch = torch.arange(len(contrast.labels), device=contrast.query.device)
    for rows in batch.split(rows_per_block(rings * length, batch.device)):
        yield rows, contrast.logits_of_all(rows)


def all_samples(contrast: Contrast) -> Blocks:
    """`cst_all`: MoCo's logits, (n, 1 + K); of several rings, the last's (as the paper's code)."""
    rings, _, length = contrast.columns.shape
    batch = torch.arange(len(contrast.labels), device=contrast.query.device)
    for rows in batch.split(rows_per_block(length, batch.device)):
        yield rows, contrast.logits(rows, [(rings - 1, len(rows))])


CONTRASTIVE: dict[str, Callable[[Contrast], Blocks]] = {
    "cst_by_class": by_class,
    "cst_all_by_class": all_by_class,
    "cst_all": all_samples,
}


class LossTerm(NamedTuple):
    """A loss with its gradient attached, and the top-1 and top-5 accuracies of its logits.

    Accuracies are None where targets are soft. `right` tells of each image, (N,) of bool, whether
    its class was the likeliest, where the logits are of classes.
    """

    value: Tensor
    top1: Tensor | None = None
    top5: Tensor | None = None
    right: Tensor | None = None


def classification_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> LossTerm:
    """`cls` with `ce`: cross-entropy of class logits (N, C) and labels (N,); see there."""
    logits = wide(logits)
    seen = logits.detach()
    rank = (seen > seen.gather(1, labels[:, None])).sum(1)
    return LossTerm(cross_entropy(logits, labels, weights), *_accuracies(rank), rank < 1)


def contrastive_logits(calculator: str, contrast: Contrast) -> Tensor:
    """All logits (N, 1 + negatives) of a calculator, for looking at; training never forms them."""
    blocks = list(CONTRASTIVE[calculator](_prepared(calculator, contrast)))
    order = torch.cat([rows for rows, _ in blocks]).argsort()
    return torch.cat([logits for _, logits in blocks])[order]


def contrastive_loss(calculator: str, contrast: Contrast) -> LossTerm:
    """A contrastive calculator with `ce`: mean cross-entropy of its logits, the positive first.

    Blocks of rows go forward and back one after the other, so that neither all logits nor anything
    of the queue's size is held for the backward pass: the gradient to q' waits in the result.
    """
    contrast = _prepared(calculator, contrast)
    leaf = contrast.query.detach().requires_grad_()
    values, ranks = [], []
    with torch.enable_grad():
        for rows, logits in CONTRASTIVE[calculator](contrast._replace(query=leaf)):
            targets = torch.zeros(len(rows), dtype=torch.int64, device=logits.device)
            value = F.cross_entropy(logits, targets, reduction="sum") / len(leaf)
            value.backward()
            values.append(value.detach())
            ranks.append((logits.detach() > logits.detach()[:, :1]).sum(1))
    value = with_gradient(contrast.query, torch.stack(values).sum(), leaf.grad)
    return LossTerm(value, *_accuracies(torch.cat(ranks)))


def _prepared(calculator: str, contrast: Contrast) -> Contrast:
    if calculator == "cst_all":  # which knows no other metric than `norm`
        contrast = contrast._replace(class_weight=None)
    return contrast.under_metric()


class _WithGradient(torch.autograd.Function):
    """See `with_gradient`."""

    @staticmethod
    def forward(ctx: FunctionCtx, source: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: FunctionCtx, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None


def with_gradient(source: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """Return a value () whose gradient to `source`, of its shape, is known already."""
    return _WithGradient.apply(source, value, gradient)


def _accuracies(rank: Tensor) -> tuple[Tensor, Tensor]:
    """Top-1 and top-5 accuracy from the rank of the right answer, (N,)."""
    return (rank < 1).float().mean(), (rank < 5).float().mean()
