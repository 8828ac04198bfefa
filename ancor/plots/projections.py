"""Features in the plane, by their cosine distances: t-SNE, or UMAP where it is installed."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from ancor.errors import InputError, choose
from ancor.runtime.lazy import Lazy

manifold, umap = Lazy("sklearn.manifold"), Lazy("umap")
SMALLEST_SPREAD = 1e-6  # of unit vectors that differ by more than rounding
SHORTEST = 1e-12  # features of length 0, as of a dead network, have no direction and stay
TITLES = {"tsne": "t-SNE", "umap": "UMAP"}
NEIGHBORS = 15  # of UMAP, its default


def require(projection: str) -> None:
    """Raise an InputError where a projection is not known, or its library not installed."""
    choose("`projection`", projection, TITLES)
    if projection == "umap" and find_spec("umap") is None:
        raise InputError(
            "`projection` 'umap' needs umap-learn: pip install 'ancor-toolkit[umap]'; or take "
            "'tsne'"
        )


def project(
    features: np.ndarray,
    weights: np.ndarray | None,
    perplexity: float = 30.0,
    seed: int = 0,
    projection: str = "tsne",
) -> tuple[np.ndarray, np.ndarray]:
    """Lay features, and class weights among them, out in the plane by their cosine distances.

    t-SNE is that of van der Maaten and Hinton (JMLR 2008), UMAP that of McInnes, Healy and Melville
    (2018, arXiv 1802.03426).

    Args:
        features: (N, F).
        weights: (C, F), or None.
        perplexity: of t-SNE; lowered where there are too few points for it.
        seed: of the projection.
        projection: `tsne` or `umap`.

    Returns:
        Points of the features, (N, 2), and of the weights, (C, 2) or (0, 2).
    """
    together = features if weights is None else np.concatenate([features, weights])
    lengths = np.linalg.norm(together, axis=1, keepdims=True)
    together = together / np.maximum(lengths, SHORTEST)
    if len(together) < 3:  # too few for either; any two places show as much
        points = np.stack([np.arange(len(together)), np.zeros(len(together))], axis=1)
        return points[: len(features)], points[len(features) :]
    # Of points at one place, principal components are no numbers, which end the process.
    differ = together.shape[1] > 1 and np.ptp(together, axis=0).max() > SMALLEST_SPREAD
    make = {"tsne": _tsne, "umap": _umap}[projection]
    threads = torch.get_num_threads()
    try:
        points = make(len(together), differ, perplexity, seed % 2**32).fit_transform(together)
    finally:
        torch.set_num_threads(threads)  # Numba, which compiles UMAP, takes all for PyTorch too
    return points[: len(features)], points[len(features) :]


def perplexity_of(count: int, asked: float) -> float:
    """Return the perplexity that t-SNE of some points has: as asked, or less of too few."""
    return min(asked, (count - 1) / 3)


def _tsne(count: int, differ: bool, perplexity: float, seed: int) -> Any:
    return manifold.TSNE(
        metric="cosine",
        perplexity=perplexity_of(count, perplexity),
        init="pca" if differ else "random",
        random_state=seed,
    )


def _umap(count: int, differ: bool, perplexity: float, seed: int) -> Any:
    return umap.UMAP(
        metric="cosine",
        n_neighbors=min(NEIGHBORS, count - 1),
        # The spectral start takes more points than dimensions, and such as differ.
        init="spectral" if differ and count > 4 else "random",
        random_state=seed,
        n_jobs=1,  # which a seed asks for
    )
