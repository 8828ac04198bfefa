"""Which images stand in which batch, and the loader that brings them."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler, default_collate

from ancor.data.color import recolor, recolored
from ancor.data.features import FeatureRows, TrainingRows, as_it_is
from ancor.data.loading import Loader
from ancor.data.partition import Partition
from ancor.data.transform_spec import TransformSpec
from ancor.data.transforms import normalize
from ancor.data.views import TrainingViews
from ancor.errors import InputError, choose
from ancor.methods.balance import balanced_order
from ancor.methods.base import Batch, Method
from ancor.models.groups import backbone_groups, batch_norms, fixed_modules, frozen_groups
from ancor.models.maps import fewest_values
from ancor.runtime.distributed import rank_slice, world_size
from ancor.runtime.lazy import Lazy
from ancor.runtime.seeding import generator
from ancor.training.config import RunConfig

vision = Lazy("torchvision.utils")


class EpochBatches(Sampler):
    """This process's parts of the batches, as requests (epoch, index) or (number, index, purpose).

    An epoch's order is a function of (seed, epoch), the same for all processes; each takes its
    share of every batch, so that together they see what one process would see. The last incomplete
    batch is dropped.

    Args:
        size: images of the training set.
        batch_size: images of a batch, over all processes.
        seed: the run's.
        labels: their classes, (N,), for `balance`.
        balance: how often each class is seen in an epoch (`ancor.methods.balance`).

    Attributes:
        epoch: the epoch that the next iteration goes through.
        first: the batch that it begins with.
        purpose: what a pass is for that is no epoch of training, whose number `epoch` is; else "".
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        labels: np.ndarray | None = None,
        balance: str = "none",
    ) -> None:
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.labels, self.balance = labels, balance
        self.epoch, self.first, self.purpose = 0, 0, ""

    def __len__(self) -> int:
        return self.size // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, int] | tuple[int, int, str]]]:
        purpose = [self.purpose] if self.purpose else []
        address = (" ".join(["shuffle", *purpose]), self.epoch)
        drawing = generator(self.seed, *address)
        rounds = torch.zeros(self.size, dtype=torch.int64)
        if self.balance == "none" or purpose:
            order = torch.randperm(self.size, generator=drawing)
        else:
            labels = torch.from_numpy(self.labels)
            order, rounds = balanced_order(labels, self.balance, drawing)
        for number in range(self.first, len(self)):
            start = number * self.batch_size
            own = slice(start, start + self.batch_size)
            share = rank_slice(self.batch_size)
            pairs = zip(order[own][share].tolist(), rounds[own][share].tolist(), strict=True)
            # An image that comes again has other views: its round is what they are for.
            yield [
                (self.epoch, index, *([f"round {again}"] if again else purpose))
                for index, again in pairs
            ]


