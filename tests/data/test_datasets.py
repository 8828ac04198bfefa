"""Datasets, partitions, views and transforms."""

import gzip
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ancor.data.config import PARTITIONS, DataConfig
from ancor.data.datasets.fashion_mnist import DEBIAN
from ancor.data.hierarchy import Hierarchy
from ancor.data.images import GrayImages
from ancor.data.registry import DATASETS
from ancor.data.transform_spec import TransformSpec
from ancor.data.transforms import normalize, query_transform, support_transform, training_view
from ancor.data.views import QUERY_VIEW, EvaluationViews, TrainingViews
from tests.cases import slow
from tests.refusals import refuses

SIZES = {
    "digits": {"train": 1077, "validation": 360, "test": 360},
    "fashion-mnist": {"train": 50, "validation": 10, "test": 10},
}


@pytest.fixture
def roots(tmp_path, monkeypatch):
    """Give each dataset a folder; Fashion-MNIST's holds small files in the exact format."""
    monkeypatch.setattr("ancor.data.datasets.fashion_mnist.TRAINING_IMAGES", 50)
    write_fashion_mnist(tmp_path)
    return {"digits": None, "fashion-mnist": str(tmp_path)}


def write_fashion_mnist(folder, packed: bool = True) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 10)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            raw = header + array.tobytes()
            path = folder / f"{part}-{name}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(raw) if packed else raw)


@pytest.mark.parametrize("name", SIZES)
def test_partitions_have_their_images_and_one_hierarchy(name, roots):
    hierarchies = set()
    for partition_name, size in SIZES[name].items():
        partition = DataConfig(name, roots[name]).load(partition_name)
        assert len(partition) == len(partition.images) == len(partition.fine_labels) == size
        assert np.array_equal(
            partition.coarse_labels, partition.hierarchy.coarse(partition.fine_labels)
        )
        assert set(partition.fine_labels) == set(range(10))
        image = partition.images[0]
        assert image.dtype == torch.uint8
        assert image.shape == (3, 32, 32)
        hierarchies.add(partition.hierarchy)
    assert len(hierarchies) == 1


def test_digits_follow_the_rule_of_five():
    from sklearn.datasets import load_digits

    target = load_digits().target
    for name, remainders in (("train", [2, 3, 4]), ("validation", [1]), ("test", [0])):
        kept = np.isin(np.arange(len(target)) % 5, remainders)
        assert np.array_equal(DataConfig("digits").load(name).fine_labels, target[kept])
    assert DataConfig("digits").load("train").hierarchy.coarse_of_fine == (
        *(0, 1, 2, 2, 1, 2, 0, 1, 0, 0),
    )


def test_fashion_mnist_is_padded_and_split_in_order(roots):
    folder = roots["fashion-mnist"]
    train, validation = (DataConfig("fashion-mnist", folder).load(p) for p in PARTITIONS[:2])
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (60, 28, 28), dtype=np.uint8)
    assert np.array_equal(train.images[3][1, 2:-2, 2:-2].numpy(), raw[3])
    assert np.array_equal(validation.images[0][0, 2:-2, 2:-2].numpy(), raw[50])
    assert not train.images[3][:, :2].any()


def test_fashion_mnist_plain_files_in_torchvisions_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("ancor.data.datasets.fashion_mnist.TRAINING_IMAGES", 50)
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    write_fashion_mnist(raw, packed=False)
    assert len(DataConfig("fashion-mnist", str(tmp_path)).load("test")) == 10


@pytest.mark.parametrize(
    "damage",
    [b"", gzip.compress(b"no idx"), b"x" * 99],
    ids=["empty", "no IDX file inside", "not packed"],  # packed bytes tell the second they are of
)
def test_fashion_mnist_refuses_broken_files_by_name(roots, tmp_path, damage):
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(damage)
    with refuses("t10k-images-idx3-ubyte.gz'"):
        DataConfig("fashion-mnist", str(tmp_path)).load("test")


def test_missing_files_name_folder_layout_and_flag(tmp_path):
    with refuses("nowhere'", "FashionMNIST/raw'", "train-images-idx3-ubyte", "--download"):
        DataConfig("fashion-mnist", str(tmp_path / "nowhere")).load("train")


