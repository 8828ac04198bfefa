"""Unit vectors, the paper's angle, and similarities of queries with the keys of queues.

Shapes: n samples, D embedding size, C classes, R rings of K keys.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

# Below this squared distance d^2 between a key and its class weight, entries are computed from the
# difference itself: the algebra of `angular_similarities` cancels, and its error in fp32 is about
# 1e-7 / d^2, here 1e-5.
CLOSE = 1e-2
# On an accelerator the number of close entries cannot be asked for without stopping the device,
# so the closest ones are recomputed, up to this many a class.
MAX_CLOSE = 1024
# Fewer rows than this a CPU multiplies as keys @ rows.T and transposes, which is faster on some;
# with more of them the transposing costs more than the order gains.
FEW = 32
# How rows lie, one group after the other: each group's (ring, rows).
Groups = Sequence[tuple[int, int]]


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


def _unit_keys(columns: Tensor, dtype: torch.dtype) -> Tensor:
    """Return columns (D, K) as keys (K, D) of a type; rounding took the unit length of others."""
    keys = columns.T
    return keys if keys.dtype == dtype else normalize(keys.to(dtype))


class _Products(torch.autograd.Function):
    """See `products`."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, query: Tensor, columns: Tensor, groups: Groups, weights: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        ctx.save_for_backward(columns)
        ctx.groups = groups
        sizes = [rows for _, rows in groups]
        result = query.new_empty(len(query), columns.shape[-1])
        of_weights = None if weights is None else query.new_empty(len(groups), columns.shape[-1])
        parts = zip(groups, query.split(sizes), result.split(sizes), strict=True)
        for place, ((ring, count), rows, out) in enumerate(parts):
            keys = _unit_keys(columns[ring], query.dtype)
            # An accelerator is fastest with the fewest calls.
            if query.device.type != "cpu" or (weights is None and count >= FEW):
                torch.mm(rows, keys.T, out=out)
                if weights is not None:
                    torch.mv(keys, weights[place], out=of_weights[place])
                continue
            if weights is not None:  # in one pass over the keys, which take the most time to read
                rows = torch.cat([rows, weights[place, None]])
            found = (keys @ rows.T).T
            out.copy_(found[:count])
            if weights is not None:
                of_weights[place] = found[count]
        if weights is not None:
            ctx.mark_non_differentiable(of_weights)
        return result, of_weights

    @staticmethod
    def backward(ctx: FunctionCtx, upstream: Tensor, _: Tensor | None) -> tuple:
        (columns,) = ctx.saved_tensors
        sizes = [rows for _, rows in ctx.groups]
        gradient = upstream.new_empty(len(upstream), columns.shape[-2])
        parts = zip(ctx.groups, upstream.split(sizes), gradient.split(sizes), strict=True)
        for (ring, _), part, out in parts:
            torch.mm(part, _unit_keys(columns[ring], upstream.dtype), out=out)
        return gradient, None, None, None


def products(query: Tensor, columns: Tensor) -> Tensor:
    """Products (n, K) of queries (n, D) with columns (D, K) that lie as `KeyQueue` keeps them.

    The same as `query @ columns`, in the order of factors that is fast for their number; no
    gradient to the columns.
    """
    return grouped_products(query, columns[None], [(0, len(query))])


def grouped_products(query: Tensor, columns: Tensor, groups: Groups) -> Tensor:
    """Products (n, K) of queries (n, D), by groups, with each one's ring of columns (R, D, K)."""
    return _Products.apply(query, columns, groups, None)[0]


def angular_similarities(
    query: Tensor, columns: Tensor, weights: Tensor, groups: Groups, count_close: bool | None = None
) -> Tensor:
    """Return q' . n(k - w), (n, K), without forming k - w for the whole queue (ours).

    For unit k and w, |k - w|^2 = 2 - 2 k.w, so q' . n(k - w) = (q'.k - q'.w) / sqrt(2 - 2 k.w):
    one matrix product with each ring where it lies, and all else for all of them at once.

    Args:
        query: q', (n, D), normalized in whatever way, by `groups`.
        columns: unit keys k of all rings, (R, D, K).
        weights: unit class weights w of all rings, (R, D), without gradient.
        groups: which rows belong to which ring.
        count_close: recompute exactly the close entries, or the `MAX_CLOSE` closest without
            looking; default: the first on the CPU, where looking costs nothing.
    """
    rings = on_device([ring for ring, _ in groups], query.device)
    places = np.repeat(np.arange(len(groups)), [rows for _, rows in groups])
    places = None if len(groups) == 1 else on_device(places, query.device)

    def of_rows(of_groups: Tensor) -> Tensor:
        return of_groups if places is None else of_groups[places]

    weights = weights[rings]
    dots, of_weights = _Products.apply(query, columns, groups, weights)
    squared = 2 - 2 * of_weights
    similarities = dots - (query * of_rows(weights)).sum(1, keepdim=True)
    similarities = similarities * of_rows(squared.clamp(min=CLOSE).rsqrt())
    if count_close is None:
        count_close = columns.device.type == "cpu"
    most = int((squared < CLOSE).sum(1).max()) if count_close else MAX_CLOSE
    if most == 0:
        return similarities
    close = squared.topk(min(most, squared.shape[1]), largest=False).indices
    keys = columns.mT[rings[:, None], close]
    keys = keys if keys.dtype == query.dtype else normalize(keys.to(query.dtype))
    exact = normalize(keys - weights[:, None]).mT
    exact = _padded_products(query, exact, [rows for _, rows in groups])
    return similarities.scatter(1, of_rows(close).expand_as(exact), exact)


def _padded_products(query: Tensor, columns: Tensor, sizes: list[int]) -> Tensor:
    """Products (n, M) of queries (n, D), `sizes` of each group, with columns (G, D, M), at once."""
    widest = max(sizes)
    slots = np.concatenate([group * widest + np.arange(n) for group, n in enumerate(sizes)])
    slots = on_device(slots, query.device)
    padded = query.new_zeros(len(sizes) * widest, query.shape[1]).index_copy(0, slots, query)
    return (padded.unflatten(0, (-1, widest)) @ columns).flatten(0, 1).index_select(0, slots)


def on_device(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Return numbers of the host, (n,), as int64 on a device, which is not waited for."""
    return torch.as_tensor(numbers, dtype=torch.int64).to(device, non_blocking=True)
