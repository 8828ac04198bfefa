"""Near duplicates inside and across the partitions of a dataset."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ancor.data.duplicates import near_duplicates
from ancor.data.partition import Partition

MOST_LISTED = 200  # groups in a report; all are counted


class _Joined:
    """The images of several partitions, one after the other."""

    def __init__(self, partitions: Sequence[Partition]) -> None:
        self.partitions = partitions
        self.ends = np.cumsum([len(partition) for partition in partitions])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def place(self, index: int) -> tuple[Partition, int]:
        """Return an image's partition, and its position there."""
        which = int(np.searchsorted(self.ends, index, side="right"))
        return self.partitions[which], index - int(self.ends[which] - len(self.partitions[which]))

    def __getitem__(self, index: int) -> Any:
        partition, own = self.place(index)
        return partition.images[own]


def find(partitions: Sequence[Partition]) -> dict[str, Any]:
    """Find pictures that are there more than once; each image is read.

    Returns:
        Plain values: `inside`, for each partition how many images repeat another of it; `across`,
        for each two partitions (`train, test`) how many of the second's are in the first too; and
        `groups`, the largest and those across partitions first, at most `MOST_LISTED`: the
        `partition`, `index`, `name` and finest `class` of each image.
    """
    if not partitions:
        return {"inside": {}, "across": {}, "groups": []}
    images = _Joined(partitions)
    group = near_duplicates(images)
    parts = np.split(group, images.ends[:-1])
    names = [partition.name for partition in partitions]
    pairs = combinations(zip(names, parts, strict=True), 2)
    return {
        "inside": {
            name: len(own) - len(np.unique(own)) for name, own in zip(names, parts, strict=True)
        },
        "across": {
            f"{one}, {other}": int(np.isin(theirs, own).sum())
            for (one, own), (other, theirs) in pairs
        },
        "groups": [
            [_told(images, index) for index in members.tolist()]
            for members in _largest(group, images.ends)
        ],
    }


def _largest(group: np.ndarray, ends: np.ndarray) -> list[np.ndarray]:
    """Return the images of the groups that are listed."""
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    several = [own for own in members if len(own) > 1]

    def rank(own: np.ndarray) -> tuple[int, int]:
        return -len(np.unique(np.searchsorted(ends, own, side="right"))), -len(own)

    return sorted(several, key=rank)[:MOST_LISTED]


def _told(images: _Joined, index: int) -> dict[str, Any]:
    partition, own = images.place(index)
    return told(partition, own)


def told(partition: Partition, index: int) -> dict[str, Any]:
    """Return what a report tells of an image: `partition`, `index`, `name`, finest `class`."""
    level = "coarse" if partition.fine_labels is None else "fine"
    label = partition.labels(level)[index]
    return {
        "partition": partition.name,
        "index": index,
        "name": partition.images.name(index),
        "class": partition.hierarchy.names(level)[label],
    }


def notes(found: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each partition, and each two, in which pictures are repeated."""
    for name, count in found["inside"].items():
        if count:
            such = ""
            group = next((g for g in found["groups"] if _within(g, name)), None)
            if group is not None:  # as it can be where more than `MOST_LISTED` are larger
                one, other = [image["name"] for image in group if image["partition"] == name][:2]
                such = f", such as {one!r} and {other!r}"
            yield (
                f"partition {name!r}: {count} images are near duplicates of others in it{such}; "
                "keep one of each"
            )
    for names, count in found["across"].items():
        if count:
            first, second = names.split(", ")
            yield (
                f"{count} images of partition {second!r} are near duplicates of images of "
                f"{first!r}: what is measured on both is not independent; keep each on one side"
            )


def _within(group: list[dict[str, Any]], name: str) -> bool:
    return sum(image["partition"] == name for image in group) > 1
