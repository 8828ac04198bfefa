"""Partitions that are made of the training images: the honest way to choose where there are none.

Every class gives its share, as far as whole images allow, and equal pictures stay on one side
(`ancor.data.duplicates`). What is drawn depends on the images and a seed alone.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ancor.data.duplicates import near_duplicates
from ancor.data.partition import Partition
from ancor.errors import MissingPartition
from ancor.runtime.seeding import address_seed

# The settings of the shares, in the order in which each image is tried for them.
SETTINGS = {"test": "test_fraction", "validation": "val_fraction"}
_SEEN: dict[str, np.ndarray] = {}  # equal pictures of the images divided last, by fingerprint


def divide(
    labels: np.ndarray, groups: np.ndarray, shares: Mapping[str, float], seed: int
) -> np.ndarray:
    """Draw the partition of each image: (N,) of str, `train` or a name of `shares`.

    A class of n images gives n * share of them, rounded down or up so that the sum over classes is
    right, and at least one image trains. A group goes to one side whole: held out where all of its
    classes still have so much to give.

    Args:
        labels: class of each image, (N,).
        groups: number of each image's group, (N,), from 0; equal pictures have equal ones.
        shares: of the images, by the partition's name, of `SETTINGS`; above 0, and below 1 in sum.
        seed: of the drawing.
    """
    _, numbers, counts = np.unique(labels, return_inverse=True, return_counts=True)
    left = _quotas(counts, shares)
    numbers = numbers.reshape(-1)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(groups))[:-1])
    found = np.full(len(labels), "train", dtype=object)
    rng = np.random.default_rng(address_seed(seed, "partition"))
    for which in rng.permutation(len(members)).tolist():
        asked = Counter(numbers[members[which]].tolist())
        for name, quota in left.items():
            if all(quota[label] >= count for label, count in asked.items()):
                found[members[which]] = name
                for label, count in asked.items():
                    quota[label] -= count
                break
    return found


def _quotas(counts: np.ndarray, shares: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Return how many images each class gives to each partition, (C,) by its name."""
    quotas = {}
    free = counts - 1
    for name in SETTINGS:
        if name in shares:
            reached = np.floor(np.cumsum(counts * shares[name]) + 0.5).astype(np.int64)
            quotas[name] = np.minimum(np.diff(reached, prepend=0), free)
            free = free - quotas[name]
    return quotas


def assigned(whole: Partition, shares: Mapping[str, float], seed: int) -> np.ndarray:
    """Draw the partition of each training image (see `divide`), by its finest label.

    Every image is read once for each set of images, to find equal pictures.
    """
    fingerprint = whole.images.fingerprint()
    if fingerprint not in _SEEN:
        _SEEN.clear()
        _SEEN[fingerprint] = near_duplicates(whole.images)
    labels = whole.coarse_labels if whole.fine_labels is None else whole.fine_labels
    return divide(labels, _SEEN[fingerprint], shares, seed)


def part_of(whole: Partition, name: str, shares: Mapping[str, float], seed: int) -> Partition:
    """Return a partition that is made of the training images `whole`: `train`, or of `shares`.

    Raises:
        MissingPartition: the share comes to no image.
    """
    found = assigned(whole, shares, seed)
    kept = np.flatnonzero(found == name)
    if not len(kept):
        settings = " and ".join(f"`{SETTINGS[of]}` {share:g}" for of, share in shares.items())
        raise MissingPartition(
            f"{settings} of {len(whole)} training images leaves none for the partition {name!r}, "
            "as one image of each class trains; give another share, or more images"
        )
    sizes = ", ".join(f"{(found == each).sum()} {each}" for each in ("train", *shares))
    level = "coarse" if whole.fine_labels is None else "fine"
    note = (
        f"made of the {len(whole)} training images: {sizes}; by image, in equal shares of each "
        f"{level} class, near duplicates on one side"
    )
    return replace(whole.subset(kept), name=name, notes=(*whole.notes, note))
