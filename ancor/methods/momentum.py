"""What methods with a key encoder share: its moving average, its passes, and the queue of its keys.

MoCo (He et al., CVPR 2020, arXiv 1911.05722).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ancor.errors import InputError
from ancor.methods.base import Batch, Method
from ancor.methods.health import effective_rank, mean_cosine
from ancor.methods.queues import KeyQueue
from ancor.models.config import EncoderConfig
from ancor.runtime import distributed
from ancor.runtime.text import megabytes


class Momentum(Method):
    """A method whose second view is encoded by a slowly following encoder and kept in a queue.

    A subclass that needs keys calls `follow` when it is made, and then makes its queue. In `losses`
    it sets `embedding`, and takes the batch's keys from `_encode_keys` before the queries' pass:
    they then need no memory beside what that pass keeps for backward.

    Attributes:
        queue: past keys, or None.
        embedding: of the last batch, (N, D), with gradient; features where the head makes none.
    """

    UNFILLED = (
        "While the queue still holds random start values, the contrastive loss is expected to rise"
    )

    def __init__(
        self, encoder_config: EncoderConfig, config: Any, labels: Tensor | None = None
    ) -> None:
        super().__init__(encoder_config, config, labels)
        self.queue: KeyQueue | None = None
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self.embedding: Tensor | None = None

    def follow(self, momentum: float) -> None:
        """Make the key encoder, a copy of the encoder as it is."""
        self.key_encoder = self.encoder.key_encoder()
        self._run["key"] = self.key_encoder
        self._average = get_ema_multi_avg_fn(momentum)

    def check_memory(self, free: int, device: torch.device) -> None:
        """Raise an InputError where the queue would not fit into `free` bytes."""
        size = 0 if self.queue is None else self.queue.queue.nbytes
        if size > free:
            length = self.queue.length
            raise InputError(
                f"`queue_length` {self.config.queue_length}: the queue takes {megabytes(size)}, "
                f"and {megabytes(free)} are free on {device}; `queue_length` "
                f"{length * free // size} would just fit"
            )

    def notices(self, images_of_class: Iterable[int]) -> Iterator[str]:
        """Yield where the queue holds several keys of an image."""
        if self.queue is None or self.config.queue_length == "class":
            return
        counts = list(images_of_class)
        single = self.queue.queue.ndim == 2
        of_ring = [sum(counts)] if single else counts
        if self.queue.length > min(of_ring):
            longer = self.queue.length > max(of_ring)  # else it is what `auto` makes
            fits = "all images" if single else "the largest class"
            advice = f" (`queue_length` auto fits {fits})" if longer else ""
            yield (
                f"A queue of {self.queue.length} keys is longer than the {min(of_ring)} images "
                "that feed the shortest: it holds several keys of an image, which then count as "
                f"negatives of its other views{advice}"
            )

    def moved_by_losses(self) -> list[Tensor]:
        """List batch-norm statistics, DropBlock's clocks and the key encoder's weights."""
        moved = self.moving_buffers(self.encoder)
        if self.key_encoder is not None:
            moved += self.moving_buffers(self.key_encoder)
            moved += [key for key, _ in self._averaged()]
        return moved

    def after_step(self, good: Tensor | None = None) -> None:
        """Put the step's keys, of all processes, into the queue in the order of the batch.

        If `good`, a boolean (), does not hold, the queue stays as it is.
        """
        if self.queue is None:
            return
        by_process = [
            (keys[own], labels[own])
            for process in range(distributed.world_size())
            for keys, labels in self._waiting
            for own in [distributed.rank_slice(len(keys), of=process)]
        ]
        keys, labels = (torch.cat(part) for part in zip(*by_process, strict=True))
        self.queue.enqueue(keys, labels, good)
        self._waiting.clear()

    @torch.no_grad()
    def figures(self) -> dict[str, Tensor]:
        """Return the queue's fill, and signs of collapse in the last batch's embeddings."""
        figures = {
            "mean_cosine": mean_cosine(self.embedding),
            "effective_rank": effective_rank(self.embedding),
        }
        if self.queue is not None:
            used = self.queue.lengths.float().mean()
            figures["queue_fill"] = self.queue.filled().float().mean() / used
        return figures

    def extra_state(self) -> dict[str, Any]:
        """Return how many keys the queue has been given."""
        return {} if self.queue is None else {"enqueued": self.queue.enqueued.tolist()}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore how many keys the queue has been given; ValueError where no queue has such."""
        if self.queue is None:
            return
        enqueued, told = self.queue.enqueued, state["enqueued"]
        if len(told) != len(enqueued) or any(type(n) is not int or n < 0 for n in told):
            raise ValueError(f"enqueued is {told!r:.80}")
        enqueued.copy_(enqueued.new_tensor(told))
        pointers = self.queue.queue_ptr
        if pointers.min() < 0 or (pointers >= self.queue.lengths).any():
            raise ValueError("queue_ptr points outside the queue")

    def _averaged(self) -> list[tuple[Tensor, Tensor]]:
        """List the key encoder's parameters that follow, each with the one that it follows."""
        shared, ours = self.key_encoder.shared_parameters(), self.encoder.shared_parameters()
        return [pair for pair in zip(shared, ours, strict=True) if pair[1].requires_grad]

    @torch.no_grad()
    def _encode_keys(self, batch: Batch) -> Tensor:
        """Return the keys of this process's images, and keep all processes' for `after_step`.

        The first call after a step moves the key encoder: once a step, by the query weights as they
        are before it.
        """
        if not self._waiting:
            shared, ours = zip(*self._averaged(), strict=True)
            self._average(shared, ours, None)
        keys, labels = self._keys_of_all(batch)
        self._waiting.append((keys, labels))
        return keys[distributed.rank_slice(len(keys))]

    @torch.no_grad()
    def _keys_of_all(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Encode the second views of all processes' images; return keys and labels in their order.

        With several processes the views are shuffled over them (MoCo's batch norm).
        """
        views, labels = batch.views[1], batch.labels.to(batch.views[1].device, non_blocking=True)
        if batch.shuffle is None:
            return self._run["key"](views).embedding, labels
        count = len(batch.shuffle)
        pixels_last = views.movedim(1, -1).contiguous()  # of features, (N, F), as they are
        shuffled = distributed.exchange(pixels_last, batch.shuffle).movedim(-1, 1)
        keys = distributed.gather(self._run["key"](shuffled).embedding, count)
        back = batch.shuffle.argsort().to(keys.device, non_blocking=True)
        return keys[back], distributed.gather(labels, count)
