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

from ancor.data.color import draw, recolor
from ancor.data.policies import changed
from ancor.data.transform_spec import TransformSpec

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
        view = recolor(view[None], drawn[None])[0].round().to(torch.uint8)
    return view.contiguous(), drawn


def support_transform(spec: TransformSpec) -> Callable:
    """Return the mild random transform of a support view: image -> bytes (3, S, S)."""
    return partial(_support_view, spec)


def _support_view(spec: TransformSpec, image: Image.Image | Tensor) -> Tensor:
    """Make a view, drawing from torch's generator what torchvision's transforms draw, in order."""
    view = _resized_for(spec, pixels_of(image))
    if spec.support_padding and spec.native_size is not None:
        view = F.pad(view, (spec.support_padding,) * 4)
    if spec.support_padding or spec.native_size is None:
        spare = [side - spec.size for side in view.shape[1:]]
        top, left = (int(torch.randint(0, most + 1, ())) if most > 0 else 0 for most in spare)
        view = view[:, top : top + spec.size, left : left + spec.size]
    return view.flip(-1) if spec.flip and torch.rand(()) < 0.5 else view


def stored_form(spec: TransformSpec) -> Callable:
    """Return what brings any image to the form of the dataset's own: image -> bytes (3, H, W).

    That is square and of the native size, by resizing the shorter side and cropping the center; or,
    of photographs, of the shorter side that all their transforms begin with.
    """
    return partial(_stored_form, spec)


def _stored_form(spec: TransformSpec, image: Image.Image | Tensor) -> Tensor:
    if spec.native_size is None:
        return _resized_for(spec, pixels_of(image))
    side = spec.native_size
    return _center(_shorter_side(side, pixels_of(image)), side, side)


def query_transform(spec: TransformSpec) -> Callable:
    """Return the test transform, which draws nothing: image -> bytes (3, S, S)."""
    return partial(_query_view, spec)


def _query_view(spec: TransformSpec, image: Image.Image | Tensor) -> Tensor:
    view = _resized_for(spec, pixels_of(image))
    return view if spec.native_size is not None else _center(view, spec.size, spec.size)


def _center(image: Tensor, height: int, width: int) -> Tensor:
    """Cut the middle out of an image (3, H, W); what it lacks is black, as by torchvision."""
    down, across = (
        max(0, to - side) for to, side in zip((height, width), image.shape[1:], strict=True)
    )
    if down or across:
        image = F.pad(image, (across // 2, -(-across // 2), down // 2, -(-down // 2)))
    top, left = round((image.shape[1] - height) / 2), round((image.shape[2] - width) / 2)
    return image[:, top : top + height, left : left + width]


def _resized_for(spec: TransformSpec, image: Tensor) -> Tensor:
    """Resize an image (3, H, W) of bytes as evaluation does, before it crops."""
    if spec.native_size is not None and spec.size == spec.native_size:
        return image
    if spec.native_size is not None or spec.squash:
        side = spec.resize if spec.native_size is None else spec.size
        return _resized(spec.interpolation, side, side, image)
    return _shorter_side(spec.resize, image, spec.interpolation)


def _resized(interpolation: str | None, height: int, width: int, image: Tensor) -> Tensor:
    """Resize an image (3, H, W) of bytes."""
    if image.shape[1:] == (height, width):
        return image
    if interpolation is None:
        return F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
    how = Image.Resampling[interpolation.upper()]
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    return pixels_of(picture.resize((width, height), how))


def _shorter_side(side: int, image: Tensor, interpolation: str | None = None) -> Tensor:
    """Resize an image (3, H, W) at its shorter side; of one too large for memory then, the middle.

    An image may be a hundred times longer than wide (`ancor.data.decode.check_size`), and `side`
    thousands of pixels.
    """
    height, width = image.shape[-2:]
    shorter = min(height, width)
    longest = max(shorter, shorter * MOST_RESIZED // side**2)
    if max(height, width) > longest:
        height, width = min(height, longest), min(width, longest)
        image = _center(image, height, width)
    sides = (side * height // shorter, side * width // shorter)
    return _resized(interpolation, *sides, image)
