"""SNCA: scalable neighborhood component analysis (Wu, Efros, Yu, ECCV 2018, arXiv 1808.04699)."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ancor.errors import InputError
from ancor.methods.base import Batch, Method
from ancor.methods.health import effective_rank, mean_cosine
from ancor.methods.losses import LossTerm, rows_per_block, with_gradient
from ancor.methods.similarities import normalize, products, wide
from ancor.methods.whole_set_config import SncaConfig
from ancor.models.config import EncoderConfig
from ancor.runtime import distributed
from ancor.runtime.text import megabytes

NEIGHBORS = 30  # that vote for an image's class: the authors'


class Snca(Method):
    """An image's neighbors among all training images are to be of its class.

    Args:
        encoder_config: the encoder, with head `none`.
        config: the settings.
        labels: classes of the training images, (n,).

    Attributes:
        memory: a vector of each training image, (n, D), of unit length once it was seen.
    """

    def __init__(
        self, encoder_config: EncoderConfig, config: SncaConfig, labels: Tensor | None = None
    ) -> None:
        super().__init__(encoder_config, config, labels)
        bound = (encoder_config.dim / 3) ** -0.5
        memory = torch.empty(len(labels), encoder_config.dim).uniform_(-bound, bound)
        self.register_buffer("memory", memory)
        self.register_buffer("labels", labels, persistent=False)
        self.momentum = config.momentum(0)
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._seen: tuple[Tensor, Tensor] | None = None  # indices and vectors of the last step

    def check_memory(self, free: int, device: torch.device) -> None:
        """Raise an InputError where the memory would not fit into `free` bytes."""
        if self.memory.nbytes > free:
            raise InputError(
                f"`dim` {self.memory.shape[1]}: the memory of {len(self.memory)} images takes "
                f"{megabytes(self.memory.nbytes)}, and {megabytes(free)} are free on {device}; "
                "lower it"
            )

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield the loss with what it depends on, and the memory."""
        yield from super().describe()
        config = self.config
        margin = f", margin {config.margin:g}" if config.margin else ""
        yield "Losses", f"snca; temperature {config.temperature}{margin}"
        shape = " x ".join(map(str, self.memory.shape))
        yield "Memory", f"{shape}, {megabytes(self.memory.nbytes)}; momentum {self.momentum:g}"

    def before_epoch(self, epoch: int, batches: Any) -> None:
        """Set the memory's momentum."""
        self.momentum = self.config.momentum(epoch)

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        """Compare the images with the memory, which stays as it is until the step is done."""
        embedding = self.encode(batch.views[0]).embedding
        indices = batch.indices.to(embedding.device, non_blocking=True)
        with torch.autocast(embedding.device.type, enabled=False):
            unit = normalize(wide(embedding))
            value = neighborhood_loss(
                *(unit, self.memory, self.labels, indices, self.config.temperature),
                self.config.margin / self.config.temperature,
            )
        every = (distributed.gather(part.detach(), batch.images) for part in (indices, unit))
        self._waiting.append(tuple(every))
        return {"snca": LossTerm(value)}

    def after_step(self, good: Tensor | None = None) -> None:
        """Move the memory's rows of the step's images, of all processes, to their vectors.

        If `good`, a boolean (), does not hold, the memory stays as it is.
        """
        self._seen = tuple(torch.cat(part) for part in zip(*self._waiting, strict=True))
        self._waiting.clear()
        indices, unit = self._seen
        before = self.memory[indices]
        after = normalize(self.momentum * before + (1 - self.momentum) * unit)
        self.memory[indices] = after if good is None else torch.where(good, after, before)

    @torch.no_grad()
    def figures(self) -> dict[str, Tensor]:
        """Return how many of the last step's images their neighbors are right about.

        Beside it, signs of collapse.
        """
        indices, unit = self._seen
        classes = self.encoder.config.num_classes
        found = nearest_classes(
            unit, self.memory, self.labels, classes, self.config.temperature, indices
        )
        return {
            "memory_knn": (found == self.labels[indices]).float().mean(),
            "mean_cosine": mean_cosine(unit),
            "effective_rank": effective_rank(unit),
        }

    def extra_state(self) -> dict[str, Any]:
        """Return the memory's momentum, which changes with the epochs."""
        return {"memory_momentum": self.momentum}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore it; ValueError where it is none of the settings'."""
        if (momentum := state["memory_momentum"]) not in self.config.memory_momentum:
            raise ValueError(f"a memory's momentum of {momentum!r:.80}")
        self.momentum = momentum


