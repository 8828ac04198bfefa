"""The table of datasets: a name, and what reads it, shows it to a network and draws its episodes.

A new dataset is a file beside this one and an entry of `DATASETS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite

from ancor.data import scan
from ancor.data.datasets import (
    aircraft,
    breeds,
    cifar100,
    digits,
    fashion_mnist,
    folder,
    glyphs,
    tiered,
)
from ancor.data.datasets.breeds_classes import SETS, SPLITS
from ancor.data.episodes import EpisodeSampler
from ancor.data.partition import Partition
from ancor.data.transforms import SIDES, TransformSpec
from ancor.errors import InputError, choose

PARTITIONS = ("train", "validation", "test")
ALIASES = {"tieredImageNet": "tiered"}


@dataclass(frozen=True)
class DataConfig:
    """Which data, and how the network sees it.

    Attributes:
        dataset: a name of `DATASETS`.
        root: folder of the files; None: the dataset's own default, where it has one.
        image_size: side in pixels; None: the dataset's.
        mean, std: of each channel, for images scaled to 0-1; None: the dataset's.
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

    dataset: str = "digits"
    root: str | None = None
    image_size: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    crop_scale: tuple[float, float] | None = None
    download: bool = False
    skip_bad_images: bool = False
    split: str | None = None
    breeds_info: str | None = None
    breeds_level: int | None = None
    breeds_ancestor: str | None = None
    breeds_subclasses: int | None = None
    coarse_level: str = "manufacturer"
    allow_outside_root: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", ALIASES.get(self.dataset, self.dataset))
        choose("dataset", self.dataset, DATASETS)
        if self.split is not None:
            choose("--split", self.split, SPLITS)
            if self.dataset not in (*SETS, "breeds"):
                raise InputError(
                    f"--split {self.split} divides BREEDS superclasses and {self.dataset} has "
                    f"none; accepted with: {', '.join((*SETS, 'breeds'))}"
                )
        if self.image_size is not None and not SIDES[0] <= self.image_size <= SIDES[1]:
            raise InputError(f"--image-size {self.image_size}: accepted: {SIDES[0]} to {SIDES[1]}")
        for name in ("mean", "std"):
            self._check_channels(name)
        self._check_crop_scale()

    def _check_channels(self, name: str) -> None:
        values = getattr(self, name)
        if values is None:
            return
        if len(values) != 3 or not all(isfinite(v) and (v > 0 or name == "mean") for v in values):
            raise InputError(
                f"--{name} {' '.join(map(str, values))}: three numbers for red, green and blue are "
                f"needed{', above 0' if name == 'std' else ''}, for images scaled to 0-1"
            )
        object.__setattr__(self, name, tuple(values))

    def _check_crop_scale(self) -> None:
        if self.crop_scale is None:
            return
        if len(self.crop_scale) != 2 or not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise InputError(
                f"--crop-scale {' '.join(map(str, self.crop_scale))}: two shares of an image's "
                "area are needed, above 0 and at most 1, the smaller one first"
            )
        object.__setattr__(self, "crop_scale", tuple(self.crop_scale))

    @property
    def spec(self) -> "DatasetSpec":
        """The dataset's entry of the table."""
        return DATASETS[self.dataset]

    @property
    def transforms(self) -> TransformSpec:
        """The dataset's transforms, with this image size, normalisation and size of crops."""
        own = self.spec.transforms.with_size(self.image_size)
        changed = {name: getattr(self, name) for name in ("mean", "std", "crop_scale")}
        return replace(own, **{name: value for name, value in changed.items() if value})

    def load(self, partition: str) -> Partition:
        """Read a partition.

        Raises:
            MissingPartition: the dataset has no such partition.
            InputError: files are missing or broken.
        """
        choose("partition", partition, PARTITIONS)
        loaded = self.read(partition)
        return scan.without_unreadable(loaded) if self.skip_bad_images else loaded

    def read(self, partition: str) -> Partition:
        """Read a partition with all its images; errors as by `load`."""
        loaded = self.spec.load(self, partition)
        if self.root is None or self.spec.in_files:
            return loaded
        note = f"--data {self.root!r} is not read: {self.dataset} needs no files"
        return replace(loaded, notes=(*loaded.notes, note))

    def sampler(self, partition: Partition, mode: str) -> EpisodeSampler:
        """Return what draws the partition's episodes from the classes of `mode`."""
        return EpisodeSampler(
            partition.labels(mode),
            partition.coarse_labels,
            self.spec.rules,
            partition.hierarchy.names(mode),
        )


