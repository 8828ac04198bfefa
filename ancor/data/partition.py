"""A partition of a dataset: images, their labels and the classes' names."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ancor.data.hierarchy import Hierarchy
from ancor.errors import InputError, MissingPartition, choose

if TYPE_CHECKING:
    from torch.utils.data import Dataset


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

    def fingerprint(self) -> str:
        """Return a hash that is another one when any image is; no image is decoded."""

    def identity(self) -> str:
        """Return a hash of what the images are, wherever they are kept; no image is decoded."""

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
        choose("`mode`", mode, ("coarse", "fine"))
        if mode == "coarse":
            return self.coarse_labels
        if self.fine_labels is None:
            raise InputError(
                f"partition {self.name!r} of {self.dataset!r} has no fine labels; "
                "use `mode` coarse, or a partition that has them"
            )
        return self.fine_labels

    def fingerprint(self, mode: str) -> str:
        """Return a hash of the images and their labels of the level `mode`."""
        labels = np.ascontiguousarray(self.labels(mode), dtype=np.int64)
        return hashlib.sha256(self.images.identity().encode() + labels.tobytes()).hexdigest()

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

    @classmethod
    def from_names(
        cls,
        dataset: str,
        name: str,
        images: Images,
        coarse: Sequence[str],
        fine: Sequence[str] | None = None,
        training: Collection[str] = (),
        layout: str = "",
    ) -> "Partition":
        """Make a partition of class names, numbered in their order.

        Args:
            dataset, name, images, layout: see the class.
            coarse: (N,) names.
            fine: (N,) names, or None where they are not known.
            training: coarse classes that come first in the numbering, so that they have the same
                numbers in every partition.
        """
        known = sorted(set(training))
        names = tuple(known + sorted(set(coarse) - set(known)))
        coarse_labels = _numbers(coarse, names)
        if fine is None:
            return cls(dataset, name, images, coarse_labels, None, Hierarchy(names), layout)
        pairs = sorted(set(zip(coarse_labels.tolist(), fine, strict=True)))
        fine_names = tuple(dict.fromkeys(each for _, each in pairs))
        fine_labels = _numbers(fine, fine_names)
        hierarchy = Hierarchy.from_labels(fine_labels, coarse_labels, fine_names, names, layout)
        return cls.from_fine(dataset, name, images, fine_labels, hierarchy, layout)

    @classmethod
    def from_dataset(
        cls,
        source: "Dataset",
        fine: Sequence[int] | Sequence[str] | np.ndarray | None,
        hierarchy: Hierarchy,
        *,
        dataset: str = "own",
        name: str = "train",
        content_id: str | None = None,
        side: int | None = None,
    ) -> "Partition":
        """Make a partition of any `torch.utils.data.Dataset` that has a length.

        Images are read when they are asked for; none is kept (`ancor.data.dataset_images`).

        Args:
            source: gives by number an image, or a tuple that begins with one: PIL, or a tensor of
                uint8, or of floats from 0 to 1, of shape (3, H, W), (1, H, W) or (H, W). Without
                augmentation and normalization, which are ANCOR's.
            fine: the fine class of each item, (N,): numbers, or names, of the hierarchy's. None:
                items are (image, label), and all are read once for the labels.
            hierarchy: names and levels of the classes. With coarse names alone, `fine` are coarse
                labels, and the partition has no fine ones.
            dataset, name: see the class.
            content_id: text that is another one when any image is, so that runs and feature caches
                need not read all images to know them; None: a hash of all images.
            side: pixels of every image at both sides; None: any size, or the `native_size` of the
                transforms that the dataset is registered with.

        Raises:
            InputError: the dataset has no length or no items, draws its images at random, or the
                labels do not fit.
        """
        from ancor.data.dataset_images import DatasetImages, numbered

        title = f"partition {name!r} of {dataset!r}"
        images = DatasetImages(source, title, content_id, side)
        labels = images.labels() if fine is None else fine
        if len(labels) != len(images):
            raise InputError(
                f"{title}: {len(labels)} labels for {len(images)} items; give one for each"
            )
        known = numbered(labels, hierarchy.fine_names or hierarchy.coarse_names, title)
        if hierarchy.fine_names:
            return cls.from_fine(dataset, name, images, known, hierarchy)
        return cls(dataset, name, images, known, None, hierarchy)

    def subset(self, kept: np.ndarray, skipped: tuple[str, ...] = ()) -> "Partition":
        """Return the images at the positions `kept`; `skipped` says why the others are gone."""
        return replace(
            self,
            images=self.images.subset(kept),
            coarse_labels=self.coarse_labels[kept],
            fine_labels=None if self.fine_labels is None else self.fine_labels[kept],
            skipped=skipped,
        )


def _numbers(labels: Sequence[str], names: tuple[str, ...]) -> np.ndarray:
    number = {name: position for position, name in enumerate(names)}
    return np.array([number[label] for label in labels], dtype=np.int64)
