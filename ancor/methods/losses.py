"""Contrastive and classification losses, as pure functions on tensors.

The paper: Bukchin et al., "Fine-grained Angular Contrastive Learning with Coarse Labels", CVPR
2021, arXiv 2012.03515. Shapes: N samples, D embedding size, C classes, K columns of a queue.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

# Below this squared distance d^2 between a key and its class weight, entries are computed from the
# difference itself: the algebra of `_angular_similarities` cancels, and its error in fp32 is about
# 1e-7 / d^2, here 1e-5.
CLOSE = 1e-2
# On an accelerator the number of close entries cannot be asked for without stopping the device,
# so the closest ones are recomputed, up to this many a class.
MAX_CLOSE = 1024
# Logits that one block of a loss may hold: bounds the memory that a loss needs beside the queue.
BLOCK_ELEMENTS = 1 << 20


def wide(tensor: Tensor) -> Tensor:
    """Return the tensor in fp32, or as it is if it is wider: what losses are computed in."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def normalize(vectors: Tensor) -> Tensor:
    """Scale vectors (..., D) to unit length: n(v) = v / max(|v|, 1e-12)."""
    return F.normalize(vectors, dim=-1)


def angular(vectors: Tensor, weights: Tensor) -> Tensor:
    """Angular normalization (the paper, section 3.2): the direction from class weight to sample.

    n(n(v) - n(w)), for vectors (..., D) and the weights (..., D) of their classes, both put on the
    unit sphere first.
    """
    return normalize(normalize(vectors) - normalize(weights))


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


class _Products(torch.autograd.Function):
    """See `products`."""

    @staticmethod
    def forward(ctx: FunctionCtx, query: Tensor, columns: Tensor) -> Tensor:
        ctx.save_for_backward(columns)
        return (columns.T @ query.T).T.contiguous()

    @staticmethod
    def backward(ctx: FunctionCtx, upstream: Tensor) -> tuple[Tensor, None]:
        (columns,) = ctx.saved_tensors
        return upstream @ columns.T, None


def products(query: Tensor, columns: Tensor) -> Tensor:
    """Products (n, K) of queries (n, D) with columns (D, K) that lie as `KeyQueue` keeps them.

    The same as `query @ columns`, in the order of factors that is fast for few queries; no gradient
    to the columns.
    """
    return _Products.apply(query, columns)


def _angular_similarities(
    query: Tensor, columns: Tensor, weight: Tensor, count_close: bool | None = None
) -> Tensor:
    """Return q' . n(k - w), (N, K), without forming k - w for the whole queue (ours).

    For unit k and w, |k - w|^2 = 2 - 2 k.w, so q' . n(k - w) = (q'.k - q'.w) / sqrt(2 - 2 k.w):
    one matrix product with the queue where it lies.

    Args:
        query: q', (N, D), normalized in whatever way.
        columns: unit keys k, (D, K).
        weight: unit class weight w, (D,), without gradient.
        count_close: recompute exactly the close entries, or the `MAX_CLOSE` closest without
            looking; default: the first on the CPU, where looking costs nothing.
    """
    dots = products(torch.cat([query, weight[None]]), columns)
    squared = (2 - 2 * dots[-1]).detach()
    similarities = (dots[:-1] - query @ weight[:, None]) * squared.clamp(min=CLOSE).rsqrt()
    if count_close is None:
        count_close = columns.device.type == "cpu"
    if count_close:
        close = (squared < CLOSE).nonzero().squeeze(1)
        if len(close) == 0:
            return similarities
    else:
        close = squared.topk(min(MAX_CLOSE, len(squared)), largest=False).indices
    exact = query @ F.normalize(columns[:, close] - weight[:, None], dim=0)
    return similarities.index_copy(1, close, exact)


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
        """Return this with q', k' and unit class weights."""
        query, key = wide(self.query), wide(self.key).detach()
        if self.class_weight is None:
            return self._replace(query=normalize(query), key=normalize(key))
        weights = normalize(wide(self.class_weight.detach()))
        own = weights[self.labels.to(weights.device, non_blocking=True)]
        return self._replace(query=angular(query, own), key=angular(key, own), class_weight=weights)

    def similarities(self, query: Tensor, ring: int) -> Tensor:
        """Similarities (n, K) of q' (n, D) with one ring's keys under the metric."""
        columns = self.columns[ring]
        if columns.dtype != query.dtype:  # of one ring at a time; rounding took the unit length
            columns = F.normalize(columns.to(query.dtype), dim=0)
        if self.class_weight is None:
            result = products(query, columns)
        else:
            result = _angular_similarities(query, columns, self.class_weight[ring])
        if self.filled is None:
            return result
        beyond = torch.arange(result.shape[1], device=result.device) >= self.filled[ring]
        return result.masked_fill(beyond, -torch.inf)

    def logits(self, rows: Tensor, rings: Iterable[int]) -> Tensor:
        """Logits (n, 1 + columns of the rings) of some rows of the batch, the positive first."""
        query = self.query[rows]
        positive = (query * self.key[rows]).sum(1, keepdim=True)
        negatives = [self.similarities(query, ring) for ring in rings]
        return torch.cat([positive, *negatives], dim=1) / self.temperature


