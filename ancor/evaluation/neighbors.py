"""Nearest neighbors by the cosine of features (ours)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

RECALL_AT = (1, 2, 5, 10, 50, 100)  # MaskCon's
CHUNK = 1024  # queries whose cosines with all images are in memory at once


def nearest(features: Tensor, queries: Tensor, k: int) -> Tensor:
    """Return the k nearest other images of each query, nearest first.

    Args:
        features: (N, F), of unit length.
        queries: numbers of the queries among them, (Q,).
        k: neighbors, fewer than N.

    Returns:
        Numbers, (Q, k).
    """
    found = []
    for part in queries.split(CHUNK):
        cosines = features[part] @ features.T
        cosines[torch.arange(len(part)), part] = -torch.inf
        found.append(cosines.topk(k, dim=1).indices)
    return torch.cat(found)


def recall(labels: np.ndarray, found: np.ndarray, counts: Sequence[int]) -> list[float]:
    """Return recall at K: the share of queries of which a neighbor among the first K is right.

    As MaskCon and CoIns report it, every image being a query; it is left out of its own neighbors
    by its number (MaskCon's code: by its place, the same where no two images are alike).

    Args:
        labels: (N,).
        found: neighbors of all images, nearest first, (N, k).
        counts: each K, from 1 to k.
    """
    right = labels[found] == labels[:, None]
    return [float(right[:, :count].any(1).mean()) for count in counts]