@dataclass(frozen=True)
class DatasetSpec:
    """An entry of the table.

    Attributes:
        load: reads a partition.
        transforms: what the network sees.
        rules: which of the paper's three ways of drawing episodes (`ancor.data.episodes`).
        in_files: whether its images lie in files; else --data means nothing.
        training_defaults: settings of train.py that suit the dataset better than the paper's.
    """

    load: Callable[[DataConfig, str], Partition]
    transforms: TransformSpec
    rules: str = "breeds"
    in_files: bool = True
    training_defaults: Mapping[str, object] = field(default_factory=dict)


PHOTOGRAPHS = TransformSpec(
    size=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    colour=True,
    blur=True,
)
BREEDS = DatasetSpec(
    load=breeds.load,
    transforms=replace(PHOTOGRAPHS, mean=(0.4717, 0.4499, 0.3837), std=(0.2600, 0.2516, 0.2575)),
)

DATASETS: dict[str, DatasetSpec] = {
    "digits": DatasetSpec(
        load=digits.load,
        in_files=False,
        transforms=TransformSpec(
            size=32,
            native_size=32,
            mean=(0.3054,) * 3,
            std=(0.3241,) * 3,
            crop_scale=(0.8, 1.0),
            flip=False,
            support_padding=2,
        ),
        training_defaults={
            "arch": "conv4",
            "batch_size": 128,
            "epochs": 20,
            "lr": 0.1,
            "cst_t": 0.5,
            "queue_k": 256,
            "encoder_m": 0.99,
            "save_freq": 2,
        },
    ),
    "fashion-mnist": DatasetSpec(
        load=fashion_mnist.load,
        transforms=TransformSpec(
            size=32,
            native_size=32,
            mean=(0.2186,) * 3,
            std=(0.3315,) * 3,
            crop_scale=(0.8, 1.0),
        ),
        training_defaults={
            "arch": "conv4",
            "mlp": True,
            "epochs": 4,
            "lr": 0.1,
            "cos": True,
            "num_cycles": 1,
            "loss_weights": (1.0, 0.3),
            "cst_t": 1.0,
            "queue_k": 4096,
            "encoder_m": 0.99,
        },
    ),
    "glyphs": DatasetSpec(
        load=glyphs.load,
        in_files=False,
        transforms=TransformSpec(
            size=32,
            native_size=32,
            mean=(0.0816,) * 3,
            std=(0.2374,) * 3,
            crop_scale=(0.6, 1.0),
            flip=False,
            support_padding=2,
        ),
        training_defaults={
            "arch": "conv4",
            "batch_size": 128,
            "epochs": 30,
            "lr": 0.1,
            "loss_weights": (1.0, 0.3),
            "queue_k": 1024,
            "encoder_m": 0.99,
        },
    ),
    "cifar100": DatasetSpec(
        load=cifar100.load,
        transforms=TransformSpec(
            size=32,
            native_size=32,
            mean=(0.5071, 0.4867, 0.4408),
            std=(0.2675, 0.2565, 0.2761),
        ),
        rules="cifar100",
    ),
    "tiered": DatasetSpec(
        load=tiered.load,
        transforms=TransformSpec(
            size=84,
            native_size=84,
            mean=(0.4783, 0.4564, 0.4102),
            std=(0.27948, 0.27363, 0.28587),
            colour=True,
            support_padding=8,
        ),
        rules="tiered",
    ),
    **dict.fromkeys((*SETS, "breeds"), BREEDS),
    "aircraft": DatasetSpec(load=aircraft.load, transforms=PHOTOGRAPHS),
    "folder": DatasetSpec(load=folder.load, transforms=PHOTOGRAPHS),
}
