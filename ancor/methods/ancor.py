"""ANCOR (Bukchin et al., CVPR 2021, arXiv 2012.03515), and what it shares its parts with.

MoCo-v2 and training on coarse labels alone are the same method with other parts; the module's table
of flags is in docs/training.md.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ancor.errors import InputError
from ancor.methods.balance import class_weights
from ancor.methods.base import Batch
from ancor.methods.config import AncorConfig
from ancor.methods.losses import Contrast, LossTerm, classification_loss, contrastive_loss
from ancor.methods.momentum import Momentum
from ancor.methods.queues import build_queue
from ancor.models.config import EncoderConfig
from ancor.models.encoder import EncoderOutput
from ancor.runtime.text import megabytes


class Ancor(Momentum):
    """Query encoder, key encoder, queue and losses; parts that no loss uses are not built.

    Args:
        encoder_config: the query encoder.
        config: the method's parts; checked against the head.
        labels: of the training images, by which classes are weighted, and queues are as long as
            classes, if asked for.

    Attributes:
        cls_weights: of the loss `cls`, (C,), or None.
    """

    def __init__(
        self, encoder_config: EncoderConfig, config: AncorConfig, labels: Tensor | None = None
    ) -> None:
        super().__init__(encoder_config, config, labels)
        self._freeze_unused()
        if config.contrastive:
            self.views = ("strong", "strong")  # query and key
            self.follow(config.encoder_momentum)
            lengths = self._lengths(encoder_config.num_classes, labels)
            self.queue = build_queue(
                config.queue,
                encoder_config.num_classes,
                encoder_config.dim,
                config.queue_length if lengths is None else int(lengths.max()),
                config.queue_dtype,
                lengths,
            )
        weights = None
        if config.class_weighting != "none" and labels is not None:
            weights = class_weights(labels, encoder_config.num_classes, config.class_weighting)
        self.register_buffer("cls_weights", weights, persistent=False)

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield the losses with what they depend on, and the queue."""
        config = self.config
        weights = config.loss_weights or (1,) * len(config.calculators)
        weighted = config.class_weighting != "none"
        shown = ", ".join(
            name
            + (f" x {weight:g}" if weight != 1 else "")
            + (f" by {config.class_weighting}" if weighted and name == "cls" else "")
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
        queue, lengths = self.queue.queue, self.queue.lengths
        uneven = f", {lengths.min()}-{lengths.max()} a class" * (config.queue_length == "class")
        yield (
            "Queue",
            f"{config.queue}, {' x '.join(map(str, queue.shape))}{uneven}, "
            f"{megabytes(queue.nbytes)} of {config.queue_dtype}",
        )

    def notices(self, images_of_class: Iterable[int]) -> Iterator[str]:
        """Yield what the queue does that surprises."""
        yield from super().notices(images_of_class)
        if self.queue is not None and not self.config.drop_unfilled:
            yield self.UNFILLED

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        """Compute each calculator's loss, by the calculator's name; each counts with its weight."""
        key = self._encode_keys(batch) if self.config.contrastive else None
        output = self.encode(batch.views[0])
        self.embedding = output.features if output.embedding is None else output.embedding
        with torch.autocast(batch.views[0].device.type, enabled=False):
            terms = {
                name: self._loss(name, output, key, batch.labels)
                for name in self.config.calculators
            }
        for name, weight in zip(terms, self.config.loss_weights or (), strict=False):
            terms[name] = terms[name]._replace(value=weight * terms[name].value)
        return terms

    def class_logits(self, output: EncoderOutput) -> Tensor:
        """Return the class logits (N, C) of a batch."""
        return output.logits

    def class_weights(self) -> Tensor:
        """Return the class weights (C, D) from which the metric `angular` measures."""
        return self.encoder.class_weight

    def extra_tensors(self) -> dict[str, Tensor]:
        """Return the queue and its pointers by the names of the paper's files."""
        return {} if self.queue is None else self.queue.state_dict()

    def _lengths(self, classes: int, labels: Tensor | None) -> Tensor | None:
        """Return each class's queue length, (C,), where they differ; else None."""
        if self.config.queue_length != "class":
            return None
        if labels is None:
            raise InputError("`queue_length` class needs the labels of the training images")
        return torch.bincount(labels, minlength=classes).clamp(min=1)

    def _counting(self) -> Tensor | None:
        """Return how many leading columns of each ring count, (R,); None: all."""
        if self.config.drop_unfilled:
            return self.queue.filled()
        return self.queue.lengths if self.config.queue_length == "class" else None

    def _freeze_unused(self) -> None:
        """Take the layers that no loss reaches out of training: no gradient would come."""
        if self.encoder.config.head in ("seq", "fork"):
            if "cls" not in self.config.calculators:
                self.encoder.classifier.requires_grad_(False)
            if self.encoder.config.head == "fork" and not self.config.contrastive:
                self.encoder.embedder.requires_grad_(False)

    def _loss(
        self, name: str, output: EncoderOutput, key: Tensor | None, labels: Tensor
    ) -> LossTerm:
        if name == "cls":
            logits = self.class_logits(output)
            moved = labels.to(logits.device, non_blocking=True)
            return classification_loss(logits, moved, self.cls_weights)
        angular = self.config.metric == "angular"
        contrast = Contrast(
            query=output.embedding,
            key=key,
            columns=self.queue.rings(),
            labels=labels,
            class_weight=self.class_weights() if angular else None,
            temperature=self.config.temperature,
            filled=self._counting(),
        )
        return contrastive_loss(name, contrast)
