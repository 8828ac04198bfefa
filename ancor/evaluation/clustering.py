"""Clusters of unit vectors, a number of them given or chosen (ours, of well-known parts).

Shapes: n images of one coarse class, or of all, F features, k clusters. Clusters are numbered by
size, the largest first.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.errors import InputError
from ancor.methods.subclasses import sinkhorn
from ancor.runtime.lazy import Lazy
from ancor.runtime.seeding import address_seed, generator

cluster, metrics = Lazy("sklearn.cluster"), Lazy("sklearn.metrics")

RESTARTS = 10
MOST_ROUNDS = 100  # of assigning and averaging
SHARPNESS = 25.0  # of cosines in the balanced assignment: that of SCGM
CHUNK = 65_536  # images whose cosines with all means are in memory at once
MOST_MERGED = 20_000  # images: agglomeration keeps all n^2 / 2 distances
MOST_JUDGED = 1000  # images that the number of clusters is chosen by
REFERENCES = 10  # draws of images without clusters that a choice is compared with


def spherical_kmeans(unit: Tensor, k: int, seed: int, *address: int) -> np.ndarray:
    """Cluster by the cosine: spherical k-means, the best of ten starts by k-means++.

    Dhillon and Modha, "Concept Decompositions for Large Sparse Text Data Using Clustering",
    Machine Learning 42 (2001); Arthur and Vassilvitskii, "k-means++", SODA 2007. A cluster that
    loses its last image takes the one that is farthest from its mean (ours).

    Args:
        unit: (n, F), of unit length.
        k: clusters, 1 to n.
        seed: of the starts, with the address of what is clustered.

    Returns:
        Cluster of each image, (n,).
    """
    best, best_cosines = np.zeros(len(unit), dtype=np.int64), -np.inf
    for restart in range(RESTARTS if k > 1 else 0):
        draws = generator(seed, "k-means", *address, k, restart)
        labels, cosines = _settled(unit, _start(unit, k, draws))
        if cosines > best_cosines:
            best, best_cosines = labels.cpu().numpy(), cosines
    return by_size(best, k)


def _start(unit: Tensor, k: int, draws: torch.Generator) -> Tensor:
    """Draw k images as means (k, F), each with probability as its squared distance to the others.

    It is 2 - 2 cos. Where all images are alike, any is drawn.
    """
    chosen = [int(torch.randint(len(unit), (), generator=draws))]
    distance = torch.full((len(unit),), torch.inf)
    for _ in range(k - 1):
        distance = torch.minimum(distance, 2 - 2 * (unit @ unit[chosen[-1]]).cpu()).clamp(min=0)
        distance[chosen] = 0
        weights = distance.double() if distance.sum() > 0 else torch.ones(len(unit)).double()
        point = torch.rand((), generator=draws, dtype=torch.float64) * weights.sum()
        place = int(torch.searchsorted(weights.cumsum(0), point, right=True))
        chosen.append(min(place, len(unit) - 1))
    return unit[chosen].clone()


def _settled(unit: Tensor, means: Tensor) -> tuple[Tensor, float]:
    """Assign and average until nothing moves; return clusters (n,) and the sum of their cosines."""
    labels = None
    for _ in range(MOST_ROUNDS):
        found = [(part @ means.T).max(1) for part in unit.split(CHUNK)]
        cosines, moved = (torch.cat(each) for each in zip(*found, strict=True))
        moved = _filled(moved, cosines, len(means))
        if labels is not None and torch.equal(moved, labels):
            break
        labels, means = moved, cluster_means(unit, moved, len(means))
    return labels, float(cosines.double().sum())


def _filled(labels: Tensor, cosines: Tensor, k: int) -> Tensor:
    """Give each empty cluster an image: the farthest from its mean that is not alone in its own."""
    counts = torch.bincount(labels, minlength=k)
    if counts.all():
        return labels
    waiting = (counts == 0).nonzero()[:, 0].tolist()
    for image in cosines.argsort().tolist():
        if not waiting:
            break
        if counts[labels[image]] > 1:
            counts[labels[image]] -= 1
            labels[image] = waiting.pop()
    return labels


def cluster_means(unit: Tensor, labels: Tensor, k: int) -> Tensor:
    """Return the mean directions of clusters, (k, F), of unit length."""
    sums = torch.zeros((k, unit.shape[1]), dtype=unit.dtype, device=unit.device)
    return F.normalize(sums.index_add_(0, labels.to(unit.device), unit), dim=1)


def balanced(unit: Tensor, k: int, seed: int, *address: int) -> np.ndarray:
    """Cluster into nearly equal parts: k-means whose assignment is Sinkhorn's.

    It starts from `spherical_kmeans`, whose arguments it takes. Each image goes to the cluster that
    has most of it in the balanced transport (`ancor.methods.subclasses.sinkhorn`, as SCGM).
    """
    labels = torch.from_numpy(spherical_kmeans(unit, k, seed, *address))
    if k == 1:
        return labels.numpy()
    for _ in range(MOST_ROUNDS):
        cosines = unit @ cluster_means(unit, labels, k).T
        moved = sinkhorn(cosines.double().cpu(), SHARPNESS).transport.argmax(1)
        if len(moved.unique()) < k or torch.equal(moved, labels):
            break
        labels = moved
    return by_size(labels.numpy(), k)


def agglomerative(unit: Tensor, k: int, seed: int = 0, *address: int) -> np.ndarray:
    """Cluster by merging: Ward's criterion (JASA 1963) on unit vectors; nothing is drawn.

    Raises:
        InputError: there are more images than their distances can be kept of.
    """
    if len(unit) > MOST_MERGED:
        raise InputError(
            f"agglomerative clustering of {len(unit)} images of one coarse class: accepted: up to "
            f"{MOST_MERGED}; use kmeans"
        )
    if k == 1:
        return np.zeros(len(unit), dtype=np.int64)
    return by_size(cluster.AgglomerativeClustering(k).fit_predict(unit.cpu().numpy()), k)


def by_size(labels: np.ndarray, k: int) -> np.ndarray:
    """Number clusters anew, the largest first; equal ones by their first image."""
    first = np.array([np.argmax(labels == number) for number in range(k)])
    order = np.lexsort((first, -np.bincount(labels, minlength=k)))
    places = np.empty(k, dtype=np.int64)
    places[order] = np.arange(k)
    return places[labels]


ALGORITHMS: dict[str, Callable[..., np.ndarray]] = {
    "kmeans": spherical_kmeans,
    "sinkhorn": balanced,
    "agglomerative": agglomerative,
}


def chosen_count(unit: Tensor, most: int, find: Callable, seed: int, *address: int) -> int:
    """Choose a number of clusters, 1 to `most`: that of the largest mean silhouette, or 1.

    Silhouettes (Rousseeuw, 1987) are of the cosine, and need two clusters. One cluster is chosen
    where images without clusters do as well: the best of ten drawn sets from the Gaussian of the
    same mean and covariance, as Liu, Hayes, Nobel and Marron (JASA 2008) test a split; the drawn
    sets are cut into as many clusters. Of more than 1,000 images, 1,000 are drawn to choose by.

    Args:
        unit: (n, F), of unit length.
        most: the most clusters; of fewer than 2 * most images, half as many as there are.
        find: one of `ALGORITHMS`.
        seed: of what is drawn, with the address of what is clustered.
    """
    draws = generator(seed, "number of clusters", *address)
    if len(unit) > MOST_JUDGED:
        unit = unit[torch.randperm(len(unit), generator=draws)[:MOST_JUDGED]]
    scores = {
        k: _silhouette(unit, find(unit, k, seed, *address))
        for k in range(2, min(most, len(unit) // 2) + 1)
    }
    if not scores:
        return 1
    best = max(scores, key=lambda k: scores[k])
    mean = unit.mean(0)
    spread = (unit - mean) / len(unit) ** 0.5
    for number in range(REFERENCES):
        normal = torch.randn((len(unit), len(unit)), generator=draws).to(unit.device)
        alike = F.normalize(mean + normal @ spread, dim=1)
        drawn = address_seed(seed, "images without clusters", *address, number)
        if _silhouette(alike, find(alike, best, drawn)) >= scores[best]:
            return 1
    return best


def _silhouette(unit: Tensor, labels: np.ndarray) -> float:
    if not 1 < len(np.unique(labels)) < len(labels):
        return -1.0
    return float(metrics.silhouette_score(unit.cpu().numpy(), labels, metric="cosine"))
