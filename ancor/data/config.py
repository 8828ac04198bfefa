"""The settings that say which images, and how a network sees them."""

from dataclasses import dataclass, replace
from math import floor, inf, isfinite
from typing import TYPE_CHECKING

from ancor.data.registry import BREEDS_SETS, DATASETS, SPLITS, DatasetSpec
from ancor.data.transform_spec import INTERPOLATIONS, SIDES, TransformSpec
from ancor.errors import InputError, choose
from ancor.runtime.settings import (
    Check,
    between,
    check_settings,
    one_of,
    setting,
)

if TYPE_CHECKING:
    from ancor.data.partition import Partition

KIND = "data of one kind"  # the group of settings that mean something for one family of datasets
CROP_SCALE = Check(
    lambda share: 0 < share <= 1, "two shares above 0 and at most 1, the smaller first"
)
CROP_MODES = ("center", "squash")
# What a backbone may ask of images; its own go with it, whatever the dataset.
PREPROCESSING = ("image_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
PARTITIONS = ("train", "validation", "test")
ALIASES = {"tieredImageNet": "tiered"}
# What no file allows, as anybody may have written it.
PERMISSIONS = ("download", "skip_bad_images", "allow_outside_root")


@dataclass(frozen=True)
class DataConfig:
    """Which data, and how the network sees it.

    Attributes:
        dataset: a name of `DATASETS`.
        root: folder of the files; None: the dataset's own default, where it has one.
        image_size: side in pixels; None: the dataset's.
        mean, std: of each channel, for images scaled to 0-1; None: the dataset's.
        interpolation, crop_pct, crop_mode: how evaluation resizes and crops; None: as the dataset's
            transforms say.
        crop_scale: smallest and largest share of the area that a training crop takes; None: the
            dataset's.
        download: whether missing files may be fetched.
        skip_bad_images: whether images that cannot be read are left out, instead of an error.
        split: how BREEDS superclasses are halved for training and evaluation; None: not at all.
        breeds_info: folder of another BREEDS hierarchy.
        breeds_level, breeds_ancestor, breeds_subclasses: which superclasses `breeds` is made of
            (`ancor.data.datasets.breeds_classes.computed_table`).
        coarse_level: what is coarse in `aircraft`: manufacturer or family.
        allow_outside_root: whether labels.csv may name files outside the root.
    """

    dataset: str = setting("digits", f"one of {', '.join(DATASETS)}", metavar="NAME")
    root: str | None = setting(
        None, "folder of the dataset's files", flags=("--data", "--data-root"), metavar="DIR"
    )
    download: bool = setting(False, "fetch missing files, where that is possible")
    skip_bad_images: bool = setting(
        False, "leave out images that cannot be read, and list them at the end"
    )
    image_size: int | None = setting(
        None, "side of the images", between(*SIDES), metavar="PX", unset="the dataset's"
    )
    mean: tuple[float, float, float] | None = setting(
        None,
        "mean of each channel of images scaled to 0-1",
        Check(isfinite, "three finite numbers, for red, green and blue"),
        metavar=("R", "G", "B"),
        unset="the dataset's",
    )
    std: tuple[float, float, float] | None = setting(
        None,
        "std of each channel of images scaled to 0-1",
        Check(lambda value: 0 < value < inf, "three numbers above 0, for red, green and blue"),
        metavar=("R", "G", "B"),
        unset="the dataset's",
    )
    interpolation: str | None = setting(
        None,
        f"how evaluation resizes images, as Pillow does: {', '.join(INTERPOLATIONS)}",
        one_of(INTERPOLATIONS),
        metavar="NAME",
        unset="the backbone's; else bilinear by torchvision",
    )
    crop_pct: float | None = setting(
        None,
        "share of a resized photograph's shorter side that evaluation keeps",
        Check(lambda share: 0.1 <= share <= 1, "0.1 to 1"),
        metavar="SHARE",
        unset="the backbone's or the dataset's",
    )
    crop_mode: str | None = setting(
        None,
        "center: evaluation resizes the shorter side; squash: both, to a square",
        one_of(CROP_MODES),
        metavar="HOW",
        unset="the backbone's; else center",
    )
    crop_scale: tuple[float, float] | None = setting(
        None,
        "share of an image's area that a training crop takes",
        CROP_SCALE,
        metavar=("LEAST", "MOST"),
        unset="the dataset's",
    )
    split: str | None = setting(
        None,
        "BREEDS: train on the source and evaluate on the target half of every superclass, "
        "divided as good, bad or rand",
        one_of(SPLITS),
        unset="no division",
        group=KIND,
    )
    breeds_info: str | None = setting(
        None, "BREEDS: folder of another class hierarchy", metavar="DIR", group=KIND
    )
    breeds_level: int | None = setting(
        None, "breeds: depth of its superclasses", metavar="L", group=KIND
    )
    breeds_ancestor: str | None = setting(
        None, "breeds: what all of them lie under", metavar="WNID", group=KIND
    )
    breeds_subclasses: int | None = setting(None, "breeds: classes a superclass", group=KIND)
    coarse_level: str = setting("manufacturer", "aircraft: manufacturer or family", group=KIND)
    allow_outside_root: bool = setting(
        False, "folder: labels.csv may name files outside --data", group=KIND
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", ALIASES.get(self.dataset, self.dataset))
        choose("dataset", self.dataset, DATASETS)
        check_settings(self)
        if self.split is not None and self.dataset not in BREEDS_SETS:
            raise InputError(
                f"`split` {self.split} divides BREEDS superclasses and {self.dataset} has "
                f"none; accepted with: {', '.join(BREEDS_SETS)}"
            )
        for name in ("mean", "std", "crop_scale"):
            if getattr(self, name) is not None:  # a list of the right length is accepted too
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.crop_scale is not None and self.crop_scale[0] > self.crop_scale[1]:
            shown = " ".join(map(str, self.crop_scale))
            raise InputError(f"`crop_scale` {shown}: expected {CROP_SCALE.expected}")

    @property
    def spec(self) -> DatasetSpec:
        """The dataset's entry of the table."""
        return DATASETS[self.dataset]

    @property
    def transforms(self) -> TransformSpec:
        """The dataset's transforms, with this image size, normalization and size of crops."""
        own = self.spec.transforms.with_size(self.image_size)
        names = ("mean", "std", "crop_scale", "interpolation")
        changed = {name: getattr(self, name) for name in names if getattr(self, name)}
        if self.crop_pct is not None:
            changed["resize"] = floor(own.size / self.crop_pct)
        return replace(own, squash=self.crop_mode == "squash", **changed)

    def load(self, partition: str) -> "Partition":
        """Read a partition.

        Raises:
            MissingPartition: the dataset has no such partition.
            InputError: files are missing or broken.
        """
        from ancor.data.scan import without_unreadable

        choose("partition", partition, PARTITIONS)
        loaded = self.read(partition)
        return without_unreadable(loaded) if self.skip_bad_images else loaded

    def read(self, partition: str) -> "Partition":
        """Read a partition with all its images; errors as by `load`."""
        loaded = self.spec.load(partition, self)
        if self.root is None or "root" in self.spec.takes:
            return loaded
        note = f"`root` {self.root!r} is not read: {self.dataset} needs no files"
        return replace(loaded, notes=(*loaded.notes, note))