# Rows of the batch (n,) on the device, and their logits (n, 1 + negatives): a block of a loss.
Blocks = Iterator[tuple[Tensor, Tensor]]


def rows_per_block(columns: int) -> int:
    """Return how many rows of that many logits each a block of a loss may hold."""
    return max(1, BLOCK_ELEMENTS // columns)


def by_class(contrast: Contrast) -> Blocks:
    """`cst_by_class`: negatives are the queue of the sample's own class, (n, 1 + K) (the paper's).

    The work follows the classes that the batch holds, not their number C.
    """
    labels = contrast.labels.numpy()
    rings, counts = np.unique(labels, return_counts=True)
    order = torch.from_numpy(labels.argsort(kind="stable"))
    groups = order.to(contrast.query.device, non_blocking=True).split(counts.tolist())
    for ring, group in zip(rings.tolist(), groups, strict=True):
        for rows in group.split(rows_per_block(contrast.columns.shape[-1])):
            yield rows, contrast.logits(rows, [ring])


def all_by_class(contrast: Contrast) -> Blocks:
    """`cst_all_by_class`: negatives are all queues, class 0 first, (n, 1 + C K) (the paper's)."""
    rings, _, length = contrast.columns.shape
    batch = torch.arange(len(contrast.labels), device=contrast.query.device)
    for rows in batch.split(rows_per_block(rings * length)):
        yield rows, contrast.logits(rows, range(rings))


def all_samples(contrast: Contrast) -> Blocks:
    """`cst_all`: MoCo's logits, (n, 1 + K); of several rings, the last's (as the paper's code)."""
    rings, _, length = contrast.columns.shape
    batch = torch.arange(len(contrast.labels), device=contrast.query.device)
    for rows in batch.split(rows_per_block(length)):
        yield rows, contrast.logits(rows, [rings - 1])


CONTRASTIVE: dict[str, Callable[[Contrast], Blocks]] = {
    "cst_by_class": by_class,
    "cst_all_by_class": all_by_class,
    "cst_all": all_samples,
}


class LossTerm(NamedTuple):
    """A loss with its gradient attached, and the top-1 and top-5 accuracies of its logits.

    Accuracies are None where targets are soft.
    """

    value: Tensor
    top1: Tensor | None = None
    top5: Tensor | None = None


def classification_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> LossTerm:
    """`cls` with `ce`: cross-entropy of class logits (N, C) and labels (N,); see there."""
    logits = wide(logits)
    seen = logits.detach()
    rank = (seen > seen.gather(1, labels[:, None])).sum(1)
    return LossTerm(cross_entropy(logits, labels, weights), *_accuracies(rank))


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
