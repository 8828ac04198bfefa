"""Nearest neighbors by the cosine of features (ours)."""

import torch
from torch import Tensor

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
