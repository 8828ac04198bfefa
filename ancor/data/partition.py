"""A partition of a dataset, and the views of its images that training and evaluation ask for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Protocol

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from ancor.data.hierarchy import Hierarchy
from ancor.data.transforms import TransformSpec, pixels_of, training_view
from ancor.errors import InputError, MissingPartition, choose
from ancor.runtime.seeding import address_seed, seeded

QUERY_VIEW = -1
MIRROR_VIEW = -2
SUPPORT_VIEW = "support view"  # what such a view's random numbers are for


class Images(Protocol):
    """Images by position: uint8 tensors (3, H, W) or PIL images (see `ancor.data.images`)."""

    def __len__(self) -> int:
        """Count the images."""

    def __getitem__(self, index: int) -> Any:
        """Read one image."""

    def name(self, index: int) -> str:
        """Name an image in messages."""

    def content(self, index: int) -> bytes:
        """Return bytes that are equal only for equal images."""

    def subset(self, kept: np.ndarray) -> "Images":
        """Return the images at the positions `kept`."""


@dataclass(frozen=True)
class Partition:
    """A partition of a dataset.

    Attributes:
        dataset: the dataset's name.
        name: `train`, `validation` or `test`.
        images: the images, in dataset order.
        coarse_labels: (N,) of int64.
        fine_labels: (N,) of int64, or None where they are not known.
        hierarchy: names, and the map between the levels.
        layout: where and in which form the images were found.
        skipped: one line for each image that was left out because it cannot be read.
        notes: lines on what else lay there and is not read, or is read in a way to be told.
    """

    dataset: str
    name: str
    images: Images
    coarse_labels: np.ndarray
    fine_labels: np.ndarray | None
    hierarchy: Hierarchy
    layout: str = ""
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self):
            raise MissingPartition(
                f"partition {self.name!r} of {self.dataset!r} holds no image; fetch its files again"
            )

    def __len__(self) -> int:
        return len(self.coarse_labels)

    def labels(self, mode: str) -> np.ndarray:
        """Labels (N,) of the level `coarse` or `fine`; InputError where they are not known."""
        choose("--mode", mode, ("coarse", "fine"))
        if mode == "coarse":
            return self.coarse_labels
        if self.fine_labels is None:
            raise InputError(
                f"partition {self.name!r} of {self.dataset!r} has no fine labels; "
                "use --mode coarse, or a partition that has them"
            )
        return self.fine_labels

    @classmethod
    def from_fine(
        cls,
        dataset: str,
        name: str,
        images: Images,
        fine_labels: np.ndarray,
        hierarchy: Hierarchy,
        layout: str = "",
    ) -> "Partition":
        """Make a partition whose coarse labels follow from the fine ones."""
        fine_labels = np.asarray(fine_labels, dtype=np.int64)
        known = hierarchy.num_fine
        if len(fine_labels) and not 0 <= fine_labels.min() <= fine_labels.max() < known:
            raise InputError(
                f"partition {name!r} of {dataset!r} has labels from {fine_labels.min()} to "
                f"{fine_labels.max()}; accepted: 0 to {known - 1}: fetch its files again"
            )
        coarse_labels = hierarchy.coarse(fine_labels)
        return cls(dataset, name, images, coarse_labels, fine_labels, hierarchy, layout)

    def subset(self, kept: np.ndarray, skipped: tuple[str, ...] = ()) -> "Partition":
        """Return the images at the positions `kept`; `skipped` says why the others are gone."""
        return replace(
            self,
            images=self.images.subset(kept),
            coarse_labels=self.coarse_labels[kept],
            fine_labels=None if self.fine_labels is None else self.fine_labels[kept],
            skipped=skipped,
        )


class TrainingViews(Dataset):
    """Items for training: asked for (epoch, index), it gives (views, drawings, label, index).

    An image is decoded once for all its views. A view, bytes (3, S, S), is a function of (seed,
    epoch, index, view number) alone; so is its drawing (`ancor.data.color`).

    Args:
        images: the training images.
        labels: (N,) of int64.
        spec: what views are drawn from.
        views: views an item.
        seed: the run's seed.
        colour: whether the drawings are applied here; where not, `recolour` has to follow.
    """

    def __init__(
        self,
        images: Images,
        labels: np.ndarray,
        spec: TransformSpec,
        views: int,
        seed: int,
        colour: bool = True,
    ) -> None:
        self.images, self.labels, self.spec = images, labels, spec
        self.views, self.seed, self.colour = views, seed, colour

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(
        self, request: tuple[int, int]
    ) -> tuple[tuple[Tensor, ...], tuple[np.ndarray, ...], int, int]:
        epoch, index = request
        pixels = pixels_of(self.images[index])
        made = []
        for view in range(self.views):
            rng = Random(address_seed(self.seed, "training view", epoch, index, view))
            made.append(training_view(pixels, self.spec, rng, self.colour))
        views, drawings = zip(*made, strict=True)
        return views, drawings, int(self.labels[index]), index


class EvaluationViews(Dataset):
    """Items for evaluation: the image and view number at each position of a list.

    View -1 is the image under the test transform, view -2 its mirror image; views 0, 1, ... are
    random augmentations, each a function of (seed, image, view number).

    Args:
        images: the images of the partition.
        pairs: (P, 2) of int64: image, view.
        query_transform: what view -1 is made by.
        support_transform: what the other views are made by.
        seed: seed of the views.
    """

    def __init__(
        self,
        images: Images,
        pairs: np.ndarray,
        query_transform: Callable,
        support_transform: Callable,
        seed: int,
    ) -> None:
        self.images, self.pairs, self.seed = images, pairs, seed
        self.query_transform, self.support_transform = query_transform, support_transform

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, position: int) -> Tensor:
        image, view = self.pairs[position].tolist()
        if view in (QUERY_VIEW, MIRROR_VIEW):
            picture = self.query_transform(self.images[image])
            return picture if view == QUERY_VIEW else picture.flip(-1)
        with seeded(self.seed, SUPPORT_VIEW, image, view):
            return self.support_transform(self.images[image])


def distinct_views(pairs: np.ndarray, spec: TransformSpec, seed: int) -> np.ndarray:
    """Name views by what they show, where a support view only flips or does not.

    Args:
        pairs: (P, 2) of image and view.
        spec: the transforms.
        seed: seed of the views.

    Returns:
        Pairs (P, 2) of the same pictures, each picture under one name if support views only flip.
    """
    if not spec.support_only_flips:
        return pairs
    import torch

    generator = torch.Generator()

    def shown(image: int, view: int) -> int:
        if view < 0:
            return view
        # The draw of `support_transform`.
        generator.manual_seed(address_seed(seed, SUPPORT_VIEW, image, view))
        flipped = bool(torch.rand(1, generator=generator) < 0.5)
        return MIRROR_VIEW if flipped else QUERY_VIEW

    views = [shown(image, view) for image, view in pairs.tolist()]
    return np.stack([pairs[:, 0], np.array(views, dtype=np.int64)], axis=1)