class TrainingBatches:
    """The training set as batches on a device, epoch by epoch.

    Args:
        partition: the training images.
        labels: which labels to give out, (N,).
        transforms: how the network sees the images.
        views: the kind of each view of an image (`ancor.data.transform_spec.VIEW_KINDS`).
        batch_size: images of a batch over all processes; a smaller training set is one batch.
        seed: the run's seed.
        workers: processes that load.
        device: where batches go.
        color_on_device: whether the device, not the workers, changes colors and blurs.
        balance: how often each class is seen in an epoch (`ancor.methods.balance`).

    Attributes:
        fine_labels: (N,), which are never given out, or None where they are not known.
    """

    def __init__(
        self,
        partition: Partition,
        labels: np.ndarray,
        transforms: TransformSpec,
        views: tuple[str, ...],
        batch_size: int,
        seed: int,
        workers: int,
        device: torch.device,
        color_on_device: bool = False,
        balance: str = "none",
    ) -> None:
        self.batch_size = min(batch_size, len(partition))
        self.device, self.transforms = device, transforms
        self.fine_labels = partition.fine_labels
        self.color_on_device = color_on_device and transforms.draws_colors
        self.sampler = EpochBatches(len(partition), self.batch_size, seed, labels, balance)
        images, options = partition.images, {}
        if isinstance(images, FeatureRows):
            items = TrainingRows(images, labels, len(views), seed)
            options["collate_fn"] = as_it_is
        else:
            items = TrainingViews(images, labels, transforms, views, seed, color=False)
            if transforms.draws_colors and not self.color_on_device:
                options["collate_fn"] = recolored_batch
        self.loader = Loader(
            items,
            workers,
            device,
            "`resume` auto goes on from the last save",
            batch_sampler=self.sampler,
            persistent_workers=workers > 0,
            **options,
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield this process's parts of the batches of an epoch, from batch `first` on.

        Raises:
            RunError: a loading process died.
        """
        return self._pass(epoch, first, "")

    def another_pass(self, purpose: str, number: int = 0) -> Iterator[Batch]:
        """Yield this process's parts of the batches of a pass that is no epoch of training.

        Order and views are drawn by (purpose, number), apart from all epochs'. The last incomplete
        batch is dropped. To be gone through before or after an epoch, not within one.
        """
        return self._pass(number, 0, purpose)

    def _pass(self, number: int, first: int, purpose: str) -> Iterator[Batch]:
        self.sampler.epoch, self.sampler.first, self.sampler.purpose = number, first, purpose
        order = torch.arange(self.batch_size) if purpose and world_size() > 1 else None
        for views, drawings, labels, indices in self.loader:
            moved = [self._moved(*both) for both in zip(views, drawings, strict=True)]
            yield Batch(tuple(moved), labels, indices, order)

    def preview(self, count: int) -> Tensor | None:
        """Return the views of the first images, image by image: bytes (count * views, 3, S, S).

        None where there are features in the place of images.
        """
        if isinstance(self.loader.dataset, TrainingRows):
            return None
        items = [self.loader.dataset[(0, index)] for index in range(count)]
        views = torch.stack([view for item in items for view in item[0]])
        if not self.transforms.draws_colors:
            return views
        return recolored(views, np.stack([drawn for item in items for drawn in item[1]]))

    def picture(self, count: int) -> np.ndarray | None:
        """Draw the views of the first images, one row a view: bytes (3, H, W); None as there."""
        views = self.preview(count)
        return None if views is None else vision.make_grid(views, nrow=count).numpy()

    def _moved(self, view: Tensor, drawn: Tensor) -> Tensor:
        view = view.to(self.device, non_blocking=True)
        if view.ndim == 2:  # features
            return view
        if self.color_on_device:
            view = recolor(view, drawn.numpy())
        return normalize(view, self.transforms).contiguous(memory_format=torch.channels_last)


def recolored_batch(items: list) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    """Collate the items of `TrainingViews`, and change the colors of each view's batch at once.

    Of small images that takes a quarter of the time that it does one by one.
    """
    views, drawings, labels, indices = default_collate(items)
    views = [recolored(view, drawn.numpy()) for view, drawn in zip(views, drawings, strict=True)]
    return views, drawings, labels, indices


def micro_batches(
    batch: Batch, batch_size: int, count: int, seed: int, step: int
) -> list[tuple[Batch, float]]:
    """Divide this process's part of a batch for gradient accumulation.

    Args:
        batch: the part.
        batch_size: images of the batch over all processes.
        count: how many micro-batches are asked for; a small batch makes fewer.
        seed: the run's.
        step: its number.

    Returns:
        Each with its share of the images of `batch`; all processes make as many, and with several
        processes each has its shuffle over them.
    """
    count = min(count, batch_size // world_size())
    views = zip(*(view.tensor_split(count) for view in batch.views), strict=True)
    labels, indices = batch.labels.tensor_split(count), batch.indices.tensor_split(count)
    return [
        (Batch(*fields, _shuffle(batch_size, part, count, seed, step)), len(fields[1]) / size)
        for size in [len(batch.labels)]
        for part, fields in enumerate(zip(views, labels, indices, strict=True))
    ]


def _shuffle(batch_size: int, part: int, parts: int, seed: int, step: int) -> Tensor | None:
    """Return a permutation of the images that all processes hold in one part of the batch."""
    if world_size() == 1:
        return None
    shares = (rank_slice(batch_size, of) for of in range(world_size()))
    sizes = (divmod(own.stop - own.start, parts) for own in shares)
    images = sum(size + (part < more) for size, more in sizes)
    return torch.randperm(images, generator=generator(seed, "batch-norm shuffle", step, part))


def check_parts(config: RunConfig, method: Method, batch_size: int) -> None:
    """Raise an InputError where a part of a batch has no image, or too few for batch norm.

    Args:
        config: the run's.
        method: what is trained.
        batch_size: images of a batch over all processes.
    """
    training, processes = config.training, world_size()
    share = batch_size // processes
    if share == 0:
        raise InputError(
            f"`batch_size` {training.batch_size}: fewer images than the {processes} processes; "
            "each needs one"
        )
    one = share // min(training.accumulate, share) == 1
    # A method whose batches cannot be split passes all views of an image at once.
    if not one or not method.accumulates or (training.sync_bn and processes > 1):
        return
    backbone = method.encoder.backbone
    count = frozen_groups(training.frozen(training.epochs - 1), backbone)
    names = backbone_groups(backbone).names[:count] if count else ()
    fixed = fixed_modules(backbone, {name for group in names for name in group})
    norms = () if training.freeze_bn else set(batch_norms(backbone)) - set(fixed)
    if norms and fewest_values(backbone, config.data.transforms.size, norms) == 1:
        among = f" in {processes} processes" if processes > 1 else ""
        raise InputError(
            f"`batch_size` {training.batch_size} and `accumulate` {training.accumulate}{among}: "
            f"passes of one image, of which `arch` {config.encoder.arch} leaves 1 x 1, give batch "
            "norm a single value a channel; raise `batch_size`, lower `accumulate`, or give a "
            "larger `image_size`"
        )


def augments_on_device(name: str, device: torch.device) -> bool:
    """Tell whether the device changes colors and blurs; InputError for an unknown name."""
    choose("`augment_on`", name, ("workers", "device", "auto"))
    return name == "device" or (name == "auto" and device.type == "cuda")
