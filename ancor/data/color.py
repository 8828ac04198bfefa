"""Color jitter, grayscale, blur and solarize of many images at once, on whatever device they lie.

What happens to each image was drawn before (`draw`), so that a view stays a function of its address
wherever it is computed. Distribution: torchvision's ColorJitter, the paper's Gaussian blur, and
Pillow's solarize. Differs from Pillow's computation in rounding once, at the end.
"""

from collections.abc import Callable
from math import ceil
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.data.transform_spec import JITTERED, TransformSpec

SIGMA = (0.1, 2.0)
# Columns of a drawing: a factor for each of `CHANGES`, then which of them comes when (-1: none),
# whether the image turns gray, the blur's deviation in pixels (0: none), whether it is solarized.
ORDER, GRAYED, DEVIATION, SOLARIZED, COLUMNS = 4, 8, 9, 10, 11
LUMA = (0.299, 0.587, 0.114)
CACHED = 2**20  # bytes of images that a processor's cache holds while they are changed


def draw(rng: Random, spec: TransformSpec) -> np.ndarray:
    """Draw what happens to a view, (COLUMNS,) of float32.

    As many numbers are drawn for a part that is turned off, so that what is drawn for the others
    does not depend on it: runs with and without a part differ in that part alone.
    """
    drawn = np.zeros(COLUMNS, dtype=np.float32)
    drawn[ORDER:GRAYED] = -1
    if not spec.draws_colors:
        return drawn
    if rng.random() < JITTERED:
        *strengths, hue = spec.color_jitter
        drawn[:3] = [rng.uniform(max(0, 1 - most), 1 + most) for most in strengths]
        drawn[3] = rng.uniform(-hue, hue)
        order = rng.sample(range(4), 4)
        drawn[ORDER:GRAYED] = [step if spec.color_jitter[step] else -1 for step in order]
    drawn[GRAYED] = rng.random() < spec.grayscale
    chance, deviation = rng.random(), rng.uniform(*SIGMA)
    drawn[DEVIATION] = deviation if chance < spec.blur else 0
    drawn[SOLARIZED] = rng.random() < spec.solarize
    return drawn


def recolored(images: Tensor, drawn: np.ndarray) -> Tensor:
    """`recolor` in whole numbers: bytes (N, 3, H, W), a few images at a time, as caches hold."""
    step = max(1, CACHED // (4 * images[0].numel()))
    parts = [slice(start, start + step) for start in range(0, len(images), step)]
    return torch.cat([recolor(images[p], drawn[p]).round().to(torch.uint8) for p in parts])


def recolor(images: Tensor, drawn: np.ndarray) -> Tensor:
    """Return images as they were drawn to look.

    Args:
        images: (N, 3, H, W) of uint8 or float, 0-255.
        drawn: (N, COLUMNS), see `draw`.

    Returns:
        (N, 3, H, W) of float32, 0-255.
    """
    images = images.float()
    for place in range(ORDER, GRAYED):
        for step, change in enumerate(CHANGES):
            images = _where(images, drawn[:, place] == step, change, drawn[:, step])
    images = _where(images, drawn[:, GRAYED] == 1, _grayscale, drawn[:, GRAYED])
    images = _where(images, drawn[:, DEVIATION] > 0, _blurred, drawn[:, DEVIATION])
    return _where(images, drawn[:, SOLARIZED] == 1, _solarized, drawn[:, SOLARIZED])


def _where(images: Tensor, chosen: np.ndarray, change: Callable, factors: np.ndarray) -> Tensor:
    """Change the chosen images, each by its own factor."""
    if chosen.all():
        return change(images, factors)
    if chosen.any():
        rows = torch.from_numpy(np.flatnonzero(chosen)).to(images.device, non_blocking=True)
        images[rows] = change(images[rows], factors[chosen])
    return images


def _column(values: np.ndarray, like: Tensor) -> Tensor:
    """Lay numbers, one an image, along images (N, 3, H, W)."""
    return torch.from_numpy(values).to(like.device, non_blocking=True).view(-1, 1, 1, 1)


def _luma(images: Tensor) -> Tensor:
    """Gray values, (N, 1, H, W)."""
    red, green, blue = images.split(1, dim=1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def _blended(images: Tensor, other: Tensor, factors: np.ndarray) -> Tensor:
    """Weigh images by a factor, and another picture of them by what is left."""
    return (
        (images * _column(factors, images))
        .add_(other * _column(1 - factors, images))
        .clamp_(0, 255)
    )


def _brightness(images: Tensor, factors: np.ndarray) -> Tensor:
    return (images * _column(factors, images)).clamp_(0, 255)


def _contrast(images: Tensor, factors: np.ndarray) -> Tensor:
    return _blended(images, _luma(images).mean((2, 3), keepdim=True), factors)


def _saturation(images: Tensor, factors: np.ndarray) -> Tensor:
    return _blended(images, _luma(images), factors)


def _grayscale(images: Tensor, factors: np.ndarray) -> Tensor:
    return _luma(images).repeat(1, 3, 1, 1)  # memory of its own, as what follows writes into it


def _hue(images: Tensor, factors: np.ndarray) -> Tensor:
    """Turn each hue by a share of the circle, keeping the HSV model's value and saturation.

    The hue h is counted in sixths of the circle, from -1 to 5 with red at 0; a turn of less than
    one sixth leaves it between -2 and 6, where no wrapping round is needed. The largest turn is
    half of the circle.
    """
    red, green, blue = images.split(1, dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    scale = chroma.clamp_min(1e-6).reciprocal_()
    of_blue, of_green = (red - green).mul_(scale).add_(4), (blue - red).mul_(scale).add_(2)
    h = torch.where(green == value, of_green, of_blue)
    h = torch.where(red == value, (green - blue).mul_(scale), h).add_(6 * _column(factors, images))
    if np.abs(factors).max() > 1 / 6:
        h = torch.where(h > 6, h - 6, torch.where(h < -2, h + 6, h))
    # Each channel falls short of the value by a share of the chroma, 1 minus a trapezium of h.
    parts = (
        torch.maximum(2 - h.abs(), h - 4),
        2 - (h - 2).abs_(),
        torch.maximum(2 - (h - 4).abs_(), -h),
    )
    floor = value - chroma
    return torch.cat([torch.addcmul(floor, part.clamp_(0, 1), chroma) for part in parts], dim=1)


CHANGES = (_brightness, _contrast, _saturation, _hue)


def _solarized(images: Tensor, factors: np.ndarray) -> Tensor:
    """Invert values of 128 and more: of whole numbers, the smaller one of both."""
    return torch.minimum(images, 255 - images)


def _blurred(images: Tensor, deviations: np.ndarray) -> Tensor:
    """Convolve with Gaussians, one an image, cut at three deviations; edges are continued."""
    radius = ceil(3 * deviations.max())
    distances = np.arange(radius + 1)
    taps = np.exp(-(distances**2) / (2 * deviations[:, None].astype(np.float64) ** 2))
    taps[distances > np.ceil(3 * deviations[:, None])] = 0  # of its own, whatever else is blurred
    taps /= 2 * taps.sum(1, keepdims=True) - taps[:, :1]
    columns = [_column(tap.astype(np.float32), images) for tap in np.ascontiguousarray(taps.T)]
    for axis, margins in ((2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0))):
        padded, size = F.pad(images, margins, mode="replicate"), images.shape[axis]
        images = images * columns[0]
        for distance in range(1, radius + 1):
            both = padded.narrow(axis, radius - distance, size) + padded.narrow(
                axis, radius + distance, size
            )
            images.addcmul_(both, columns[distance])
    return images