def test_unknown_names_list_the_known():
    with refuses("'mnist'", "digits"):
        DataConfig("mnist").load("train")
    with refuses("'val'", "train, validation"):
        DataConfig("digits").load("val")


def test_hierarchy_gives_every_fine_class_one_coarse_class():
    with refuses("'b'", "1", "0 to 0"):
        Hierarchy(("x",), ("a", "b"), (0, 1))
    with refuses("2", "1", "fine", "coarse"):
        Hierarchy(("x",), ("a", "b"), (0,))


def test_partition_without_fine_labels_says_what_to_do():
    partition = replace(DataConfig("digits").load("test"), fine_labels=None)
    assert len(partition.labels("coarse")) == 360
    with refuses("'test'", "'digits'", "--mode coarse"):
        partition.labels("fine")


# Both sets are GrayImages: spawned workers, slow to start, load those of one.
@pytest.mark.parametrize(
    ("name", "workers"),
    [
        ("digits", 0),
        slow("digits", 2),
        ("fashion-mnist", 0),
    ],
)
def test_views_are_a_function_of_their_address(name, workers, roots):
    """The same with spawned workers, in another order and beside other draws."""
    config = DataConfig(name, roots[name])
    partition, spec = config.load("test"), config.transforms
    pairs = np.array([[0, 0], [3, QUERY_VIEW], [3, 4], [0, 1], [7, 0]])
    views = EvaluationViews(
        partition.images, pairs, query_transform(spec), support_transform(spec), seed=5
    )
    loader = DataLoader(
        views,
        2,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
    )
    torch.manual_seed(workers)
    batches = torch.cat(list(loader))
    expected = torch.stack([views[position] for position in reversed(range(5))]).flip(0)
    assert torch.equal(batches, expected)
    assert not torch.equal(expected[0], expected[3])


def test_training_views_change_with_epoch_view_and_seed_and_nothing_else():
    config = DataConfig("digits")
    partition = config.load("train")

    def item(request, seed=0):
        labels, spec = partition.coarse_labels, config.transforms
        return TrainingViews(partition.images, labels, spec, ("strong", "strong"), seed)[request]

    (query, key), _, label, index = item((3, 17))
    assert (label, index) == (partition.coarse_labels[17], 17)
    assert torch.equal(query, item((3, 17))[0][0])
    for other in (key, item((4, 17))[0][0], item((3, 17), seed=1)[0][0]):
        assert not torch.equal(query, other)


def test_photographs_are_resized_and_cropped_gray_ones_left_alone():
    photo = torch.randint(0, 256, (3, 90, 60), dtype=torch.uint8)
    spec = TransformSpec(size=32, mean=(0.5,) * 3, std=(0.5,) * 3, resize=40).augmented("full")

    def training_transform(image):
        return training_view(image, spec, Random(0))[0]

    for transform in (query_transform(spec), support_transform(spec), training_transform):
        out = transform(photo)
        assert out.shape == (3, 32, 32)
        assert out.dtype == torch.uint8
    assert spec.with_size(64).resize == 80
    native = replace(spec, native_size=32)
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    assert torch.equal(query_transform(native)(image), image)
    assert query_transform(native.with_size(16))(image).shape == (3, 16, 16)


@pytest.mark.parametrize("name", ["digits", "fashion-mnist"])
def test_statistics_are_those_of_the_training_images(name):
    if name == "fashion-mnist" and not DEBIAN.exists():
        pytest.skip("Fashion-MNIST is not installed here")
    config = DataConfig(name)
    pixels = torch.from_numpy(config.load("train").images.pixels)[:, None].expand(-1, 3, -1, -1)
    batch = normalize(pixels[:20_000], config.transforms)
    assert abs(batch.mean().item()) < 0.01
    assert abs(batch.std().item() - 1) < 0.01


def test_gray_images_have_three_equal_channels():
    image = GrayImages(np.arange(8, dtype=np.uint8).reshape(2, 2, 2))[1]
    assert image.tolist() == [[[4, 5], [6, 7]]] * 3


def test_every_dataset_is_tested_here():
    assert set(SIZES) <= set(DATASETS)
