"""The items of a `torch.utils.data.Dataset` as the images and labels of a partition."""

import hashlib
from collections.abc import Sequence
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ancor.data.decode import ADVICE, as_rgb, check_size, unreadable
from ancor.data.transforms import pixels_of
from ancor.errors import InputError, choose

if TYPE_CHECKING:
    from PIL import Image

KINDS = (
    "a PIL image, or a tensor of uint8, or of floats from 0 to 1, of shape (3, H, W), (1, H, W) "
    "or (H, W)"
)
_TURN = RLock()  # one thread at a time asks a dataset, which may have a place in a file


class DatasetImages:
    """The images of a dataset, each read when it is asked for; none is kept.

    Args:
        dataset: gives items by number: images, or tuples that begin with one (`KINDS`). It has to
            give the same image each time; loading processes get a copy of it, and in a process it
            is asked by one thread at a time.
        title: what messages call it.
        content_id: text that is another one when any image is; None: a hash of all images, for
            which each is read once when it is first needed.
        side: pixels of every image at both sides, which is checked; None: of any size.
        positions: (N,), the items that are meant; None: all, in order.

    Raises:
        InputError: the dataset has no length or no items, or gives other images when it is asked
            again.
    """

    def __init__(
        self,
        dataset: Dataset,
        title: str,
        content_id: str | None = None,
        side: int | None = None,
        positions: np.ndarray | None = None,
    ) -> None:
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise InputError(
                f"{title} is of type {type(dataset).__name__}; expected a dataset with a length "
                "and items by number (map style): put the items of a stream into a list"
            )
        self.dataset, self.title, self.content_id, self.side = dataset, title, content_id, side
        self.positions = np.arange(len(dataset)) if positions is None else positions
        self._hash: str | None = None
        if positions is None:
            self._check_repeatable()

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> "Image.Image | Tensor":
        """Read an image: PIL of mode RGB, or bytes (3, H, W); InputError names the item."""
        with _TURN:  # a picture may be read only when it is decoded
            return self._image(self.item(index), self.name(index))

    def _image(self, item: Any, name: str) -> "Image.Image | Tensor":
        image = item[0] if isinstance(item, tuple | list) and item else item
        if isinstance(image, Tensor):
            image = _bytes(image.detach().cpu(), name)
            height, width = image.shape[1:]
        elif hasattr(image, "getbands"):
            image = as_rgb(image, name, ADVICE)
            width, height = image.size
        else:
            raise InputError(f"{name!r} is of type {type(image).__name__}; expected {KINDS}")
        if self.side is not None and (height, width) != (self.side, self.side):
            raise InputError(
                f"{name!r} is {width} x {height} pixels; expected {self.side} x {self.side}, the "
                "`native_size` of the dataset's transforms: leave that out for images of any size"
            )
        return image

    def item(self, index: int) -> Any:
        """Return what the dataset gives; InputError where it fails."""
        try:
            return self.dataset[int(self.positions[index])]
        except InputError:
            raise
        except unreadable() as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise InputError(f"{self.name(index)!r} cannot be read ({reason}); {ADVICE}") from error

    def name(self, index: int) -> str:
        """Name an image in messages, by its number in the dataset."""
        return f"item {self.positions[index]} of {self.title}"

    def content(self, index: int) -> bytes:
        """Return the shape and the bytes of its pixels."""
        pixels = pixels_of(self[index])
        return str(tuple(pixels.shape)).encode() + pixels.contiguous().numpy().tobytes()

    def fingerprint(self) -> str:
        """Hash all pixels, or `content_id`, once."""
        if self._hash is None:
            digest = hashlib.sha256()
            if self.content_id is not None:
                digest.update(self.content_id.encode() + self.positions.tobytes())
            else:
                for index in range(len(self)):
                    digest.update(hashlib.sha256(self.content(index)).digest())
            self._hash = digest.hexdigest()
        return self._hash

    def identity(self) -> str:
        """Hash all pixels, or `content_id`, once."""
        return self.fingerprint()

    def subset(self, kept: np.ndarray) -> "DatasetImages":
        """Return the images at the positions `kept`."""
        return DatasetImages(
            self.dataset, self.title, self.content_id, self.side, self.positions[kept]
        )

    def labels(self) -> list[Any]:
        """Read the label of every item, for which each image is read too."""
        found = []
        for index in range(len(self)):
            item = self.item(index)
            if not isinstance(item, tuple | list) or len(item) < 2:
                raise InputError(
                    f"{self.name(index)!r} is of type {type(item).__name__}; expected (image, "
                    "label), as no labels were given: give `fine`, a label for each item"
                )
            label = item[1]
            found.append(label.item() if isinstance(label, Tensor | np.generic) else label)
        return found

    def _check_repeatable(self) -> None:
        """Read some items twice: a random transform would make what is computed a draw of it."""
        if not len(self):
            raise InputError(f"{self.title} has no items; give a dataset that holds images")
        for index in {0, len(self) // 2, len(self) - 1}:
            try:
                contents = {self.content(index) for _ in range(3)}
            except InputError:  # told where the image is asked for, or left out
                continue
            if len(contents) > 1:
                raise InputError(
                    f"{self.name(index)!r} is another image each time; leave random transforms out "
                    "of the dataset, as views are drawn from its images"
                )


def _bytes(image: Tensor, name: str) -> Tensor:
    """Bring a tensor to bytes (3, H, W); InputError where it holds no image."""
    wide = image[None] if image.ndim == 2 else image
    known = image.dtype == torch.uint8 or image.is_floating_point()
    if not known or wide.ndim != 3 or wide.shape[0] not in (1, 3):
        shown = f"a tensor of {str(image.dtype).removeprefix('torch.')}, {tuple(image.shape)}"
        raise InputError(f"{name!r} is {shown}; expected {KINDS}")
    check_size(wide.shape[2], wide.shape[1], name)
    if image.is_floating_point():
        low, high = float(wide.min()), float(wide.max())
        if not 0 <= low <= high <= 1:
            raise InputError(
                f"{name!r} holds floats from {low:.3g} to {high:.3g}; expected 0 to 1, not "
                "normalized (the transforms' mean and std do that), or uint8 from 0 to 255"
            )
        wide = (255 * wide.float()).round().to(torch.uint8)
    return wide.expand(3, -1, -1)


def numbered(
    labels: Sequence[Any] | np.ndarray | Tensor, names: tuple[str, ...], title: str
) -> np.ndarray:
    """Return labels, numbers or names of classes, as numbers (N,) of int64.

    Raises:
        InputError: they are of another kind, or of a class that has no name.
    """
    labels = labels.cpu() if isinstance(labels, Tensor) else labels
    if len(labels) and all(isinstance(label, str) for label in labels):
        number = {name: position for position, name in enumerate(names)}
        return np.array([number[choose(f"{title}: class", n, number)] for n in labels])
    found = np.asarray(labels)
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise InputError(
            f"{title} has labels of {found.dtype}, shape {found.shape}; expected a class number, "
            "or a class name, for each item"
        )
    outside = np.flatnonzero((found < 0) | (found >= len(names)))
    if len(outside):
        first = outside[0]
        raise InputError(
            f"{title} has label {found[first]} at item {first}; accepted: 0 to "
            f"{len(names) - 1}, the classes that the hierarchy names"
        )
    return found.astype(np.int64)
