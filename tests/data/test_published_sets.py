"""tieredImageNet, CIFAR-100, FGVC-Aircraft and glyphs, from files in their own layouts."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont
from torch.utils.data import DataLoader

from ancor.data.config import DataConfig
from ancor.data.datasets import glyphs
from ancor.data.registry import DATASETS
from ancor.data.transforms import pixels_of, query_transform, support_transform
from ancor.data.views import EvaluationViews
from ancor.fewshot import inputs
from tests import made
from tests.cases import first_quick
from tests.refusals import refuses


class Bomb:
    """Pickles as a call that writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"echo x > {self.target}",)


def expected_picture(number: int) -> np.ndarray:
    return np.asarray(made.picture(number, (84, 84)))


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("inside", ["tiered-imagenet", "."])
def test_tiered(tmp_path, inside, as_array):
    made.tiered(tmp_path / inside, as_array=as_array)
    for first, name in enumerate(("train", "validation", "test")):
        loaded = DataConfig("tieredImageNet", root=str(tmp_path)).load(name)
        assert loaded.fine_labels.tolist() == [0, 1, 2, 3] * 3
        assert loaded.coarse_labels.tolist() == [0, 1, 0, 1] * 3
        assert np.array_equal(np.asarray(loaded.images[5]), expected_picture(1000 * first + 5))
        assert loaded.hierarchy.fine_names[1].endswith("fine 1")
        assert loaded.hierarchy.num_coarse == 2


def test_tiered_items_that_are_arrays_of_bytes(tmp_path):
    made.tiered(tmp_path)
    path = tmp_path / "train_images_png.pkl"
    items = [np.frombuffer(item, np.uint8)[:, None] for item in pickle.loads(path.read_bytes())]
    path.write_bytes(pickle.dumps(items))
    loaded = DataConfig("tiered", root=str(tmp_path)).load("train")
    assert np.array_equal(np.asarray(loaded.images[7]), expected_picture(7))


def as_opencv_unpacks(folder: Path, split: str) -> None:
    """Put images.npz in place of the pickle, as `decompress` of the authors' scripts does.

    OpenCV's imdecode gives blue first.
    """
    pickled = folder / f"{split}_images_png.pkl"
    decoded = [Image.open(io.BytesIO(item)) for item in pickle.loads(pickled.read_bytes())]
    blue_first = np.stack([np.asarray(image)[:, :, ::-1] for image in decoded])
    np.savez(folder / f"{split}_images.npz", images=blue_first)
    pickled.unlink()


def test_tiered_arrays_give_the_pixels_of_the_pickles(tmp_path):
    """B14: their red and blue were exchanged; so a training and an evaluation of both differed."""
    made.tiered(tmp_path)
    config = DataConfig("tiered", root=str(tmp_path))
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        pickled = config.load(name).images
        as_opencv_unpacks(tmp_path, split)
        unpacked = config.load(name).images
        assert len(pickled) == len(unpacked) == 12
        for n in range(12):
            assert torch.equal(pixels_of(pickled[n]), unpacked[n])
    assert np.array_equal(unpacked[3].permute(1, 2, 0).numpy(), expected_picture(2003))
    assert np.array_equal(np.frombuffer(unpacked.content(3), np.uint8), unpacked[3].flatten())


def test_every_set_of_color_images_gives_red_first(tmp_path):
    """B14: one red image in each of the forms that color images are read from."""
    red = np.zeros((84, 84, 3), np.uint8)
    red[..., 0] = 200
    made.cifar100(tmp_path, 1)
    path = tmp_path / "cifar-100-python" / "train"
    batch = pickle.loads(path.read_bytes())
    batch[b"data"][0] = np.repeat([200, 0, 0], 1024)  # its page: 1024 red, then green, then blue
    path.write_bytes(pickle.dumps(batch))
    found = [DataConfig("cifar100", root=str(tmp_path)).load("train").images[0]]
    for kind in ("png", "bmp", "tif", "webp", "jpg"):
        path = tmp_path / "own" / "a" / f"1.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(red).save(path)
        found += [
            pixels_of(DataConfig("folder", root=str(path.parents[1])).load("train").images[0])
        ]
        path.unlink()
    found += [inputs.read(red, 0), inputs.read(torch.from_numpy(red).permute(2, 0, 1), 0)]
    for image in found:
        assert image[0].float().mean() > 195
        assert image[1:].float().mean() < 5


@pytest.mark.parametrize("shape", [(12, 1, 8000, 3), (12, 0, 84, 3)])
def test_tiered_arrays_of_threads(shape, tmp_path):
    """B17: what holds for files holds for arrays."""
    made.tiered(tmp_path)
    (tmp_path / "train_images_png.pkl").unlink()
    np.savez(tmp_path / "train_images.npz", images=np.zeros(shape, np.uint8))
    with refuses("train_images.npz'", f"{shape[2]} x {shape[1]}", "100"):
        DataConfig("tiered", root=str(tmp_path)).load("train")


