"""The table of datasets: a name, and what reads it, shows it to a network and draws its episodes.

A new dataset is a file beside this one and an entry of `DATASETS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ancor.data import digits, fashion_mnist
from ancor.data.episodes import EpisodeSampler
from ancor.data.partition import Partition
from ancor.data.transforms import TransformSpec
from ancor.errors import choose

PARTITIONS = ("train", "validation", "test")


@dataclass(frozen=True)
class DataConfig:
    """Which data, and how the network sees it.

    Attributes:
        dataset: a name of `DATASETS`.
        root: folder of the files; None: the dataset's own default, where it has one.
        image_size: side in pixels; None: the dataset's.
        download: whether missing files may be fetched.
    """

    dataset: str = "digits"
    root: str | None = None
    image_size: int | None = None
    download: bool = False

    @property
    def spec(self) -> "DatasetSpec":
        """The dataset's entry of the table."""
        return DATASETS[choose("dataset", self.dataset, DATASETS)]

    @property
    def transforms(self) -> TransformSpec:
        """The dataset's transforms at this image size."""
        return self.spec.transforms.with_size(self.image_size)

    def load(self, partition: str) -> Partition:
        """Read a partition; InputError where its files are missing or broken."""
        choose("partition", partition, PARTITIONS)
        return self.spec.load(self, partition)

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
        training_defaults: settings of train.py that suit the dataset better than the paper's.
    """

    load: Callable[[DataConfig, str], Partition]
    transforms: TransformSpec
    rules: str = "breeds"
    training_defaults: Mapping[str, object] = field(default_factory=dict)


DATASETS: dict[str, DatasetSpec] = {
    "digits": DatasetSpec(
        load=digits.load,
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
            "save_freq": 5,
            "batch_size": 128,
            "epochs": 40,
            "lr": 0.1,
            "queue_k": 256,
            "encoder_m": 0.99,
        },
    ),
    "fashion-mnist": DatasetSpec(
        load=fashion_mnist.load,
        transforms=TransformSpec(
            size=32,
            native_size=32,
            mean=(0.2186,) * 3,
            std=(0.3315,) * 3,
        ),
    ),
}
