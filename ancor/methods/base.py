"""What training asks of a method."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from ancor.methods.losses import LossTerm
from ancor.methods.queues import KeyQueue
from ancor.models.encoder import Encoder

if TYPE_CHECKING:
    from ancor.methods.ancor import AncorConfig


class Batch(NamedTuple):
    """A batch of images.

    Attributes:
        views: augmented views, each (N, 3, H, W), on the device; as many as the method asks for.
        labels: classes (N,), on the host.
        indices: positions of the images in the training set, (N,), on the host.
        shuffle: with several processes, a permutation of the images that all of them hold together,
            the same on all; None with one.
    """

    views: tuple[Tensor, ...]
    labels: Tensor
    indices: Tensor
    shuffle: Tensor | None = None


class Method(Protocol):
    """A training method: the loop adds its losses up, logs each by name, and steps.

    Attributes:
        encoder: what the optimiser trains and evaluation uses.
        key_encoder: a second one that follows it, or None.
        queue: what keys wait in, or None.
        views: augmented views that it needs of each image.
    """

    encoder: Encoder
    key_encoder: Encoder | None
    queue: KeyQueue | None
    views: int

    @staticmethod
    def check(head: str, config: "AncorConfig") -> None:
        """Raise an InputError for settings that have no meaning with this head."""

    def prepare(self, device: torch.device, compiled: bool = False) -> None:
        """Have the passes run over all processes of a group, and compiled if asked."""

    def describe(self) -> str:
        """Name the losses and what they depend on, in a line."""

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        """Compute the losses of a batch by name."""

    def moved_by_losses(self) -> list[Tensor]:
        """List the tensors that `losses` changes, which an undone step has to get back."""

    def after_step(self, good: Tensor | None = None) -> None:
        """Do what follows the optimiser's step; nothing if `good`, a boolean (), does not hold."""

    def figures(self) -> dict[str, Tensor]:
        """Return figures of the last batch that tell whether training is healthy."""

    def without_averaging(self) -> AbstractContextManager:
        """Return a context in which gradients are not yet averaged over the processes."""
