"""Temperature scaling (Guo et al., 2017, arXiv 1706.04599): how sure probabilities should be."""

import numpy as np
import torch
from torch import Tensor

from ancor.runtime.lazy import Lazy

optimize = Lazy("scipy.optimize")
RANGE = (1e-3, 1e3)


def fit_temperature(scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> float:
    """Return the temperature T at which softmax(scores / T) explains the labels best.

    Targets are smoothed by 1 / (N + 2), as in Platt's scaling (1999), so that T does not run to 0
    where every answer is right.

    Args:
        scores: of held-out images, (N, n); -inf for classes that were no candidates.
        labels: the right classes, (N,); an image whose own class was no candidate is left out.
        weights: how much each image counts, (N,); None: equally.

    Returns:
        T, within `RANGE`; 1 where nothing is left to fit it to.
    """
    candidates = torch.isfinite(scores)
    kept = candidates.gather(1, labels[:, None])[:, 0] & (candidates.sum(1) > 1)
    if not kept.any():
        return 1.0
    scores, labels, candidates = scores[kept].double(), labels[kept], candidates[kept]
    smoothing = 1 / (len(scores) + 2)
    targets = smoothing * candidates.double() / candidates.sum(1, keepdim=True)
    targets.scatter_add_(1, labels[:, None], targets.new_full((len(labels), 1), 1 - smoothing))
    if weights is not None:
        targets *= weights[kept][:, None]

    def loss(logarithm: float) -> float:
        logs = (scores / np.exp(logarithm)).log_softmax(1)
        return float(-(targets * logs.masked_fill(~candidates, 0)).sum())

    # In 1 / T the loss is convex, so in log T it has one minimum.
    bounds, options = np.log(RANGE), {"xatol": 1e-6}
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options=options)
    return float(np.exp(found.x))
