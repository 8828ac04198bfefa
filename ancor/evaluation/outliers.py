"""Labels that an image's neighbors doubt: by the features of an encoder (ours)."""

from typing import Any

import numpy as np
from torch import Tensor

from ancor.data.config import PARTITIONS, DataConfig
from ancor.data.partition import Partition
from ancor.data.repeats import told
from ancor.data.scan import problems_of
from ancor.errors import InputError
from ancor.evaluation.models import read_models
from ancor.evaluation.neighbors import nearest_others
from ancor.runtime.devices import Runtime

NEIGHBORS = 10
AGREE = 0.7  # of the neighbors, on one other class: mislabeled images may come in threes
LEAST = 4  # images of a class that could be among each other's neighbors


def label_outliers(
    features: Tensor, labels: np.ndarray, k: int = NEIGHBORS
) -> list[tuple[int, int, float]]:
    """Find images whose nearest neighbors are of another class, and agree which.

    Args:
        features: (N, F), of unit length.
        labels: (N,). Images of classes of fewer than `LEAST` are left out, as neighbors too.
        k: neighbors, or as many as there are.

    Returns:
        For each such image its number, the other class and the share of the neighbors that are of
        it; those of the largest share first.
    """
    known = np.flatnonzero(np.bincount(labels)[labels] >= LEAST)
    k = min(k, len(known) - 1)
    if k < 1:
        return []
    classes = labels[known][nearest_others(features[known], k).numpy()]
    found = []
    for number, own in zip(known.tolist(), classes, strict=True):
        others, counts = np.unique(own, return_counts=True)
        most = counts.argmax()
        if others[most] != labels[number] and counts[most] >= AGREE * k:
            found.append((number, int(others[most]), float(counts[most] / k)))
    return sorted(found, key=lambda doubt: -doubt[2])


def find(config: DataConfig, model_path: str) -> list[dict[str, Any]]:
    """Find the doubtful labels of each partition of a dataset, of its finest level.

    Args:
        config: which data; images and partitions that cannot be read are left out, as
            `ancor.data.report.check` tells of them.
        model_path: the encoder's file, or a library's backbone.

    Returns:
        What `ancor.data.repeats.told` tells of each image, by its position among all of its
        partition, and `suggested`, a class, with its `share` of the neighbors.

    Raises:
        InputError: the encoder cannot be read, or does not fit the data.
    """
    found = []
    runtime = Runtime.named("auto", "fp32", None, batch_size=128, workers=0, quiet=False)
    for name in PARTITIONS:
        try:
            whole = config.read(name)
        except InputError:
            continue
        kept = np.flatnonzero([problem is None for problem in problems_of(whole)])
        if not len(kept):
            continue
        partition = whole.subset(kept)
        (model,), _ = read_models([model_path], config.given, partition, runtime)
        features = model.bank(partition).test_features()
        found += _in_partition(whole, kept, features)
    return found


def _in_partition(whole: Partition, kept: np.ndarray, features: Tensor) -> list[dict[str, Any]]:
    """Tell the doubtful labels among the images at the positions `kept`, whose features follow."""
    level = "coarse" if whole.fine_labels is None else "fine"
    names, labels = whole.hierarchy.names(level), whole.labels(level)[kept]
    return [
        {**told(whole, int(kept[number])), "suggested": names[other], "share": share}
        for number, other, share in label_outliers(features, labels)
    ]