def test_tiered_decodes_lazily(tmp_path):
    made.tiered(tmp_path)
    path = tmp_path / "val_images_png.pkl"
    items = pickle.loads(path.read_bytes())
    items[2] = items[2][:100]
    path.write_bytes(pickle.dumps(items))
    loaded = DataConfig("tiered", root=str(tmp_path)).load("validation")
    with refuses("image 2", "val_images_png.pkl'"):
        loaded.images[2]
    kept = DataConfig("tiered", root=str(tmp_path), skip_bad_images=True).load("validation")
    assert len(kept) == 11
    assert len(kept.skipped) == 1
    assert kept.fine_labels.tolist() == [0, 1, 3, *[0, 1, 2, 3] * 2]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("train_labels.pkl", {"label_specific": [0] * 12}, ["'label_general'", "1000000"]),
        ("train_labels.pkl", [1, 2], ["list", "dict"]),
        ("train_labels.pkl", {"label_specific": [0], "label_general": [0]}, ["12", "1"]),
        (
            "train_labels.pkl",
            {"label_specific": [0] * 12, "label_general": [0, 1] * 6},
            ["'train class 0'", "'train class 1'"],
        ),
        ("train_images_png.pkl", {"a": 1}, ["list", "PNG"]),
        ("train_images_png.pkl", [b"x", 3], ["image 1", "int"]),
    ],
)
def test_tiered_files_that_are_wrong(tmp_path, file, content, words):
    made.tiered(tmp_path)
    (tmp_path / file).write_bytes(pickle.dumps(content))
    with refuses(file, *words):
        DataConfig("tiered", root=str(tmp_path)).load("train")


@pytest.mark.parametrize("images", [2])
def test_cifar100(tmp_path, images):
    made.cifar100(tmp_path, images)
    train, validation, test = (
        DataConfig("cifar100", root=str(tmp_path)).load(name)
        for name in ("train", "validation", "test")
    )
    raw = pickle.loads((tmp_path / "cifar-100-python" / "test").read_bytes())
    assert test.fine_labels.tolist() == raw[b"fine_labels"]
    assert test.coarse_labels.tolist() == raw[b"coarse_labels"]
    assert np.array_equal(test.images[3].numpy().reshape(-1), raw[b"data"][3])
    assert np.array_equal(validation.images.pixels, test.images.pixels)
    assert not np.array_equal(train.images.pixels, test.images.pixels)
    assert test.hierarchy.fine_names[7] == "fine 7"
    assert test.hierarchy.coarse_of_fine[27] == 7


def test_cifar100_of_python_2(tmp_path):
    """The original files: protocol 2, strings as SHORT_BINSTRING."""
    made.cifar100(tmp_path, classes=20)
    meta = tmp_path / "cifar-100-python" / "meta"
    names = b"".join(b"U\x06coarse" for _ in range(20))
    fine = b"".join(b"U\x04fine" for _ in range(20))
    meta.write_bytes(
        b"\x80\x02}(U\x10fine_label_names](" + fine + b"eU\x12coarse_label_names](" + names + b"eu."
    )
    loaded = DataConfig("cifar100", root=str(tmp_path)).load("train")
    assert loaded.hierarchy.coarse_names == ("coarse",) * 20


@pytest.mark.parametrize(
    ("dataset", "make", "file"),
    [
        ("tiered", made.tiered, "train_labels.pkl"),
        ("tiered", made.tiered, "train_images_png.pkl"),
        ("cifar100", made.cifar100, "cifar-100-python/train"),
        ("cifar100", made.cifar100, "cifar-100-python/meta"),
    ],
)
def test_crafted_pickles_are_refused(tmp_path, dataset, make, file):
    make(tmp_path)
    (tmp_path / file).write_bytes(pickle.dumps({"fine_labels": Bomb(tmp_path / "written")}))
    with refuses(f"{file}'", "'posix.system'"):
        DataConfig(dataset, root=str(tmp_path)).load("train")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("level", "coarse"), [("manufacturer", [0, 0, 0, 1]), ("family", [0, 1, 1, 2])]
)
def test_aircraft(tmp_path, level, coarse):
    made.aircraft(tmp_path)
    config = DataConfig("aircraft", root=str(tmp_path), coarse_level=level)
    for name in ("train", "validation", "test"):
        loaded = config.load(name)
        assert loaded.fine_labels.tolist() == [0, 1, 2, 3] * 2
        assert loaded.coarse_labels.tolist() == coarse * 2
        assert loaded.hierarchy.fine_names == ("707-320", "727-200", "737-200", "A300B4")
        assert loaded.images[0].size == (12, 10)
    assert loaded.images.name(1).endswith("images/2000001.jpg")