def neighborhood_loss(
    unit: Tensor,
    memory: Tensor,
    labels: Tensor,
    indices: Tensor,
    temperature: float,
    margin: float = 0.0,
) -> Tensor:
    """Return - (1/N) sum of log P_i: that an image's neighbor is of its class (the paper, eq. 4).

    A neighbor is drawn by exp(x_i . V_j / T) among all rows j of the memory but the image's own.
    An image that is alone in its class counts as 0, and in N.

    Blocks of rows go forward and back one after the other, as in `contrastive_loss`, and nothing of
    the memory's size is copied. Sums of exponentials are taken as logarithms (ours): they overflow
    at no temperature.

    Args:
        unit: unit vectors of the images, (N, D), with gradient.
        memory: rows of all images, (n, D), to which no gradient goes.
        labels: classes of all images, (n,).
        indices: of the images among all, (N,).
        temperature: T.
        margin: taken from the logits of the own class.
    """
    leaf = unit.detach().requires_grad_()
    values = []
    with torch.enable_grad():
        batch = torch.arange(len(unit), device=unit.device)
        for rows in batch.split(rows_per_block(len(memory), batch.device)):
            logits = without_own(logits_of(leaf[rows], memory, temperature), indices[rows])
            same = labels[indices[rows]][:, None] == labels
            alone = same.sum(1) == 1
            logits = logits - margin * same
            # All rows where there is no other of the class: a sum over none has no gradient.
            of_class = logits.masked_fill(~(same | alone[:, None]), -torch.inf)
            log_p = of_class.logsumexp(1) - logits.logsumexp(1)
            value = -log_p.masked_fill(alone, 0).sum() / len(unit)
            value.backward()
            values.append(value.detach())
    return with_gradient(unit, torch.stack(values).sum(), leaf.grad)


def logits_of(unit: Tensor, memory: Tensor, temperature: float) -> Tensor:
    """Return x_i . V_j / T, (N, n), of unit vectors (N, D) and the memory's rows (n, D)."""
    return products(unit / temperature, memory.T)


def without_own(logits: Tensor, indices: Tensor) -> Tensor:
    """Return logits (N, n) with minus infinity in each image's own column (N,)."""
    return logits.scatter(1, indices[:, None], -torch.inf)


def nearest_classes(
    unit: Tensor,
    memory: Tensor,
    labels: Tensor,
    classes: int,
    temperature: float,
    indices: Tensor,
) -> Tensor:
    """Return the classes (N,) that the 30 nearest rows of the memory vote for.

    Each votes with exp(x_i . V_j / T), as the authors evaluate; an image's own row does not.

    Args:
        unit, memory, labels, temperature, indices: as of `neighborhood_loss`.
        classes: their number C.
    """
    found = []
    batch = torch.arange(len(unit), device=unit.device)
    for rows in batch.split(rows_per_block(len(memory), batch.device)):
        logits = without_own(logits_of(unit[rows], memory, temperature), indices[rows])
        nearest, neighbors = logits.topk(min(NEIGHBORS, len(memory)), dim=1)
        votes = unit.new_zeros(len(rows), classes)
        votes.scatter_add_(1, labels[neighbors], nearest.softmax(1))
        found.append(votes.argmax(1))
    return torch.cat(found)
