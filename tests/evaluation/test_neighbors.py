"""Neighbors: what a full sort finds, whatever the sizes of the blocks, and in which order."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ancor.evaluation import neighbors
from ancor.evaluation.neighbors import nearest, nearest_others


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=1)


def sorted_by(cosines: np.ndarray, k: int) -> np.ndarray:
    """Columns of the k largest of each row, the lowest first of equal ones."""
    return np.argsort(-cosines, axis=1, kind="stable")[:, :k]


@pytest.fixture(params=[0, neighbors.FEW, 2**40], ids=["picked", "as it is", "by topk"])
def _few(request, monkeypatch):
    """Where cosines above those found before are picked: in all blocks, some, and none."""
    monkeypatch.setattr(neighbors, "FEW", request.param)


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize("sizes", [(1024, 16_384), (7, 5), (1, 64), (100, 1), (9, 16)])
@pytest.mark.parametrize("k", [1, 6, 40])
def test_they_are_those_of_a_full_sort(sizes, k, monkeypatch):
    monkeypatch.setattr(neighbors, "QUERIES", sizes[0])
    monkeypatch.setattr(neighbors, "GALLERY", sizes[1])
    gallery, queries = drawn(40, 6), drawn(23, 6, seed=1)
    found = nearest(gallery, queries, k)
    cosines = (queries @ gallery.T).numpy()
    expected = sorted_by(cosines, k)
    assert found.numbers.tolist() == expected.tolist()
    np.testing.assert_allclose(
        found.similarities, np.take_along_axis(cosines, expected, 1), rtol=0, atol=1e-12
    )


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gallery", [16_384, 50, 7])
def test_of_equal_ones_the_lowest_numbers_come_first(gallery, dtype, monkeypatch):
    """Each of 29 directions stands seven times in the gallery: every k cuts through copies."""
    monkeypatch.setattr(neighbors, "GALLERY", gallery)
    directions = drawn(29, 16).to(dtype)
    places = np.tile(np.arange(29), 7)
    queries = drawn(5, 16, seed=1).to(dtype)
    cosines = (queries @ directions.T).double().numpy()[:, places]
    for k in (1, 3, 10, 100, 203):
        found = nearest(directions[torch.from_numpy(places)], queries, k)
        assert found.numbers.tolist() == sorted_by(cosines, k).tolist()


def test_an_image_is_none_of_its_neighbors_even_where_another_is_the_same():
    features = F.normalize(torch.tensor([[1.0, 0], [1, 0], [0, 1], [1, 1]]), dim=1)
    assert nearest_others(features, 3).tolist() == [[1, 3, 2], [0, 3, 2], [3, 0, 1], [0, 1, 2]]


def test_only_queries_of_the_gallery_are_passed_over():
    gallery = drawn(6, 4)
    found = nearest(gallery, gallery[[2, 4]], 6, torch.tensor([2, -1]))
    assert found.numbers[0, -1] == 2
    assert found.similarities[0, -1] == -torch.inf
    assert found.numbers[1, 0] == 4
    assert found.similarities[1, 0] == pytest.approx(1)
