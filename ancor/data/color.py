"""Color jitter, grayscale and blur of many images at once, on whatever device they lie.

What happens to each image was drawn before (`draw`), so that a view stays a function of its address
wherever it is computed. Distribution: torchvision's ColorJitter(0.4, 0.4, 0.4, 0.1) and the paper's
Gaussian blur. Differs from Pillow's computation in rounding once, at the end.
"""

from collections.abc import Callable
from math import ceil
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

STRENGTH = 0.4
HUE = 0.1
JITTER, GRAY, BLUR = 0.8, 0.2, 0.5  # how often each happens
SIGMA = (0.1, 2.0)
# Columns of a drawing: a factor for each of `CHANGES`, then which of them comes when (-1: none of
# them happens), whether the image turns gray, and the blur's deviation in pixels (0: none).
ORDER, GRAYED, DEVIATION, COLUMNS = 4, 8, 9, 10
LUMA = (0.299, 0.587, 0.114)


def draw(rng: Random, color: bool, blur: bool) -> np.ndarray:
    """Draw what happens to a view, (COLUMNS,) of float32."""
    drawn = np.zeros(COLUMNS, dtype=np.float32)
    drawn[ORDER:GRAYED] = -1
    if color and rng.random() < JITTER:
        drawn[:3] = [rng.uniform(1 - STRENGTH, 1 + STRENGTH) for _ in range(3)]
        drawn[3] = rng.uniform(-HUE, HUE)
        drawn[ORDER:GRAYED] = rng.sample(range(4), 4)
    if color:
        drawn[GRAYED] = rng.random() < GRAY
    if blur and rng.random() < BLUR:
        drawn[DEVIATION] = rng.uniform(*SIGMA)
    return drawn


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
    return _where(images, drawn[:, DEVIATION] > 0, _blurred, drawn[:, DEVIATION])


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
    return _luma(images).expand(-1, 3, -1, -1)


def _hue(images: Tensor, factors: np.ndarray) -> Tensor:
    """Turn each hue by a share of the circle, keeping the HSV model's value and saturation.

    The hue h is counted in sixths of the circle, from -1 to 5 with red at 0; a turn of less than
    one sixth leaves it between -2 and 6, where no wrapping round is needed.
    """
    red, green, blue = images.split(1, dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    scale = chroma.clamp_min(1e-6).reciprocal_()
    of_blue, of_green = (red - green).mul_(scale).add_(4), (blue - red).mul_(scale).add_(2)
    h = torch.where(green == value, of_green, of_blue)
    h = torch.where(red == value, (green - blue).mul_(scale), h).add_(6 * _column(factors, images))
    # Each channel falls short of the value by a share of the chroma, 1 minus a trapezium of h.
    parts = (
        torch.maximum(2 - h.abs(), h - 4),
        2 - (h - 2).abs_(),
        torch.maximum(2 - (h - 4).abs_(), -h),
    )
    floor = value - chroma
    return torch.cat([torch.addcmul(floor, part.clamp_(0, 1), chroma) for part in parts], dim=1)


CHANGES = (_brightness, _contrast, _saturation, _hue)


def _blurred(images: Tensor, deviations: np.ndarray) -> Tensor:
    """Convolve with Gaussians, one an image, cut at three deviations; edges are continued."""
    radius = ceil(3 * deviations.max())
    taps = np.exp(-(np.arange(radius + 1) ** 2) / (2 * deviations[:, None].astype(np.float64) ** 2))
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
