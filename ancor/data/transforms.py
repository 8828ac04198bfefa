"""What happens to an image before the network sees it."""

from collections.abc import Callable
from functools import partial
from math import exp, log, sqrt
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ancor.data.color import draw, recolored
from ancor.data.policies import changed
from ancor.data.transform_spec import TransformSpec
from ancor.runtime.lazy import Lazy

v2, functional = Lazy("torchvision.transforms.v2"), Lazy("torchvision.transforms.v2.functional")
MOST_RESIZED = 2**27  # pixels of a resized image, before its crop


def normalize(images: Tensor, spec: TransformSpec) -> Tensor:
    """Map a batch (N, 3, S, S), 0-255, to floats of zero mean and unit deviation.

    Batches are bytes until they lie on the device: they travel in a quarter of the room.
    """
    mean, std = (
        images.new_tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (spec.mean, spec.std)
    )
    return (images.float() - 255 * mean) / (255 * std)


class Crop(NamedTuple):
    """A part of an image, in pixels, and whether it is mirrored."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool


def draw_crop(rng: Random, spec: TransformSpec, height: int, width: int) -> Crop:
    """Draw a training view's part of an image, as torchvision's RandomResizedCrop does."""
    mirrored = spec.flip and rng.random() < 0.5
    for _ in range(10):
        area = height * width * rng.uniform(*spec.crop_scale)
        ratio = exp(rng.uniform(-log(4 / 3), log(4 / 3)))
        w, h = round(sqrt(area * ratio)), round(sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return Crop(rng.randint(0, height - h), rng.randint(0, width - w), h, w, mirrored)
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    return Crop((height - h) // 2, (width - w) // 2, h, w, mirrored)


def cropped(pixels: Tensor, crop: Crop, size: int) -> Tensor:
    """Cut a part out of an image (3, H, W) of bytes and resize it to (3, size, size).

    Bytes that lie pixel by pixel, as decoders leave them, are resized several times faster than by
    Pillow.
    """
    part = pixels[None, :, crop.top :, crop.left :][:, :, : crop.height, : crop.width]
    resized = F.interpolate(part, (size, size), mode="bilinear", antialias=True)[0]
    return resized.flip(-1) if crop.mirrored else resized


def pixels_of(image: Image.Image | Tensor) -> Tensor:
    """Return an image, PIL or tensor, as bytes (3, H, W), without moving pixels of a PIL image."""
    if isinstance(image, Tensor):
        return image
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def training_view(
    pixels: Tensor, spec: TransformSpec, rng: Random, color: bool = True
) -> tuple[Tensor, np.ndarray]:
    """Make a random view of an image, and the drawing of its colors (`ancor.data.color`).

    Args:
        pixels: the image, bytes (3, H, W).
        spec: what is drawn from.
        rng: draws it.
        color: whether to apply the drawing here; where not, `recolor` has to follow.

    Returns:
        Bytes (3, S, S) and float32 (COLUMNS,).
    """
    crop = draw_crop(rng, spec, *pixels.shape[1:])
    drawn = draw(rng, spec)
    view = changed(cropped(pixels, crop, spec.size), spec, rng)
    if color and spec.draws_colors:
        view = recolored(view[None], drawn[None])[0]
    return view.contiguous(), drawn


def support_transform(spec: TransformSpec) -> Callable:
    """Return the mild random transform of a support view: image -> bytes (3, S, S)."""
    steps = _stored(spec) + _resize(spec) + _border(spec)
    if spec.native_size is None:
        steps += [v2.RandomCrop(spec.size)]
    elif spec.support_padding:
        steps += [v2.RandomCrop(spec.size, padding=spec.support_padding)]
    if spec.flip:
        steps += [v2.RandomHorizontalFlip()]
    return v2.Compose([v2.ToImage(), *steps])


def stored_form(spec: TransformSpec) -> Callable:
    """Return what brings any image to the form of the dataset's own: image -> bytes (3, H, W).

    That is square and of the native size, by resizing the shorter side and cropping the center; or,
    of photographs, of the shorter side that all their transforms begin with.
    """
    return v2.Compose([v2.ToImage(), *(_stored(spec) or _resize(spec))])


def query_transform(spec: TransformSpec) -> Callable:
    """Return the test transform, which draws nothing: image -> bytes (3, S, S)."""
    crop = [v2.CenterCrop(spec.size)] if spec.native_size is None else []
    return v2.Compose([v2.ToImage(), *_stored(spec), *_resize(spec), *_border(spec), *crop])


def _stored(spec: TransformSpec) -> list:
    """Return what makes images of the native size of those that are not, as another dataset's."""
    return [] if spec.native_size is None else [partial(_square, spec.native_size)]


def _square(side: int, image: Tensor) -> Tensor:
    """Resize an image (3, H, W) at its shorter side and crop its center to (3, side, side)."""
    if image.shape[-2:] == (side, side):
        return image
    return functional.center_crop(_shorter_side(side, image), [side, side])


def _resize(spec: TransformSpec) -> list:
    if spec.native_size is not None and spec.size == spec.native_size:
        return []
    if spec.native_size is not None or spec.crop_mode == "squash":
        side = spec.resize if spec.native_size is None else spec.size
        return [partial(_resized, spec.interpolation, [side, side])]
    if spec.crop_mode == "border":
        return [partial(_longer_side, spec.resize, interpolation=spec.interpolation)]
    return [partial(_shorter_side, spec.resize, interpolation=spec.interpolation)]


def _resized(interpolation: str | None, size: list[int], image: Tensor) -> Tensor:
    """Resize an image (3, H, W) of bytes to a size, or at its shorter side to the only one."""
    if interpolation is None:
        return functional.resize(image, size)
    how = v2.InterpolationMode(interpolation)
    resized = functional.resize(functional.to_pil_image(image), size, how)
    return functional.pil_to_tensor(resized)


def _border(spec: TransformSpec) -> list:
    """Return what fills a resized photograph up where it is smaller than the network's images."""
    return [] if spec.border is None else [partial(_filled_up, spec.size, spec.border)]


def _filled_up(size: int, color: list[int], image: Tensor) -> Tensor:
    height, width = (max(0, size - side) for side in image.shape[-2:])
    around = [width // 2, height // 2, -(-width // 2), -(-height // 2)]  # left, top, right, bottom
    return functional.pad(image, around, fill=color)


def _longer_side(side: int, image: Tensor, interpolation: str | None = None) -> Tensor:
    """Resize an image (3, H, W) at its longer side."""
    ratio = max(image.shape[-2:]) / side
    return _resized(interpolation, [max(1, round(n / ratio)) for n in image.shape[-2:]], image)


def _shorter_side(side: int, image: Tensor, interpolation: str | None = None) -> Tensor:
    """Resize an image (3, H, W) at its shorter side; of one too large for memory then, the middle.

    An image may be a hundred times longer than wide (`ancor.data.decode.check_size`), and `side`
    thousands of pixels.
    """
    height, width = image.shape[-2:]
    shorter = min(height, width)
    longest = max(shorter, shorter * MOST_RESIZED // side**2)
    if max(height, width) > longest:
        image = functional.center_crop(image, [min(height, longest), min(width, longest)])
    return _resized(interpolation, [side], image)
