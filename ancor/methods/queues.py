"""Ring buffers of past keys, from which the contrastive losses take their negatives.

MoCo (He et al., CVPR 2020, arXiv 1911.05722) keeps one queue; ANCOR (Bukchin et al., CVPR 2021,
arXiv 2012.03515) one for each coarse class. Columns are stored at unit length, computed in fp32 of
keys in bf16 too: every use normalizes, so nothing is lost and nothing has to be normalized again.
Shapes are those of the published files, (D, K) and (C, D, K); in memory a key's numbers lie side by
side, with which a CPU multiplies a long queue by a few queries about twice as fast.
"""

import torch
from torch import Tensor, nn

from ancor.methods.similarities import normalize, wide


class KeyQueue(nn.Module):
    """What both kinds share: a buffer of unit columns, write positions, and how full it is.

    Attributes:
        queue: the columns, (D, K) or (C, D, K), each in one piece.
        lengths: columns of each ring that are used, (1,) or (C,), at most K.
        queue_ptr: next column to write, (1,) or (C,).
        enqueued: keys written so far, shaped as `queue_ptr`; not part of `state_dict`, whose names
            are those of the published files.
    """

    queue: Tensor
    lengths: Tensor
    queue_ptr: Tensor
    enqueued: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        rings: int,
        dtype: torch.dtype,
        lengths: Tensor | None = None,
    ) -> None:
        super().__init__()
        keys = torch.empty(*shape[:-2], shape[-1], shape[-2], dtype=dtype)
        for ring in keys.view(-1, *keys.shape[-2:]):  # one at a time, to save memory
            ring.copy_(normalize(torch.randn(ring.shape)))
        self.register_buffer("queue", keys.mT)
        lengths = torch.full((rings,), shape[-1]) if lengths is None else lengths
        self.register_buffer("lengths", lengths, persistent=False)
        self.register_buffer("queue_ptr", torch.zeros(rings, dtype=torch.int64))
        self.register_buffer("enqueued", torch.zeros(rings, dtype=torch.int64), persistent=False)

    @property
    def length(self) -> int:
        """Columns K of a ring."""
        return self.queue.shape[-1]

    def rings(self) -> Tensor:
        """View the queue as rings, (R, D, K), with R = 1 or C."""
        return self.queue if self.queue.ndim == 3 else self.queue[None]

    def filled(self) -> Tensor:
        """Columns that hold a key rather than a random start value, shaped as `queue_ptr`."""
        return torch.minimum(self.enqueued, self.lengths)

    def _write(self, place: tuple, keys: Tensor, counts: Tensor, good: Tensor | None) -> None:
        """Write keys at a place of the queue and move on, unless `good` does not hold."""
        keys = keys.to(self.queue.dtype)
        if good is not None:
            keys = torch.where(good, keys, self.queue[place])
            counts = counts * good
        self.queue[place] = keys
        self.queue_ptr.copy_((self.queue_ptr + counts) % self.lengths)
        self.enqueued.add_(counts)


class SingleQueue(KeyQueue):
    """One ring (D, K) for all keys; the last K win when one batch holds more."""

    def __init__(self, dim: int, length: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__((dim, length), 1, dtype)

    @torch.no_grad()
    def enqueue(self, keys: Tensor, labels: Tensor, good: Tensor | None = None) -> None:
        """Store keys (N, D) in batch order; the labels (N,) are not looked at.

        If `good`, a boolean (), does not hold, nothing changes.
        """
        order, slots = self._places(keys)
        columns = normalize(wide(keys[order])).T
        self._write((slice(None), slots), columns, torch.full_like(self.queue_ptr, len(keys)), good)

    def _places(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Return which of the keys are stored, and in which columns."""
        order = torch.arange(max(0, len(keys) - self.length), len(keys), device=keys.device)
        return order, (self.queue_ptr + order) % self.length


class LabeledQueue(SingleQueue):
    """One ring (D, K) that knows the label of each key.

    Attributes:
        queue_labels: (K,) of int64; -1 where no key has been stored yet.
    """

    queue_labels: Tensor

    def __init__(self, dim: int, length: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(dim, length, dtype)
        self.register_buffer("queue_labels", torch.full((length,), -1))

    @torch.no_grad()
    def enqueue(self, keys: Tensor, labels: Tensor, good: Tensor | None = None) -> None:
        """Store keys (N, D) and their labels (N,) in batch order.

        If `good`, a boolean (), does not hold, nothing changes.
        """
        order, slots = self._places(keys)
        kept = labels[order]
        self.queue_labels[slots] = (
            kept if good is None else torch.where(good, kept, self.queue_labels[slots])
        )
        super().enqueue(keys, labels, good)


class ClassQueues(KeyQueue):
    """One ring (D, K) for each of C classes; in each, the last K win when a batch holds more.

    With `lengths` (C,), up to K each, the ring of a class is its own length's first columns.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        length: int,
        dtype: torch.dtype = torch.float32,
        lengths: Tensor | None = None,
    ) -> None:
        super().__init__((num_classes, dim, length), num_classes, dtype, lengths)
        self.shortest = length if lengths is None else int(lengths.min())

    @torch.no_grad()
    def enqueue(self, keys: Tensor, labels: Tensor, good: Tensor | None = None) -> None:
        """Store each of the keys (N, D) in the ring of its label (N,), in batch order.

        If `good`, a boolean (), does not hold, nothing changes.
        """
        # Not bincount, which asks the device for the largest label and waits for the answer.
        counts = torch.zeros_like(self.queue_ptr).index_add_(0, labels, torch.ones_like(labels))
        order = torch.argsort(labels, stable=True)
        sorted_labels = labels[order]
        starts = counts.cumsum(0) - counts
        rank = torch.arange(len(labels), device=labels.device) - starts[sorted_labels]
        lengths = self.lengths[sorted_labels]
        slots = (self.queue_ptr[sorted_labels] + rank) % lengths
        if len(labels) > self.shortest:  # only then can two keys of this batch share a column
            last = rank >= counts[sorted_labels] - lengths
            order, sorted_labels, slots = order[last], sorted_labels[last], slots[last]
        place = (sorted_labels, slice(None), slots)
        self._write(place, normalize(wide(keys[order])), counts, good)


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def build_queue(
    kind: str,
    num_classes: int,
    dim: int,
    length: int,
    dtype: str = "fp32",
    lengths: Tensor | None = None,
) -> KeyQueue:
    """Build a `multi` or `single` queue, filled with random directions; see `ClassQueues`."""
    if kind == "multi":
        return ClassQueues(num_classes, dim, length, DTYPES[dtype], lengths)
    return SingleQueue(dim, length, DTYPES[dtype])
