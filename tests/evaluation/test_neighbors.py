"""Neighbors and recall: the golden figures of two papers' code, and what a naive search finds."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ancor.evaluation import neighbors
from ancor.evaluation.neighbors import nearest, recall
from tests.golden_files import assert_agrees
from tests.golden_methods import arrays


@pytest.mark.parametrize("chunk", [7, 1024])
@pytest.mark.parametrize("method", ["maskcon", "coins"])
def test_golden_recall(method, chunk, monkeypatch):
    monkeypatch.setattr(neighbors, "CHUNK", chunk)
    given = {name: arrays(method)[f"retrieval/{name}"] for name in ("features", "labels", "K")}
    features = F.normalize(torch.from_numpy(given["features"]), dim=1)
    counts = given["K"].tolist()
    found = nearest(features, torch.arange(len(features)), max(counts)).numpy()
    ours = recall(given["labels"], found, counts)
    assert_agrees(ours, arrays(method)["retrieval/recall"], 1e-9)


def test_an_image_is_none_of_its_neighbors_even_where_another_is_the_same():
    features = F.normalize(torch.tensor([[1.0, 0], [1, 0], [0, 1], [1, 1]]), dim=1)
    found = nearest(features, torch.arange(4), 3)
    assert all(image not in row for image, row in enumerate(found.tolist()))
    assert found[0, 0] == 1
    assert found[1, 0] == 0
    labels = np.array([0, 1, 1, 0])
    assert recall(labels, found.numpy(), [1, 2, 3]) == [0.0, 0.5, 1.0]
