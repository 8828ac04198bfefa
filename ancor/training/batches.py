"""Which images stand in which batch, and the loader that brings them."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from ancor.data.color import recolour
from ancor.data.loading import Loader
from ancor.data.partition import Partition, TrainingViews
from ancor.data.transforms import TransformSpec, normalise
from ancor.methods.base import Batch
from ancor.runtime.distributed import share
from ancor.runtime.seeding import generator


class EpochBatches(Sampler):
    """This process's parts of the batches, as requests (epoch, index).

    An epoch's order is a function of (seed, epoch), the same for all processes; each takes its
    share of every batch, so that together they see what one process would see. The last incomplete
    batch is dropped.

    Attributes:
        epoch: the epoch that the next iteration goes through.
        first: the batch that it begins with.
    """

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.epoch, self.first = 0, 0

    def __len__(self) -> int:
        return self.size // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = torch.randperm(self.size, generator=generator(self.seed, "shuffle", self.epoch))
        for number in range(self.first, len(self)):
            start = number * self.batch_size
            batch = order[start : start + self.batch_size][share(self.batch_size)]
            yield [(self.epoch, index) for index in batch.tolist()]


class TrainingBatches:
    """The training set as batches on a device, epoch by epoch.

    Args:
        partition: the training images.
        labels: which labels to give out, (N,).
        transforms: how the network sees the images.
        views: views of each image.
        batch_size: images of a batch over all processes; a smaller training set is one batch.
        seed: the run's seed.
        workers: processes that load.
        device: where batches go.
        colour_on_device: whether the device, not the workers, changes colours and blurs.
    """

    def __init__(
        self,
        partition: Partition,
        labels: np.ndarray,
        transforms: TransformSpec,
        views: int,
        batch_size: int,
        seed: int,
        workers: int,
        device: torch.device,
        colour_on_device: bool = False,
    ) -> None:
        self.batch_size = min(batch_size, len(partition))
        self.device, self.transforms = device, transforms
        self.colour_on_device = colour_on_device and transforms.draws_colours
        self.sampler = EpochBatches(len(partition), self.batch_size, seed)
        self.loader = Loader(
            TrainingViews(
                partition.images, labels, transforms, views, seed, not self.colour_on_device
            ),
            workers,
            device,
            "--resume auto goes on from the last save",
            batch_sampler=self.sampler,
            persistent_workers=workers > 0,
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield this process's parts of the batches of an epoch, from batch `first` on.

        Raises:
            RunError: a loading process died.
        """
        self.sampler.epoch, self.sampler.first = epoch, first
        for views, drawings, labels, indices in self.loader:
            moved = [self._moved(*both) for both in zip(views, drawings, strict=True)]
            yield Batch(tuple(moved), labels, indices)

    def preview(self, count: int) -> Tensor:
        """Return the views of the first images, image by image: bytes (count * views, 3, S, S)."""
        items = [self.loader.dataset[(0, index)] for index in range(count)]
        views = torch.stack([view for item in items for view in item[0]])
        if not self.colour_on_device:
            return views
        return (
            recolour(views, np.stack([drawn for item in items for drawn in item[1]])).round().byte()
        )

    def _moved(self, view: Tensor, drawn: Tensor) -> Tensor:
        view = view.to(self.device, non_blocking=True)
        if self.colour_on_device:
            view = recolour(view, drawn.numpy())
        return normalise(view, self.transforms).contiguous(memory_format=torch.channels_last)
