"""Signs of collapse: what a batch of embeddings looks like when all become alike."""

import torch
from torch import Tensor
from torch.nn import functional as F


def mean_cosine(vectors: Tensor) -> Tensor:
    """Mean cosine of all pairs of different vectors (N, D): 1 when all point one way."""
    unit = F.normalize(vectors.float(), dim=1)
    count = len(unit)
    # |sum of unit vectors|^2 is the sum over all pairs, the N equal ones included.
    return (unit.sum(0).square().sum() - count) / max(1, count * (count - 1))


def effective_rank(vectors: Tensor) -> Tensor:
    """Effective rank of vectors (N, D): exp of the entropy of their singular values' shares.

    Roy and Vetterli, "The effective rank", EUSIPCO 2007. From 1 to min(N, D).
    """
    values = torch.linalg.svdvals(vectors.float().nan_to_num())  # an undone step may have some
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return torch.special.entr(shares).sum().exp()
