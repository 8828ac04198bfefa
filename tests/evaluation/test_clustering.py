"""Finding clusters: what is planted is found, numbers are chosen, and odd inputs have an answer."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ancor.evaluation.clustering import (
    ALGORITHMS,
    MOST_MERGED,
    agglomerative,
    balanced,
    by_size,
    chosen_count,
    cluster_means,
    spherical_kmeans,
)
from tests.refusals import refuses


def planted(sizes: tuple[int, ...], spread: float, width: int = 32, seed: int = 0):
    """Unit vectors around drawn centers, and the center of each."""
    draws = torch.Generator().manual_seed(seed)
    centers = torch.randn(len(sizes), width, generator=draws)
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    vectors = 1 + centers[labels] + spread * torch.randn(len(labels), width, generator=draws)
    return F.normalize(vectors, dim=1), labels.numpy()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_is_planted_is_found_and_numbered_by_size(name):
    sizes = (20, 20, 20) if name == "sinkhorn" else (15, 40, 25)  # it asks for parts of one size
    unit, labels = planted(sizes, 0.3)
    found = ALGORITHMS[name](unit, 3, 0)
    assert np.bincount(found).tolist() == sorted(sizes, reverse=True)
    assert len(set(zip(found.tolist(), labels.tolist(), strict=True))) == 3
    assert (found == ALGORITHMS[name](unit, 3, 0)).all()


def test_kmeans_ends_where_no_image_is_nearer_to_another_mean():
    unit, _ = planted((50, 50, 50), 2.0)
    found = torch.from_numpy(spherical_kmeans(unit, 7, 1))
    cosines = unit @ cluster_means(unit, found, 7).T
    assert torch.equal(cosines.argmax(1), found)


def test_restarts_find_what_one_start_misses():
    """Of ten starts the best is kept: its cosines add up to no less than those of the truth."""
    for seed in range(5):
        unit, labels = planted((20,) * 12, 0.6, seed=seed)
        sums = [
            float((unit * cluster_means(unit, torch.from_numpy(each), 12)[each]).sum())
            for each in (spherical_kmeans(unit, 12, seed), labels)
        ]
        assert sums[0] >= sums[1] - 1e-4


def test_sinkhorn_makes_parts_of_nearly_one_size():
    unit, _ = planted((70, 20), 1.5)
    apart = np.bincount(spherical_kmeans(unit, 2, 0))
    parts = np.bincount(balanced(unit, 2, 0))
    assert parts.max() - parts.min() < apart.max() - apart.min()
    assert parts.min() >= 35


@pytest.mark.parametrize("name", ALGORITHMS)
def test_as_many_clusters_as_images_one_and_images_that_are_all_alike(name):
    unit, _ = planted((4, 4), 1.0)
    assert sorted(ALGORITHMS[name](unit, 8, 0)) == list(range(8))
    assert not ALGORITHMS[name](unit, 1, 0).any()
    alike = unit[:1].repeat(6, 1)
    assert set(ALGORITHMS[name](alike, 3, 0)) == {0, 1, 2}


def test_clusters_depend_on_seed_and_address_alone():
    unit, _ = planted((30, 30), 4.0)
    first = spherical_kmeans(unit, 5, 0, 3)
    torch.manual_seed(9)
    assert (spherical_kmeans(unit, 5, 0, 3) == first).all()
    assert any((spherical_kmeans(unit, 5, seed, 3) != first).any() for seed in (1, 2, 3))


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("known", [2, 3, 5])
def test_the_planted_number_is_chosen(name, known):
    unit, _ = planted((24,) * known, 0.6)
    assert chosen_count(unit, 8, ALGORITHMS[name], 0) == known


def test_one_is_chosen_where_nothing_is_planted():
    chosen = [
        chosen_count(planted((80,), 1.0, seed=seed)[0], 8, spherical_kmeans, seed)
        for seed in range(10)
    ]
    assert chosen.count(1) >= 8
    few, _ = planted((3,), 1.0)
    assert chosen_count(few, 8, spherical_kmeans, 0) == 1


def test_a_number_is_chosen_by_a_part_of_many_images():
    unit, _ = planted((900, 700), 0.6, width=8)
    assert chosen_count(unit, 4, spherical_kmeans, 0) == 2


def test_too_many_images_to_merge_are_refused():
    with refuses("agglomerative", str(MOST_MERGED), str(MOST_MERGED + 1)):
        agglomerative(torch.ones(MOST_MERGED + 1, 2), 2)


def test_clusters_are_numbered_by_size_and_then_by_place():
    assert by_size(np.array([2, 0, 0, 1, 1, 1, 2]), 3).tolist() == [1, 2, 2, 0, 0, 0, 1]
