"""The settings that say which images, and how a network sees them."""

from dataclasses import dataclass, replace
from math import floor, inf, isfinite
from typing import TYPE_CHECKING, Any

from ancor.data.fields import AUGMENTATION, PERMISSIONS, share_of_images, share_of_views
from ancor.data.registry import BREEDS_SETS, DATASETS, SPLITS, DatasetSpec
from ancor.data.transform_spec import (
    AUGMENTATIONS,
    CROP_MODES,
    INTERPOLATIONS,
    JITTERED,
    PARTS,
    SIDES,
    TransformSpec,
)
from ancor.errors import InputError, choose
from ancor.runtime.settings import Check, between, check_settings, defaults_of, one_of, setting

if TYPE_CHECKING:
    from ancor.data.partition import Partition

KIND = "data of one kind"  # the group of settings that mean something for one family of datasets
CROP_SCALE = Check(
    lambda share: 0 < share <= 1, "two shares above 0 and at most 1, the smaller first"
)
# What a backbone may ask of images; its own go with it, whatever the dataset.
PREPROCESSING = ("image_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
JITTER = Check(
    lambda strength: 0 <= strength <= 1,
    "four strengths, of brightness, contrast and saturation from 0 to 1 and of hue from 0 to 0.5",
)
PARTITIONS = ("train", "validation", "test")
ALIASES = {"tieredImageNet": "tiered"}
# Settings of where images are found and read; the others that a reader takes say which are meant.
PLACES = ("root", "dataset", "breeds_info", "labels", *PERMISSIONS)


@dataclass(frozen=True)
class DataConfig:
    """Which data, and how the network sees it.

    Attributes:
        dataset: a name of `DATASETS`.
        root: folder of the files, or a file of packed images; None: the dataset's own, if any.
        features: file of features of the dataset's images, which is read in their place.
        image_size: side in pixels; None: the dataset's.
        mean, std: of each channel, for images scaled to 0-1; None: the dataset's.
        interpolation, crop_pct, crop_mode: how evaluation resizes and crops; None: the dataset's.
        flip: whether training and support views are mirrored by chance; None: as the dataset.
        augment: what changes in training views beside crop and side; None: the dataset's.
        crop_scale: smallest and largest share of the area of a training crop; None: the dataset's.
        color_jitter, grayscale, blur, solarize, auto_augment: parts of a training view
            (`TransformSpec`), which go before those of `augment`; None: as there.
        perspective: share of all training views that are seen in perspective; None: none.
        download: whether missing files may be fetched.
        skip_bad_images: whether images that cannot be read are left out.
        split: how BREEDS superclasses are halved for training and evaluation; None: not at all.
        breeds_info: folder of another BREEDS hierarchy.
        breeds_level, breeds_ancestor, breeds_subclasses: which superclasses `breeds` is made of
            (`ancor.data.datasets.breeds_classes.computed_table`).
        coarse_level, fine_level: which levels are coarse and fine: of `aircraft`, names; of
            `folder`, numbers of folder levels from 1, or columns of labels.csv.
        allow_outside_root: whether labels.csv may name files outside the root.
        labels: table that is read in place of the root's labels.csv.
        val_fraction, test_fraction: shares of the training images that are the partitions
            `validation` and `test`; None: the dataset's own.
        partition_seed: of the drawing of these shares.
        version: of what settings mean in files (`ancor.data.fields.as_now`).
    """

    dataset: str = setting("digits", f"one of {', '.join(DATASETS)}", metavar="NAME")
    root: str | None = setting(
        None,
        "folder of the dataset's files, or the file that `ancor pack` made of it",
        flags=("--data", "--data-root"),
        metavar="DIR",
    )
    features: str | None = setting(
        None,
        "file of features that ancor embed wrote, read in place of the images",
        metavar="FILE",
        unset="none: images are read",
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
        "share of a resized photograph's side that evaluation keeps; above 1: with a border",
        Check(lambda share: 0.1 <= share <= 1.2, "0.1 to 1.2"),
        metavar="SHARE",
        unset="the backbone's or the dataset's",
    )
    crop_mode: str | None = setting(
        None,
        "center: evaluation resizes the shorter side; squash: both, to a square; border: the "
        "longer one, and fills up with the mean color",
        one_of(CROP_MODES),
        metavar="HOW",
        unset="the backbone's; else center",
    )
    flip: bool | None = setting(
        None,
        "mirror half of the training and support views",
        negatable=True,
        unset="the dataset's",
    )
    augment: str | None = setting(
        None,
        "what changes in training views beside crop and side: crops (nothing), color (jitter, "
        "grayscale), full (the paper's: color and blur), strong (more jitter, and solarize), auto "
        "(AutoAugment's CIFAR policy)",
        one_of(AUGMENTATIONS),
        unset="the dataset's",
        group=AUGMENTATION,
    )
    crop_scale: tuple[float, float] | None = setting(
        None,
        "share of an image's area that a training crop takes",
        CROP_SCALE,
        metavar=("LEAST", "MOST"),
        unset="the dataset's",
        group=AUGMENTATION,
    )
    color_jitter: tuple[float, float, float, float] | None = setting(
        None,
        "strengths of brightness, contrast, saturation and hue, as torchvision's ColorJitter takes "
        f"them, in a share {JITTERED} of the views; 0 0 0 0: no jitter",
        JITTER,
        metavar=("B", "C", "S", "H"),
        unset="as the named augmentation",
        group=AUGMENTATION,
    )
    grayscale: float | None = share_of_views("turn gray; 0: none")
    blur: float | None = share_of_views("are blurred by a Gaussian of 0.1 to 2 pixels; 0: none")
    solarize: float | None = share_of_views("have their bright half inverted; 0: none")
    auto_augment: float | None = share_of_views("AutoAugment's CIFAR policy changes; 0: none")
    perspective: float | None = share_of_views("are seen in perspective, weak ones too", "none")
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
        None, "breeds: ancestor of all of them", metavar="WNID", group=KIND
    )
    breeds_subclasses: int | None = setting(None, "breeds: classes a superclass", group=KIND)
    coarse_level: str | None = setting(
        None,
        "aircraft: manufacturer or family; folder: a level of folders, or a column of labels.csv",
        metavar="LEVEL",
        unset="manufacturer; the highest, or the column coarse",
        group=KIND,
    )
    fine_level: str | None = setting(
        None, "the same of fine classes", metavar="LEVEL", unset="the lowest", group=KIND
    )
    allow_outside_root: bool = setting(
        False, "folder: labels.csv may name files outside the dataset's folder", group=KIND
    )

    labels: str | None = setting(
        None,
        "folder: table of images to read in place of the folder's labels.csv, such as a run's",
        metavar="FILE",
        unset="labels.csv, if it is there",
        group=KIND,
    )
    val_fraction: float | None = share_of_images("validation")
    test_fraction: float | None = share_of_images("test")
    partition_seed: int = setting(0, "seed of the drawing of these fractions")
    version: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", ALIASES.get(self.dataset, self.dataset))
        choose("dataset", self.dataset, DATASETS)
        for name, value in self.spec.defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        check_settings(self)
        if self.split is not None and self.dataset not in BREEDS_SETS:
            raise InputError(
                f"`split` {self.split} divides BREEDS superclasses and {self.dataset} has "
                f"none; accepted with: {', '.join(BREEDS_SETS)}"
            )
        for name in ("mean", "std", "crop_scale", "color_jitter"):  # lists are accepted too
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(getattr(self, name)))
        scale, jitter = self.crop_scale, self.color_jitter
        if scale is not None and scale[0] > scale[1]:
            raise InputError(
                f"`crop_scale` {' '.join(map(str, scale))}: expected {CROP_SCALE.expected}"
            )
        if jitter is not None and jitter[3] > 0.5:
            raise InputError(
                f"`color_jitter` {' '.join(map(str, jitter))}: expected {JITTER.expected}"
            )
        if self.labels is not None and self.shares:
            told = f"`labels` {self.labels!r} tells the partitions"
            raise InputError(f"{told}; leave `val_fraction` and `test_fraction` out")
        if sum(self.shares.values()) >= 1:
            told = f"`val_fraction` {self.val_fraction}, `test_fraction` {self.test_fraction}"
            raise InputError(f"{told}: expected less than 1 in sum, or nothing is left to train")

    @property
    def shares(self) -> dict[str, float]:
        """The partitions that are made of the training images, and their shares of these."""
        given = ("validation", self.val_fraction), ("test", self.test_fraction)
        return {name: share for name, share in given if share is not None}

    @property
    def given(self) -> dict[str, Any]:
        """The dataset, and the settings that are not their defaults: no others are asked for."""
        defaults = defaults_of(type(self))
        return {k: v for k, v in vars(self).items() if v != defaults[k] or k == "dataset"}

    @property
    def spec(self) -> DatasetSpec:
        """The dataset's entry of the table."""
        return DATASETS[self.dataset]

    @property
    def transforms(self) -> TransformSpec:
        """The dataset's transforms, with this image size, normalization and augmentation."""
        own = self.spec.transforms.with_size(self.image_size)
        if self.augment is not None:
            own = own.augmented(self.augment)
        names = ("mean", "std", "interpolation", "flip", "crop_scale", "perspective", *PARTS)
        changed = {name: getattr(self, name) for name in names}
        if self.crop_pct is not None:
            changed["resize"] = floor(own.size / self.crop_pct)
        if self.crop_mode is not None:
            changed["crop_mode"] = self.crop_mode
        return replace(own, **{k: value for k, value in changed.items() if value is not None})

    @property
    def choices(self) -> dict[str, Any]:
        """The settings that say which of the dataset's images and classes are meant."""
        return {name: getattr(self, name) for name in self.spec.takes if name not in PLACES}

    @property
    def same_images(self) -> dict[str, Any]:
        """The settings by which another model meets the same images, trained on the same part."""
        if self.features is not None:
            return {"dataset": self.dataset, "features": self.features}
        names = ["dataset", "root", "skip_bad_images", *self.spec.takes]
        names += ["val_fraction", "test_fraction", "partition_seed"] if self.shares else []
        return {name: getattr(self, name) for name in names}

    def load(self, partition: str) -> "Partition":
        """Read a partition.

        Raises:
            MissingPartition: the dataset has no such partition.
            InputError: files are missing or broken.
        """
        return self.read(partition, self.skip_bad_images)

    def read(self, partition: str, skip_bad_images: bool = False) -> "Partition":
        """Read a partition with all its images; errors as by `load`."""
        from ancor.data import reading

        choose("partition", partition, PARTITIONS)
        return reading.read(self, partition, skip_bad_images)
