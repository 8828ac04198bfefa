"""A dataset's transforms, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from ancor.errors import InputError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
# How evaluation brings a photograph to a square, as timm names it.
CROP_MODES = ("center", "squash", "border")
SIDES = 16, 4096  # of images, in pixels: the backbones halve four times; memory grows as the square
# How often a view's colors are jittered, where they are at all (MoCo, SimCLR, the paper).
JITTERED = 0.8
# What training changes in a view beside its crop and its side: the parts of `TransformSpec` by
# name. `full` is the paper's; `strong` has SimCLR's jitter of full strength and BYOL's solarize;
# `auto` is AutoAugment's policy of CIFAR-10.
_PAPERS = {"color_jitter": (0.4, 0.4, 0.4, 0.1), "grayscale": 0.2}
_NONE = {
    "color_jitter": (0.0, 0.0, 0.0, 0.0),
    **dict.fromkeys(("grayscale", "blur", "solarize", "auto_augment"), 0.0),
}
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "crops": _NONE,
    "color": {**_NONE, **_PAPERS},
    "full": {**_NONE, **_PAPERS, "blur": 0.5},
    "strong": {
        "color_jitter": (0.8, 0.8, 0.8, 0.2),
        "grayscale": 0.2,
        "blur": 0.5,
        "solarize": 0.2,
        "auto_augment": 0.0,
    },
    "auto": {**_NONE, "auto_augment": 1.0},
}
PARTS = tuple(_NONE)
RENAMED = {"colour": "color"}  # fields in files of earlier versions


@dataclass(frozen=True)
class TransformSpec:
    """A dataset's transforms, as data.

    Attributes:
        size: side S of the images that the network sees, in pixels.
        mean, std: of each channel, for images scaled to 0-1.
        native_size: side of the stored images where all are square and alike; None: photographs of
            any size, which evaluation resizes to `resize` and crops to `size` (see `crop_mode`).
        resize: see `native_size`.
        crop_scale: smallest and largest share of the area that a training crop takes.
        flip: whether mirror images are of the same class: half of the training views, and of the
            support views, are mirrored.
        color_jitter: strengths of brightness, contrast, saturation and hue, as torchvision's
            ColorJitter takes them, of a share `JITTERED` of the training views.
        grayscale, blur, solarize: shares of the training views that turn gray, are blurred, and
            have their bright half inverted.
        auto_augment, perspective: shares of the training views that AutoAugment's policy changes,
            and that are seen in perspective (`ancor.data.policies`), before their colors.
        support_padding: pixels added around an image before a support view's random crop.
        interpolation: a name of `INTERPOLATIONS`, by which evaluation resizes as Pillow does; None:
            bilinear, as torchvision resizes bytes, which may be a pixel's unit or two beside it.
        crop_mode: of `CROP_MODES`: `center` resizes a photograph's shorter side to `resize`,
            `squash` both sides, `border` the longer one, and fills up with the mean color. What is
            then larger than `size` is cropped, and what is smaller gets a black border.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    native_size: int | None = None
    resize: int = 256
    crop_scale: tuple[float, float] = (0.2, 1.0)
    flip: bool = True
    color_jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    grayscale: float = 0.0
    blur: float = 0.0
    solarize: float = 0.0
    auto_augment: float = 0.0
    perspective: float = 0.0
    support_padding: int = 0
    interpolation: str | None = None
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        if isinstance(self.blur, bool):  # as versions before took it
            raise InputError(
                f"`blur` {self.blur}: expected the share of the views that are blurred, 0 to 1; "
                "the paper's is 0.5"
            )

    def check(self) -> None:
        """Raise a ValueError where a field, read from a file, is not a sound number."""
        native = self.size if self.native_size is None else self.native_size
        sides = (self.size, self.resize, native)
        if not all(isinstance(side, int) and 0 < side <= 2 * SIDES[1] for side in sides):
            raise ValueError(f"image sides {sides}")
        if not isinstance(self.support_padding, int) or not 0 <= self.support_padding <= self.size:
            raise ValueError(f"padding {self.support_padding!r}")
        if self.interpolation not in (None, *INTERPOLATIONS):
            raise ValueError(f"interpolation {self.interpolation!r:.40}")
        if self.crop_mode not in CROP_MODES:
            raise ValueError(f"crop mode {self.crop_mode!r:.40}")
        channels = (*self.mean, *self.std)
        if len(channels) != 6 or not all(isfinite(value) for value in channels):
            raise ValueError(f"mean and deviation {channels}")
        shares = (*self.color_jitter, self.grayscale, self.blur, self.solarize)
        shares += self.auto_augment, self.perspective
        if len(shares) != 9 or not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"augmentation {shares}")

    @classmethod
    def from_file(cls, values: Mapping[str, Any]) -> "TransformSpec":
        """Build it from a file's fields, which versions before named and filled otherwise.

        Raises:
            TypeError, ValueError: they are not its fields, or not sound.
        """
        fields = {
            RENAMED.get(name, name): tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        if "color" in fields:  # which was on or off then, as was blur
            color, blur = fields.pop("color"), fields["blur"]
            fields |= AUGMENTATIONS["color" if color else "crops"]
            fields["blur"] = AUGMENTATIONS["full" if blur else "crops"]["blur"]
        if "squash" in fields:  # which was the only other mode
            fields["crop_mode"] = "squash" if fields.pop("squash") else "center"
        spec = cls(**fields)
        spec.check()
        return spec

    @property
    def draws_colors(self) -> bool:
        """Whether training views differ in more than their crop and their side."""
        return any(self.color_jitter) or any((self.grayscale, self.blur, self.solarize))

    def augmented(self, name: str) -> "TransformSpec":
        """Return this with the parts of one of `AUGMENTATIONS`."""
        return replace(self, **AUGMENTATIONS[name])

    def augmentation(self) -> str:
        """Describe the training views in one line, `p` being the share that a part changes."""
        parts = {part: getattr(self, part) for part in PARTS}
        names = [name for name, theirs in AUGMENTATIONS.items() if theirs == parts]
        said = ["crop scale {:g}-{:g}".format(*self.crop_scale)]
        if self.flip:
            said.append("flip p 0.5")
        if any(self.color_jitter):
            said.append("jitter {:g} {:g} {:g} {:g}".format(*self.color_jitter) + f" p {JITTERED}")
        shares = {part: parts[part] for part in PARTS[1:]} | {"perspective": self.perspective}
        said += [f"{part} p {share:g}" for part, share in shares.items() if share]
        return f"{names[0] if names else 'own parts'}: {', '.join(said)}"

    @property
    def support_only_flips(self) -> bool:
        """Whether a support view is the query view or, where it flips, its mirror image."""
        return self.native_size is not None and not self.support_padding

    @property
    def border(self) -> list[int] | None:
        """The color, 0-255, around photographs that are smaller than the crop; None: none are."""
        if self.native_size is None and self.crop_mode == "border":
            return [round(255 * mean) for mean in self.mean]
        return [0, 0, 0] if self.native_size is None and self.resize < self.size else None

    def with_size(self, size: int | None) -> "TransformSpec":
        """Return this for another image size; the resize before the crop keeps its proportion."""
        if size is None or size == self.size:
            return self
        return replace(self, size=size, resize=round(self.resize * size / self.size))


# The kinds of training view: as `augment` says; and a crop alone, in perspective where all are.
VIEW_KINDS: dict[str, Callable[[TransformSpec], TransformSpec]] = {
    "strong": lambda spec: spec,
    "weak": lambda spec: spec.augmented("crops"),
}
