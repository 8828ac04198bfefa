"""MaskCon (Feng and Patras, CVPR 2023, arXiv 2303.12756), and two methods of its code.

All three contrast a strong view with the weak views' keys, of which one queue holds the last with
their coarse labels: MaskCon by soft targets among the keys of the image's own class, `grafit` by
equal ones, `coins` by its own key alone, beside a classifier. They are the published code's modes
(MrChenFeng/MaskCon_CVPR2023) of these names. Shapes: N samples, D embedding size, K columns.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ancor.methods.base import Batch
from ancor.methods.contrastive_config import GrafitConfig
from ancor.methods.losses import LossTerm, classification_loss
from ancor.methods.momentum import Momentum
from ancor.methods.queues import LabeledQueue
from ancor.methods.similarities import normalize, products, wide
from ancor.models.config import EncoderConfig
from ancor.models.encoder import EncoderOutput
from ancor.runtime.text import megabytes


def soft_targets(
    key: Tensor, columns: Tensor, same: Tensor, temperature: float, weight: float
) -> Tensor:
    """MaskCon's targets (N, 1 + K) of an image's own key and the queue's.

    A key of the image's class weighs exp((k . Q - that of the class's nearest key) / T2), its own
    key 1; rows are scaled to 1, and mixed with the own key alone by 1 - `weight`. A class without a
    key in the queue leaves the own key alone (ours: the published code divides 0 by 0 there).

    Args:
        key: unit keys k, (N, D).
        columns: unit keys of the queue Q, (D, K).
        same: which of the queue's keys are of the image's class, (N, K).
        temperature: T2.
        weight: w, from 0 to 1.
    """
    similarities = products(key / temperature, columns).masked_fill(~same, -torch.inf)
    nearest = similarities.amax(1, keepdim=True).clamp(min=torch.finfo(key.dtype).min)
    near = (similarities - nearest).exp()
    targets = torch.cat([torch.ones_like(nearest), near], dim=1) / (1 + near.sum(1, keepdim=True))
    targets *= weight
    targets[:, 0] += 1 - weight
    return targets


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (N, M) and targets (N, M) that sum to 1."""
    return -(targets * logits.log_softmax(1)).sum(1).mean()


class Grafit(Momentum):
    """MaskCon's mode `grafit`: w times the contrast of a class, 1 - w times that of an image.

    Grafit itself (Touvron et al., ICCV 2021) has no published code; later papers report this mode
    under its name.
    """

    views = ("strong", "weak")  # query and key

    def __init__(
        self, encoder_config: EncoderConfig, config: GrafitConfig, labels: Tensor | None = None
    ) -> None:
        super().__init__(encoder_config, config, labels)
        self.follow(config.encoder_momentum)
        self.queue = LabeledQueue(encoder_config.dim, config.queue_length)

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield the loss with what it depends on, and the queue."""
        config, queue = self.config, self.queue.queue
        soft = getattr(config, "target_temperature", None)
        yield (
            "Losses",
            f"{config.name}, coarse weight {config.coarse_weight}; temperature {config.temperature}"
            + (f", of targets {soft}" if soft else "")
            + f", key momentum {config.encoder_momentum}",
        )
        size = " x ".join(map(str, queue.shape))
        yield "Queue", f"single, with labels, {size}, {megabytes(queue.nbytes)} of fp32"

    @torch.no_grad()
    def before_training(self, batches: object) -> None:
        """Fill the queue with keys of weak views, in as many passes as it takes."""
        number = 0
        while self.queue.enqueued < self.queue.length:
            for batch in batches.another_pass("queue", number):
                self.queue.enqueue(*self._keys_of_all(batch))
                if self.queue.enqueued >= self.queue.length:
                    break
            number += 1

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        """Compute the losses of the strong views against the weak views' keys."""
        key = self._encode_keys(batch)
        output = self.encode(batch.views[0])
        self.embedding = output.embedding
        with torch.autocast(key.device.type, enabled=False):
            query = normalize(wide(output.embedding)) / self.config.temperature
            key = normalize(wide(key))
            own = (query * key).sum(1, keepdim=True)
            logits = torch.cat([own, products(query, self.queue.queue)], dim=1)
            labels = batch.labels.to(key.device, non_blocking=True)
            return self._losses(logits, key, labels, output)

    def _same(self, labels: Tensor) -> Tensor:
        """Return which of the queue's keys are of each image's class, (N, K)."""
        return labels[:, None] == self.queue.queue_labels

    def _losses(
        self, logits: Tensor, key: Tensor, labels: Tensor, output: EncoderOutput
    ) -> dict[str, LossTerm]:
        """Compute the losses from logits (N, 1 + K), unit keys (N, D) and labels (N,)."""
        same = self._same(labels)
        of_class = torch.cat([torch.ones_like(same[:, :1]), same], dim=1).to(logits.dtype)
        of_class /= of_class.sum(1, keepdim=True)
        weight = self.config.coarse_weight
        return {
            "coarse": LossTerm(weight * soft_cross_entropy(logits, of_class)),
            "self": self._self(logits, 1 - weight),
        }

    def _self(self, logits: Tensor, weight: float) -> LossTerm:
        term = classification_loss(logits, torch.zeros_like(logits[:, 0], dtype=torch.int64))
        return term._replace(value=weight * term.value)


class MaskCon(Grafit):
    """MaskCon: soft targets from how near a key of the class is to the image's own key."""

    def _losses(
        self, logits: Tensor, key: Tensor, labels: Tensor, output: EncoderOutput
    ) -> dict[str, LossTerm]:
        targets = soft_targets(
            key,
            self.queue.queue,
            self._same(labels),
            self.config.target_temperature,
            self.config.coarse_weight,
        )
        return {"maskcon": LossTerm(soft_cross_entropy(logits, targets))}


class CoinsMaskCon(Grafit):
    """MaskCon's mode `coins`: w times the loss of a classifier on the backbone's features.

    And 1 - w times the contrast of an image. Not what CoIns' own authors do
    (`ancor.methods.coins`).
    """

    def __init__(
        self, encoder_config: EncoderConfig, config: GrafitConfig, labels: Tensor | None = None
    ) -> None:
        super().__init__(encoder_config, config, labels)
        features = self.encoder.backbone.out_features
        self.classifier = nn.Linear(features, encoder_config.num_classes)

    def _losses(
        self, logits: Tensor, key: Tensor, labels: Tensor, output: EncoderOutput
    ) -> dict[str, LossTerm]:
        weight = self.config.coarse_weight
        features = output.features.to(self.classifier.weight.dtype)
        term = classification_loss(self.classifier(features), labels)
        return {
            "cls": term._replace(value=weight * term.value),
            "self": self._self(logits, 1 - weight),
        }
