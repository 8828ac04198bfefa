"""ANCOR (Bukchin et al., CVPR 2021, arXiv 2012.03515), and what it shares its parts with.

MoCo-v2 and training on coarse labels alone are the same method with other parts; the module's table
of flags is in the README.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ancor.errors import InputError, choose
from ancor.methods.base import Batch
from ancor.methods.health import effective_rank, mean_cosine
from ancor.methods.losses import (
    CALCULATORS,
    CONTRASTIVE,
    LOSSES,
    Contrast,
    LossTerm,
    classification_loss,
    contrastive_loss,
)
from ancor.methods.queues import DTYPES, QUEUES, KeyQueue, build_queue
from ancor.models.encoder import Encoder, EncoderConfig, EncoderOutput
from ancor.models.heads import HEADS
from ancor.runtime import distributed

METRICS = ("angular", "norm")


@dataclass(frozen=True)
class AncorConfig:
    """The parts of the method.

    Attributes:
        queue: `multi` (one a class), `single` or `none`.
        queue_length: keys K that a queue holds; `auto`: as many as there are images for it
            (`resolved` says how many).
        metric: `angular` or `norm`.
        calculators: which logits are made, in the order of the losses.
        losses: what each calculator's pair is given to.
        temperature: T of the contrastive logits.
        encoder_momentum: m of the key encoder's moving average.
        drop_unfilled: leave queue slots that hold no key yet out of the negatives.
        queue_dtype: what keys are stored in, `fp32` or `bf16`.
        loss_weights: factor of each loss in the total; None: all 1, as in the paper.
        name: of the method, in the table `ancor.methods.registry`.
    """

    queue: str = "multi"
    queue_length: int | str = 65536
    metric: str = "angular"
    calculators: tuple[str, ...] = ("cls", "cst_by_class")
    losses: tuple[str, ...] = ("ce", "ce")
    temperature: float = 0.2
    encoder_momentum: float = 0.999
    drop_unfilled: bool = False
    queue_dtype: str = "fp32"
    loss_weights: tuple[float, ...] | None = None
    name: str = "ancor"

    @property
    def contrastive(self) -> tuple[str, ...]:
        """The calculators that need keys."""
        return tuple(name for name in self.calculators if name in CONTRASTIVE)

    def resolved(self, images_of_class: list[int]) -> "AncorConfig":
        """Return this with a queue length for a training set of so many images a class.

        `auto` is the largest class for a queue a class, all images for a single one.
        """
        if self.queue_length != "auto":
            return self
        many = max(images_of_class) if self.queue == "multi" else sum(images_of_class)
        return replace(self, queue_length=many)

    def check(self, head: str) -> None:
        """Raise an InputError for a combination with this head that has no meaning."""
        choose("head", head, HEADS)
        choose("queue", self.queue, QUEUES)
        choose("metric", self.metric, METRICS)
        choose("--queue-dtype", self.queue_dtype, DTYPES)
        for name in self.calculators:
            choose("calculator", name, CALCULATORS)
        for name in self.losses:
            choose("loss", name, LOSSES)
        number = type(self.queue_length) is int
        if self.queue_length != "auto" and not (number and self.queue_length >= 1):
            raise InputError(f"--queue-k {self.queue_length!r}: at least 1 is needed, or auto")
        if not 0 < self.temperature < inf:
            raise InputError(f"--cst-t {self.temperature}: a finite number above 0 is needed")
        if not 0 <= self.encoder_momentum <= 1:
            raise InputError(f"--encoder-m {self.encoder_momentum}: accepted: 0 to 1")
        for complaint in self._complaints(head):
            raise InputError(complaint)

    def _complaints(self, head: str) -> Iterator[str]:
        by_class = [name for name in self.contrastive if name.endswith("_by_class")]
        calculators, losses = " ".join(self.calculators), " ".join(self.losses)
        if not self.calculators:
            yield "--calc-types is empty; name at least one calculator"
        if len(self.calculators) != len(self.losses):
            yield (
                f"--calc-types {calculators} and --loss-types {losses} differ in number; "
                "give one loss for each calculator"
            )
        if self.loss_weights is not None:
            weights = " ".join(map(str, self.loss_weights))
            if len(self.loss_weights) != len(self.calculators):
                yield (
                    f"--loss-weights {weights} and --calc-types {calculators} differ in number; "
                    "give one weight for each calculator"
                )
            if not all(0 < weight < inf for weight in self.loss_weights):
                yield f"--loss-weights {weights}: finite numbers above 0 are needed"
        if len(set(self.calculators)) < len(self.calculators):
            yield f"--calc-types {calculators} names a calculator twice; name each once"
        if "cosine" in self.losses:
            yield (
                "--loss-types cosine compares two vectors and none of the calculators gives a pair "
                f"of them (--calc-types {calculators}); use --loss-types ce"
            )
        if "cls" in self.calculators and head == "none":
            yield (
                "--calc-types cls needs class logits and --head none has none; "
                "use --head seq, fork or cls, or leave cls out of --calc-types"
            )
        if self.contrastive and head == "cls":
            yield (
                f"--calc-types {self.contrastive[0]} needs an embedding and --head cls has none; "
                "use --head seq, fork or none, or --calc-types cls --loss-types ce"
            )
        if self.contrastive and self.queue == "none":
            yield (
                f"--calc-types {self.contrastive[0]} takes its negatives from a queue and "
                "--queue none has none; use --queue multi or single"
            )
        if by_class and self.queue == "single":
            yield (
                f"--calc-types {by_class[0]} needs a queue for each class; use --queue multi, "
                "or --calc-types cst_all with --queue single"
            )
        if by_class and self.metric == "angular" and head != "seq":
            yield (
                f"--calc-types {by_class[0]} with --metric angular measures angles around class "
                f"weights of the embedding's size, which --head {head} has not; "
                "use --head seq or --metric norm"
            )


class Ancor(nn.Module):
    """Query encoder, key encoder, queue and losses; parts that no loss uses are not built.

    Args:
        encoder_config: the query encoder.
        config: the method's parts; checked against the head.
    """

    def __init__(self, encoder_config: EncoderConfig, config: AncorConfig) -> None:
        super().__init__()
        config.check(encoder_config.head)
        self.config = config
        self.encoder = Encoder(encoder_config)
        self._freeze_unused()
        self.key_encoder: Encoder | None = None
        self.queue: KeyQueue | None = None
        if config.contrastive:
            self.key_encoder = self.encoder.key_encoder()
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
        # In a dict, so that wrappers do not enter this module's own names.
        self._run: dict[str, nn.Module | None] = {"query": self.encoder, "key": self.key_encoder}

    @staticmethod
    def check(head: str, config: AncorConfig) -> None:
        """Raise an InputError for a combination that has no meaning."""
        config.check(head)

    @property
    def views(self) -> int:
        """Views of each image: query and key, or the query alone."""
        return 2 if self.config.contrastive else 1

    def prepare(self, device: torch.device, compiled: bool = False) -> None:
        """Have the passes run over all processes of a group, and compiled if asked."""
        self._run["query"] = distributed.data_parallel(self.encoder, device)
        if compiled:
            self._run = {
                name: module and torch.compile(module) for name, module in self._run.items()
            }

    def describe(self) -> str:
        """Name the losses and what they depend on, in a line."""
        config = self.config
        pairs = zip(config.calculators, config.losses, strict=True)
        weights = config.loss_weights or (1,) * len(config.calculators)
        shown = ", ".join(
            "/".join(pair) + (f" x {weight:g}" if weight != 1 else "")
            for pair, weight in zip(pairs, weights, strict=True)
        )
        if self.queue is None:
            return f"{shown}; no keys are computed"
        return (
            f"{shown}; metric {config.metric}, temperature {config.temperature}, "
            f"key momentum {config.encoder_momentum}"
        )

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        """Compute each calculator's loss, by the calculator's name.

        Each counts with its weight. The first call after a step moves the key encoder: once a step,
        by the query weights as they are before it.
        """
        # Keys first: their pass then needs no memory beside what the query pass keeps for backward.
        key = self._encode_keys(batch) if self.config.contrastive else None
        output = self._run["query"](batch.views[0])
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
        if self.key_encoder is None:
            return list(self.encoder.buffers())
        keys = self.key_encoder
        return [*self.encoder.buffers(), *keys.buffers(), *keys.parameters()]

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
            for own in [distributed.share(len(keys), of=process)]
        ]
        keys, labels = (torch.cat(part) for part in zip(*by_process, strict=True))
        self.queue.enqueue(keys, labels, good)
        self._waiting.clear()

    def without_averaging(self) -> AbstractContextManager:
        """Return a context in which gradients are not yet averaged over the processes."""
        query = self._run["query"]
        return query.no_sync() if hasattr(query, "no_sync") else nullcontext()

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

    def _freeze_unused(self) -> None:
        """Take the layers that no loss reaches out of training: no gradient would come."""
        if self.encoder.config.head in ("seq", "fork"):
            if "cls" not in self.config.calculators:
                self.encoder.classifier.requires_grad_(False)
            if self.encoder.config.head == "fork" and not self.config.contrastive:
                self.encoder.embedder.requires_grad_(False)

    @torch.no_grad()
    def _encode_keys(self, batch: Batch) -> Tensor:
        """Encode the key views; with several processes, shuffled over them (MoCo's batch norm)."""
        if not self._waiting:
            shared, ours = self.key_encoder.shared_parameters(), self.encoder.shared_parameters()
            self._average(shared, ours, None)
        views, labels = batch.views[1], batch.labels.to(batch.views[1].device, non_blocking=True)
        if batch.shuffle is None:
            keys = own = self._run["key"](views).embedding
        else:
            count, mine = len(batch.shuffle), distributed.share(len(batch.shuffle))
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
