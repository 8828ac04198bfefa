"""A dataset's transforms, as data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
SIDES = 16, 4096  # of images, in pixels: the backbones halve four times; memory grows as the square


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
        color: color jitter and random grayscale while training.
        blur: Gaussian blur while training.
        support_padding: pixels added around an image before a support view's random crop.
        interpolation: a name of `INTERPOLATIONS`, by which evaluation resizes as Pillow does; None:
            bilinear, as torchvision resizes bytes, which may be a pixel's unit or two beside it.
        squash: whether evaluation resizes photographs to squares, whatever their shape, and cuts
            nothing off.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    native_size: int | None = None
    resize: int = 256
    crop_scale: tuple[float, float] = (0.2, 1.0)
    flip: bool = True
    color: bool = False
    blur: bool = False
    support_padding: int = 0
    interpolation: str | None = None
    squash: bool = False

    def check(self) -> None:
        """Raise a ValueError where a field, read from a file, is no sound number."""
        native = self.size if self.native_size is None else self.native_size
        sides = (self.size, self.resize, native)
        if not all(isinstance(side, int) and 0 < side <= 2 * SIDES[1] for side in sides):
            raise ValueError(f"image sides {sides}")
        if not isinstance(self.support_padding, int) or not 0 <= self.support_padding <= self.size:
            raise ValueError(f"padding {self.support_padding!r}")
        if self.interpolation not in (None, *INTERPOLATIONS):
            raise ValueError(f"interpolation {self.interpolation!r:.40}")
        channels = (*self.mean, *self.std)
        if len(channels) != 6 or not all(isfinite(value) for value in channels):
            raise ValueError(f"mean and deviation {channels}")

    @property
    def draws_colors(self) -> bool:
        """Whether training views differ in more than their crop."""
        return self.color or self.blur

    @property
    def support_only_flips(self) -> bool:
        """Whether a support view is the query view or its mirror image."""
        return self.native_size is not None and not self.support_padding and self.flip

    def with_size(self, size: int | None) -> "TransformSpec":
        """Return this for another image size; the resize before the crop keeps its proportion."""
        if size is None or size == self.size:
            return self
        return replace(self, size=size, resize=round(self.resize * size / self.size))


# The kinds of training view: the dataset's own transform, and the same without color and blur.
VIEW_KINDS: dict[str, Callable[[TransformSpec], TransformSpec]] = {
    "strong": lambda spec: spec,
    "weak": lambda spec: replace(spec, color=False, blur=False),
}
