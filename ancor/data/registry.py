"""The table of datasets: a name, and what reads it, shows it to a network and draws its episodes.

A new dataset is a file in `ancor.data.datasets` and an entry of `DATASETS`. Readers are imported
when they read, so that command lines are parsed without torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ancor.data.transform_spec import TransformSpec
from ancor.errors import InputError
from ancor.runtime.lazy import imported
from ancor.safe_io.own_files import is_packed

if TYPE_CHECKING:
    from ancor.data.partition import Partition

SETS = ("living17", "nonliving26", "entity13", "entity30")  # the paper's BREEDS sets
BREEDS_SETS = (*SETS, "breeds")  # and the set of one's own superclasses
SPLITS = ("good", "bad", "rand")  # how BREEDS halves each superclass


@dataclass(frozen=True)
class DatasetSpec:
    """An entry of the table.

    Attributes:
        reader: module of `ancor.data.datasets` whose `load` reads a partition, or such a function:
            load(partition, **options).
        takes: the settings (`ancor.data.config.DataConfig`) that it takes as options.
        defaults: what those of them that are None are to it.
        transforms: what the network sees.
        rules: which of the paper's three ways of drawing episodes (`ancor.data.episodes`).
        training_defaults: settings of train.py that suit the dataset better than the paper's.
        same: partitions that hold the same images.
    """

    reader: "str | Callable[..., Partition]"
    transforms: TransformSpec
    rules: str = "breeds"
    training_defaults: Mapping[str, object] = field(default_factory=dict)
    takes: tuple[str, ...] = ()
    defaults: Mapping[str, object] = field(default_factory=dict)
    same: tuple[str, ...] = ()

    def load(self, partition: str, settings: Any) -> "Partition":
        """Read a partition under the settings of a `DataConfig`, of packed images too."""
        if is_packed(getattr(settings, "root", None)):
            if settings.labels is not None:
                raise InputError(
                    f"`labels` {settings.labels!r}: packed images have labels of their own; give "
                    "it when the folder is packed"
                )
            packed = import_module("ancor.data.packed")
            return packed.load(partition, settings.root, settings.dataset, settings.choices)
        reader = self.reader
        if isinstance(reader, str):
            reader = imported(f"ancor.data.datasets.{reader}").load
        loaded = reader(partition, **{name: getattr(settings, name) for name in self.takes})
        if self.transforms.native_size is not None and hasattr(loaded.images, "side"):
            loaded.images.side = self.transforms.native_size
        return loaded


PHOTOGRAPHS = TransformSpec(
    size=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
).augmented("full")
BREEDS = DatasetSpec(
    reader="breeds",
    takes=(
        "root",
        "dataset",
        "split",
        "breeds_info",
        "breeds_level",
        "breeds_ancestor",
        "breeds_subclasses",
    ),
    transforms=replace(PHOTOGRAPHS, mean=(0.4717, 0.4499, 0.3837), std=(0.2600, 0.2516, 0.2575)),
)

DATASETS: dict[str, DatasetSpec] = {
    "digits": DatasetSpec(
        reader="digits",
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
            "temperature": 0.5,
            "queue_length": 256,
            "encoder_momentum": 0.99,
            "save_freq": 2,
        },
    ),
    "fashion-mnist": DatasetSpec(
        reader="fashion_mnist",
        takes=("root", "download"),
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
            "temperature": 1.0,
            "queue_length": 4096,
            "encoder_momentum": 0.99,
        },
    ),
    "glyphs": DatasetSpec(
        reader="glyphs",
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
            "queue_length": 1024,
            "encoder_momentum": 0.99,
        },
    ),
    "cifar100": DatasetSpec(
        reader="cifar100",
        takes=("root", "download"),
        transforms=TransformSpec(
            size=32,
            native_size=32,
            mean=(0.5071, 0.4867, 0.4408),
            std=(0.2675, 0.2565, 0.2761),
        ),
        rules="cifar100",
        same=("validation", "test"),
    ),
    "tiered": DatasetSpec(
        reader="tiered",
        takes=("root",),
        transforms=TransformSpec(
            size=84,
            native_size=84,
            mean=(0.4783, 0.4564, 0.4102),
            std=(0.27948, 0.27363, 0.28587),
            support_padding=8,
        ).augmented("color"),
        rules="tiered",
    ),
    **dict.fromkeys(BREEDS_SETS, BREEDS),
    "aircraft": DatasetSpec(
        reader="aircraft",
        takes=("root", "download", "coarse_level", "fine_level"),
        defaults={"coarse_level": "manufacturer"},
        transforms=PHOTOGRAPHS,
    ),
    "grocery": DatasetSpec(
        reader="grocery",
        takes=("root", "download"),
        # What colors, gray and blur hide is what these products differ by (docs/backbones.md).
        transforms=PHOTOGRAPHS.augmented("crops"),
    ),
    "folder": DatasetSpec(
        reader="folder",
        takes=(
            *("root", "allow_outside_root", "skip_bad_images", "labels"),
            *("coarse_level", "fine_level"),
        ),
        transforms=PHOTOGRAPHS.augmented("full"),
    ),
}