def test_aircraft_coarse_level_is_checked(tmp_path):
    with refuses("'maker'", "family, manufacturer"):
        DataConfig("aircraft", root=str(tmp_path), coarse_level="maker").load("train")


@pytest.mark.parametrize("dataset", ["cifar100", "aircraft", "tiered", "folder", "entity30"])
def test_missing_files_name_the_place_and_the_layout(tmp_path, dataset):
    flags = ["--download"] if dataset in ("cifar100", "aircraft") else []
    with refuses(tmp_path.name, *flags):
        DataConfig(dataset, root=str(tmp_path)).load("train")
    with refuses("nowhere'"):
        DataConfig(dataset, root=str(tmp_path / "nowhere")).load("train")


@pytest.mark.parametrize(
    ("dataset", "reader"), [("cifar100", "CIFAR100"), ("aircraft", "FGVCAircraft")]
)
def test_download_goes_through_torchvision(tmp_path, monkeypatch, dataset, reader):
    import torchvision

    def fetch(root, download, **options):
        raise RuntimeError("no network\nat all")

    monkeypatch.setattr(torchvision.datasets, reader, fetch)
    with refuses(dataset, repr(str(tmp_path)), "no network"):
        DataConfig(dataset, root=str(tmp_path), download=True).load("train")
    with refuses("`download`", "`root`"):
        DataConfig(dataset, download=True).load("train")


def test_glyphs():
    partitions = {n: DataConfig("glyphs").load(n) for n in ("train", "validation", "test")}
    assert {name: len(p) for name, p in partitions.items()} == {
        "train": 9200,
        "validation": 4600,
        "test": 4600,
    }
    hierarchy = partitions["train"].hierarchy
    assert (hierarchy.num_fine, hierarchy.num_coarse) == (230, 10)
    assert len(set(hierarchy.fine_names)) == 230
    pixels = partitions["train"].images.pixels
    spec = DATASETS["glyphs"].transforms
    assert pixels.mean() / 255 == pytest.approx(spec.mean[0], abs=2e-3)
    assert pixels.std() / 255 == pytest.approx(spec.std[0], abs=2e-3)
    assert (pixels.reshape(9200, -1).max(1) > 100).all()


def test_glyph_is_a_function_of_its_address():
    assert np.array_equal(glyphs.draw(0, 17, 3, 1), glyphs.draw(0, 17, 3, 1))
    others = [(1, 17, 3, 1), (0, 18, 3, 1), (0, 17, 4, 1), (0, 17, 3, 2)]
    assert all(not np.array_equal(glyphs.draw(*o), glyphs.draw(0, 17, 3, 1)) for o in others)


def test_every_face_carries_every_character():
    """A face without a character draws a box, the same for all that it lacks."""
    for face in range(16):
        font = ImageFont.truetype(glyphs.faces()[face], 40, layout_engine=ImageFont.Layout.BASIC)
        box = font.getmask("\ufffe").getbbox(), bytes(font.getmask("\ufffe"))
        shapes = [(font.getmask(c).getbbox(), bytes(font.getmask(c))) for c in glyphs.CHARACTERS]
        assert box not in shapes, glyphs.faces()[face]


@pytest.mark.parametrize("dataset", first_quick(["aircraft", "tiered", "cifar100"]))
def test_views_come_from_spawned_workers(tmp_path, dataset):
    getattr(made, dataset)(tmp_path)
    config = DataConfig(dataset, root=str(tmp_path), image_size=32)
    loaded = config.load("test")
    pairs = np.array([[0, -1], [1, 0], [1, 1], [2, 3]])
    transforms = query_transform(config.transforms), support_transform(config.transforms)
    views = EvaluationViews(loaded.images, pairs, *transforms, seed=0)
    worker = DataLoader(views, batch_size=4, num_workers=1, multiprocessing_context="spawn")
    here = np.stack([views[position].numpy() for position in range(4)])
    assert np.array_equal(next(iter(worker)).numpy(), here)


def test_encoded_images_keep_their_bytes():
    from ancor.data.images import EncodedImages

    items = [made.encoded(n, (5 + n, 4)) for n in range(3)]
    images = EncodedImages(items, [len(i) for i in items], "x.pkl")
    assert [images.content(n) for n in range(3)] == items
    assert [images.subset(np.array([2, 0]))[n].size for n in range(2)] == [(7, 4), (5, 4)]
    assert Image.open(io.BytesIO(images.content(1))).size == (6, 4)
