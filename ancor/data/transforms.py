"""What happens to an image before the network sees it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class TransformSpec:
    """A dataset's transforms, as data.

    Attributes:
        size: side S of the images that the network sees, in pixels.
        mean, std: of each channel, for images scaled to 0-1.
        native_size: side of the stored images where all are square and alike; None: photographs of
            any size, which evaluation resizes to `resize` at the shorter side and crops to `size`.
        resize: see `native_size`.
        crop_scale: smallest and largest share of the area that a training crop takes.
        flip: whether mirror images are of the same class.
        colour: colour jitter and random greyscale while training.
        blur: Gaussian blur while training.
        support_padding: pixels added around an image before a support view's random crop.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    native_size: int | None = None
    resize: int = 256
    crop_scale: tuple[float, float] = (0.2, 1.0)
    flip: bool = True
    colour: bool = False
    blur: bool = False
    support_padding: int = 0

    @property
    def support_only_flips(self) -> bool:
        """Whether a support view is the query view or its mirror image."""
        return self.native_size is not None and not self.support_padding and self.flip

    def with_size(self, size: int | None) -> "TransformSpec":
        """Return this for another image size; the resize before the crop keeps its proportion."""
        if size is None or size == self.size:
            return self
        return replace(self, size=size, resize=round(self.resize * size / self.size))


def normalise(images: Tensor, spec: TransformSpec) -> Tensor:
    """Map a batch of bytes (N, 3, S, S) to floats of zero mean and unit deviation.

    Batches are bytes until they lie on the device: they travel in a quarter of the room.
    """
    mean, std = (
        images.new_tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (spec.mean, spec.std)
    )
    return (images.float() - 255 * mean) / (255 * std)


def training_transform(spec: TransformSpec):
    """Return the random transform of a training view: image -> bytes (3, S, S)."""
    from torchvision.transforms import v2

    steps = [v2.RandomResizedCrop(spec.size, scale=spec.crop_scale)]
    if spec.colour:
        steps += [
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(0.2),
        ]
    if spec.blur:
        kernel = 2 * (spec.size // 20) + 1
        steps += [v2.RandomApply([v2.GaussianBlur(kernel, sigma=(0.1, 2.0))], p=0.5)]
    if spec.flip:
        steps += [v2.RandomHorizontalFlip()]
    return v2.Compose([v2.ToImage(), *steps])


def support_transform(spec: TransformSpec):
    """Return the mild random transform of a support view: image -> bytes (3, S, S)."""
    from torchvision.transforms import v2

    steps = _resize(spec)
    if spec.native_size is None:
        steps += [v2.RandomCrop(spec.size)]
    elif spec.support_padding:
        steps += [v2.RandomCrop(spec.size, padding=spec.support_padding)]
    if spec.flip:
        steps += [v2.RandomHorizontalFlip()]
    return v2.Compose([v2.ToImage(), *steps])


def query_transform(spec: TransformSpec):
    """Return the test transform, which draws nothing: image -> bytes (3, S, S)."""
    from torchvision.transforms import v2

    crop = [v2.CenterCrop(spec.size)] if spec.native_size is None else []
    return v2.Compose([v2.ToImage(), *_resize(spec), *crop])


def _resize(spec: TransformSpec) -> list:
    from torchvision.transforms import v2

    if spec.native_size is None:
        return [v2.Resize(spec.resize)]
    return [] if spec.size == spec.native_size else [v2.Resize((spec.size, spec.size))]
