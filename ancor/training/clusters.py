"""What a method's clusters of the training images are worth, beside labels that it never saw."""

import numpy as np


def cluster_figures(clusters: np.ndarray, fine_labels: np.ndarray | None) -> dict[str, float]:
    """Return figures of clusters by name.

    Args:
        clusters: cluster of each image, (n,), of which at least one has one; -1: none.
        fine_labels: (n,), for scoring alone; None: not known, and only sizes are told.

    Returns:
        `used`, `smallest` and `largest`: how many clusters hold images, and how many those hold;
        `nmi` and `homogeneity`: the clusters' mutual information with the fine labels over the mean
        of both entropies, and over the labels' own: 0 to 1, where it is 1 if no cluster mixes fine
        classes (Rosenberg and Hirschberg, EMNLP-CoNLL 2007, for the second).
    """
    held = clusters >= 0
    sizes = np.unique(clusters[held], return_counts=True)[1]
    figures = {"used": len(sizes), "smallest": int(sizes.min()), "largest": int(sizes.max())}
    if fine_labels is not None:
        figures |= _agreement(clusters[held], fine_labels[held])
    return figures


def _agreement(clusters: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    pairs = np.stack([clusters, labels])
    of_clusters, of_labels, of_both = (
        _entropy(np.unique(part, axis=-1, return_counts=True)[1])
        for part in (clusters, labels, pairs)
    )
    shared, mean = of_clusters + of_labels - of_both, (of_clusters + of_labels) / 2
    return {
        "nmi": float(shared / mean) if mean else 1.0,
        "homogeneity": float(shared / of_labels) if of_labels else 1.0,
    }


def _entropy(counts: np.ndarray) -> float:
    shares = counts / counts.sum()
    return -(shares * np.log(shares)).sum()


def in_words(figures: dict[str, float]) -> str:
    """Write what `cluster_figures` returned for people."""
    sizes = "{used} in use, of {smallest} to {largest} images".format(**figures)
    if "nmi" not in figures:
        return sizes
    return f"{sizes}; NMI {figures['nmi']:.3f}, homogeneity {figures['homogeneity']:.3f}"
