"""ANCOR (Bukchin et al., CVPR 2021, arXiv 2012.03515), and what it shares its parts with.

MoCo-v2 and training on coarse labels alone are the same method with other parts; the module's table
of flags is in docs/training.md.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ancor.errors import InputError
from ancor.methods.base import Batch, Method
from ancor.methods.config import AncorConfig
from ancor.methods.health import effective_rank, mean_cosine
from ancor.methods.losses import Contrast, LossTerm, classification_loss, contrastive_loss
from ancor.methods.queues import KeyQueue, build_queue
from ancor.models.config import EncoderConfig
from ancor.models.encoder import EncoderOutput
from ancor.runtime import distributed
from ancor.runtime.text import megabytes


class Ancor(Method):
    """Query encoder, key encoder, queue and losses; parts that no loss uses are not built.

    Args:
        encoder_config: the query encoder.
        config: the method's parts; checked against the head.
        labels: not used.

    Attributes:
        queue: past keys, or None.
    """

    def __init__(
        self, encoder_config: EncoderConfig, config: AncorConfig, labels: Tensor | None = None
    ) -> None:
        super().__init__(encoder_config, config, labels)
        self._freeze_unused()
        self.queue: KeyQueue | None = None
        if config.contrastive:
            self.views = ("strong", "strong")  # query and key
            self.key_encoder = self.encoder.key_encoder()
            self._run["key"] = self.key_encoder
            self.queue = build_queue(
                config.queue,
                encoder_config.num_classes,
                encoder_config.dim,
                config.queue_length,
                config.queue_dtype,
            )
        self._average = get_ema_multi_avg_fn(config.encoder_momentum)
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._embedding: Tensor | None = None

    def check_memory(self, free: int, device: torch.device) -> None:
        """Raise an InputError where the queue would not fit into `free` bytes."""
        size = 0 if self.queue is None else self.queue.queue.nbytes
        if size > free:
            length = self.config.queue_length
            raise InputError(
                f"`queue_length` {length}: the queue takes {megabytes(size)}, and "
                f"{megabytes(free)} are free on {device}; `queue_length` "
                f"{length * free // size} would just fit"
            )

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield the losses with what they depend on, and the queue."""
        config = self.config
        weights = config.loss_weights or (1,) * len(config.calculators)
        shown = ", ".join(
            name + (f" x {weight:g}" if weight != 1 else "")
            for name, weight in zip(config.calculators, weights, strict=True)
        )
        if self.queue is None:
            yield "Losses", f"{shown}; no keys are computed"
            return
        yield (
            "Losses",
            f"{shown}; metric {config.metric}, temperature {config.temperature}, "
            f"key momentum {config.encoder_momentum}",
        )
        queue = self.queue.queue
        yield (
            "Queue",
            f"{config.queue}, {' x '.join(map(str, queue.shape))}, "
            f"{megabytes(queue.nbytes)} of {config.queue_dtype}",
        )

    def notices(self, images_of_class: Iterable[int]) -> Iterator[str]:
        """Yield what the queue does that surprises."""
        if self.queue is None:
            return
        counts = list(images_of_class)
        of_ring = counts if self.config.queue == "multi" else [sum(counts)]
        if self.queue.length > min(of_ring):
            longer = self.queue.length > max(of_ring)  # else it is what `auto` makes
            advice = " (`queue_length` auto fits the largest class)" if longer else ""
            yield (
                f"A queue of {self.queue.length} keys is longer than the {min(of_ring)} images "
                "that feed the shortest: it holds several keys of an image, which then count as "
                f"negatives of its other views{advice}"
            )
        if not self.config.drop_unfilled:
            yield (
                "While the queue still holds random start values, the contrastive loss is expected "
                "to rise"
            )

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        """Compute each calculator's loss, by the calculator's name.

        Each counts with its weight. The first call after a step moves the key encoder: once a step,
        by the query weights as they are before it.
        """
        # Keys first: their pass then needs no memory beside what the query pass keeps for backward.
        key = self._encode_keys(batch) if self.config.contrastive else None
        output = self.encode(batch.views[0])
        self._embedding = output.features if output.embedding is None else output.embedding
        with torch.autocast(batch.views[0].device.type, enabled=False):
            terms = {
                name: self._loss(name, output, key, batch.labels)
                for name in self.config.calculators
            }
        for name, weight in zip(terms, self.config.loss_weights or (), strict=False):
            terms[name] = terms[name]._replace(value=weight * terms[name].value)
        return terms

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
            "mean_cosine": mean_cosine(self._embedding),
            "effective_rank": effective_rank(self._embedding),
        }
        if self.queue is not None:
            figures["queue_fill"] = self.queue.filled().float().mean() / self.queue.length
        return figures

    def extra_tensors(self) -> dict[str, Tensor]:
        """Return the queue and its pointers by the names of the paper's files."""
        return {} if self.queue is None else self.queue.state_dict()

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
        if not 0 <= self.queue.queue_ptr.min() <= self.queue.queue_ptr.max() < self.queue.length:
            raise ValueError("queue_ptr points outside the queue")

    def _freeze_unused(self) -> None:
        """Take the layers that no loss reaches out of training: no gradient would come."""
        if self.encoder.config.head in ("seq", "fork"):
            if "cls" not in self.config.calculators:
                self.encoder.classifier.requires_grad_(False)
            if self.encoder.config.head == "fork" and not self.config.contrastive:
                self.encoder.embedder.requires_grad_(False)

    def _averaged(self) -> list[tuple[Tensor, Tensor]]:
        """List the key encoder's parameters that follow, each with the one that it follows."""
        shared, ours = self.key_encoder.shared_parameters(), self.encoder.shared_parameters()
        return [pair for pair in zip(shared, ours, strict=True) if pair[1].requires_grad]

    @torch.no_grad()
    def _encode_keys(self, batch: Batch) -> Tensor:
        """Encode the key views; with several processes, shuffled over them (MoCo's batch norm)."""
        if not self._waiting:
            shared, ours = zip(*self._averaged(), strict=True)
            self._average(shared, ours, None)
        views, labels = batch.views[1], batch.labels.to(batch.views[1].device, non_blocking=True)
        if batch.shuffle is None:
            keys = own = self._run["key"](views).embedding
        else:
            count, mine = len(batch.shuffle), distributed.rank_slice(len(batch.shuffle))
            pixels_last = views.permute(0, 2, 3, 1).contiguous()
            shuffled = distributed.exchange(pixels_last, batch.shuffle).permute(0, 3, 1, 2)
            keys = distributed.gather(self._run["key"](shuffled).embedding, count)
            back = batch.shuffle.argsort().to(keys.device, non_blocking=True)
            keys = keys[back]
            own, labels = keys[mine], distributed.gather(labels, count)
        self._waiting.append((keys, labels))
        return own

    def _loss(
        self, name: str, output: EncoderOutput, key: Tensor | None, labels: Tensor
    ) -> LossTerm:
        if name == "cls":
            return classification_loss(
                output.logits, labels.to(output.logits.device, non_blocking=True)
            )
        angular = self.config.metric == "angular"
        contrast = Contrast(
            query=output.embedding,
            key=key,
            columns=self.queue.rings(),
            labels=labels,
            class_weight=self.encoder.class_weight if angular else None,
            temperature=self.config.temperature,
            filled=self.queue.filled() if self.config.drop_unfilled else None,
        )
        return contrastive_loss(name, contrast)
