"""Figures of clusters, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import homogeneity_score, normalized_mutual_info_score

from ancor.training.clusters import cluster_figures, in_words


@pytest.mark.parametrize("seed", range(4))
def test_agreement_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, 80)
    clusters = np.where(rng.random(80) < 0.6, labels, rng.integers(-1, 7, 80))
    found = cluster_figures(clusters, labels)
    held = clusters >= 0
    assert found["nmi"] == pytest.approx(
        normalized_mutual_info_score(labels[held], clusters[held]), abs=1e-12
    )
    assert found["homogeneity"] == pytest.approx(
        homogeneity_score(labels[held], clusters[held]), abs=1e-12
    )
    sizes = np.bincount(clusters[held])
    sizes = sizes[sizes > 0]
    assert [found[n] for n in ("used", "smallest", "largest")] == [
        *(len(sizes), sizes.min(), sizes.max())
    ]


def test_the_ends():
    one, two = np.zeros(6, dtype=int), np.arange(6) % 2
    assert cluster_figures(two, two)["nmi"] == pytest.approx(1)
    assert cluster_figures(one, one)["homogeneity"] == 1  # nothing to tell apart
    assert cluster_figures(one, two)["nmi"] == pytest.approx(0)
    assert cluster_figures(np.arange(6), two)["homogeneity"] == pytest.approx(1)


def test_without_fine_labels_sizes_are_told():
    found = cluster_figures(np.array([0, 0, 3, -1]), None)
    assert found == {"used": 2, "smallest": 1, "largest": 2}
    assert "NMI" not in in_words(found)
    assert "NMI" in in_words(cluster_figures(np.array([0, 1]), np.array([0, 1])))
