"""Files of features: what is written is read, what does not fit is refused, and which views."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ancor.data import features
from ancor.data.features import FeatureRows, TrainingRows
from ancor.data.hierarchy import Hierarchy
from ancor.data.partition import Partition
from ancor.errors import MissingPartition
from tests.refusals import refuses

ABOUT = {
    "dataset": "folder",
    "root": None,
    "arch": "conv4",
    "pretrained": "weights.pth",
    "weights": "a hash",
    "preprocessing": {"image_size": 32},
    "views": 3,
}
HIERARCHY = Hierarchy(("cat", "dog"), ("lynx", "pug", "terrier"), (0, 1, 1))


def rows(images: int = 6, views: int = 3, width: int = 5) -> torch.Tensor:
    return torch.randn(images, 1 + views, width, generator=torch.Generator().manual_seed(0))


def partition(name: str, fine: list[int] | None, views: int = 3) -> Partition:
    images = FeatureRows(rows(views=views), [f"{name}/ü{n}.jpg" for n in range(6)])
    if fine is None:
        coarse = np.array([0, 1, 0, 1, 0, 1])
        return Partition("folder", name, images, coarse, None, Hierarchy(("cat", "dog")))
    return Partition.from_fine("folder", name, images, np.array(fine), HIERARCHY)


@pytest.fixture
def path(tmp_path) -> str:
    found = tmp_path / "f.npz"
    with open(found, "wb") as file:
        parts = [partition("train", None), partition("test", [0, 1, 2, 2, 1, 0], views=0)]
        features.write(file, ABOUT, {part.name: part for part in parts})
    return str(found)


def test_partitions_come_back(path):
    train, test = features.load("train", path), features.load("test", path)
    assert train.fine_labels is None
    assert train.hierarchy == Hierarchy(("cat", "dog"))
    assert test.hierarchy == HIERARCHY
    assert test.fine_labels.tolist() == [0, 1, 2, 2, 1, 0]
    assert test.coarse_labels.tolist() == [0, 1, 1, 1, 1, 0]
    assert torch.equal(train.images.rows, rows())
    assert test.images.name(2) == "test/ü2.jpg"
    assert (train.dataset, train.images.views, test.images.views) == ("folder", 3, 0)
    with refuses("validation", "train", kind=MissingPartition):
        features.load("validation", path)
    with np.load(path, allow_pickle=False) as plain:  # of numpy's own
        assert plain["train_features"].shape == (6, 4, 5)


def test_some_of_them(path):
    part = features.load("test", path).subset(np.array([4, 1]))
    assert part.images.name(0) == "test/ü4.jpg"
    assert torch.equal(part.images.rows, rows(views=0)[[4, 1]])
    assert part.images.weights == "a hash"


def test_what_needs_a_picture_says_so(path):
    with refuses(path, "`dataset`", "`root`"):
        features.load("train", path).images[0]


def changed(path: str, change: Callable[[dict], object]) -> None:
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)


def told(arrays: dict, **changes: object) -> None:
    arrays["about"] = np.array(json.dumps({**json.loads(str(arrays["about"])), **changes}))


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("about"),
        lambda arrays: arrays.pop("test_features"),
        lambda arrays: arrays.update(about=np.array("no JSON")),
        lambda arrays: arrays.update(about=np.array("[1]")),
        lambda arrays: told(arrays, format=2),
        lambda arrays: told(arrays, dataset=None),
        lambda arrays: told(arrays, partitions={"test": {}}),
        lambda arrays: told(arrays, partitions={"test": {"coarse_names": ["a"], "fine_names": 3}}),
        lambda arrays: arrays.update(test_features=np.zeros((6, 4), np.float32)),
        lambda arrays: arrays.update(test_features=np.zeros((6, 1, 5))),
        lambda arrays: arrays.update(test_features=np.full((6, 1, 5), np.nan, np.float32)),
        lambda arrays: arrays.update(test_coarse=np.full(6, 2)),
        lambda arrays: arrays.update(test_coarse=np.zeros(5, np.int64)),
        lambda arrays: arrays.update(test_coarse=np.zeros(6, np.int64)),  # not of the fine ones
        lambda arrays: arrays.update(test_fine=np.full(6, -1)),
        lambda arrays: arrays.update(test_images=np.arange(6)),
    ],
)
def test_a_file_that_does_not_fit_is_refused(path, change):
    changed(path, change)
    with refuses(path, "`features`", "ancor embed"):
        features.load("test", path)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    (tmp_path / "config.json").write_text('{"encoder": 1, "data": 2, "training": 3}')
    for name in ("a.npz", "config.json", "missing.npz"):
        with refuses(str(tmp_path / name), "ancor embed"):
            features.about(str(tmp_path / name))


def test_a_changed_file_is_read_anew(path):
    assert features.about(path)["views"] == 3
    changed(path, lambda arrays: told(arrays, views=12))
    assert features.about(path)["views"] == 12


def drawn(items: TrainingRows, *request: object) -> list[int]:
    """The numbers of an item's views among the rows of its image."""
    views, drawings, labels, indices = items.__getitems__([request])
    assert all(drawing.shape == (1, 0) for drawing in drawings)
    assert (labels.tolist(), indices.tolist()) == ([request[1]], [request[1]])
    own = items.images.rows[request[1]]
    return [int((own == view).all(dim=1).nonzero()) for view in views]


def test_views_of_an_item_differ_and_follow_from_its_address():
    labels = np.arange(6)
    items = TrainingRows(FeatureRows(rows(views=4), list("abcdef")), labels, 2, seed=1)
    every = {(epoch, index): drawn(items, epoch, index) for epoch in range(50) for index in labels}
    assert all(one != other and min(one, other) >= 1 for one, other in every.values())
    assert {view for pair in every.values() for view in pair} == {1, 2, 3, 4}
    again = TrainingRows(items.images, labels, 2, seed=1)
    assert all(drawn(again, *request) == views for request, views in every.items())
    for other in (TrainingRows(items.images, labels, 2, seed=2), again):
        purpose = ("queue",) if other is again else ()
        assert any(drawn(other, *r, *purpose) != views for r, views in every.items())
    mixed = [(3, 4), (3, 1, "round 1"), (3, 1)]  # of classes that are seen more often than others
    for view, numbers in zip(
        items.__getitems__(mixed)[0],
        zip(*(drawn(items, *r) for r in mixed), strict=True),
        strict=True,
    ):
        for position, (request, number) in enumerate(zip(mixed, numbers, strict=True)):
            assert torch.equal(view[position], items.images.rows[request[1], number])
    together = items.__getitems__([(3, index) for index in (4, 1)])  # a batch is its items
    assert together[3].tolist() == [4, 1]
    rows_of = items.images.rows
    for position, index in enumerate((4, 1)):
        for view, number in zip(together[0], drawn(items, 3, index), strict=True):
            assert torch.equal(view[position], rows_of[index, number])


def test_too_few_views_are_refused():
    with refuses("f.npz", "1", "2", "`views`"):
        TrainingRows(FeatureRows(rows(views=1), list("abcdef"), "f.npz"), np.arange(6), 2, 0)
