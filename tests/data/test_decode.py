"""Images of every kind, whole and broken."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from ancor.data.catalog import DataConfig
from ancor.data.check import check
from ancor.data.decode import decode, read_image
from ancor.data.episodes import Protocol
from ancor.errors import InputError, RunError
from tests import made


def stored(image: Image.Image, kind: str, **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


RED = Image.new("RGB", (6, 4), (255, 0, 0))


@pytest.mark.parametrize(
    ("image", "kind", "centre", "tolerance"),
    [
        (RED.convert("CMYK"), "JPEG", (255, 0, 0), 6),
        (RED.convert("CMYK"), "TIFF", (255, 0, 0), 6),
        (RED, "WEBP", (255, 0, 0), 12),
        (RED, "BMP", (255, 0, 0), 0),
        (RED.convert("P"), "PNG", (255, 0, 0), 0),
        (RED.convert("RGBA"), "PNG", (255, 0, 0), 0),
        (RED.convert("L"), "PNG", (76, 76, 76), 0),
        (RED.convert("1"), "PNG", None, 0),
        (Image.new("LA", (6, 4), (90, 128)), "PNG", (90, 90, 90), 0),
        (Image.fromarray(np.full((4, 6), 40_000, np.uint16)), "PNG", (156, 156, 156), 0),
        (Image.fromarray(np.full((4, 6), 40_000, np.uint16)), "TIFF", (156, 156, 156), 0),
    ],
)
def test_kinds(image, kind, centre, tolerance):
    decoded = decode(stored(image, kind), "x")
    assert (decoded.mode, decoded.size) == ("RGB", (6, 4))
    if centre is not None:
        assert np.abs(np.subtract(decoded.getpixel((3, 2)), centre)).max() <= tolerance


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue", "green")]
    settings = {"lossless": True} if kind == "WEBP" else {}
    content = stored(frames[0], kind, save_all=True, append_images=frames[1:], **settings)
    assert decode(content, "x").getpixel((0, 0)) == (255, 0, 0)


def test_orientation():
    image = Image.new("RGB", (6, 4))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6
    content = stored(image, "PNG", exif=exif)
    assert decode(content, "x").size == (6, 4)
    upright = decode(content, "x", upright=True)
    assert upright.size == (4, 6)
    assert upright.getpixel((3, 0)) == (255, 255, 255)


def test_palette_with_transparency_is_silent(recwarn):
    image = RED.convert("P")
    content = stored(image, "PNG", transparency=bytes([0, 128, 255]))
    assert decode(content, "x").mode == "RGB"
    assert not recwarn.list


WHOLE = stored(made.picture(1, (64, 48)), "JPEG")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (WHOLE[: len(WHOLE) // 2], "truncated"),
        (WHOLE[:30], "cannot be decoded"),
        (b"not an image at all", "no image of the kinds JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image of the kinds"),
        (stored(made.picture(1), "PNG")[:-30], "cannot be decoded"),
        (stored(Image.fromarray(np.ones((4, 6), np.float32)), "TIFF"), "32-bit pixels, mode F"),
        (stored(Image.fromarray(np.ones((4, 6), np.int32)), "TIFF"), "32-bit pixels, mode I"),
    ],
)
def test_broken_files_are_one_line(content, reason):
    with pytest.raises(InputError, match=reason) as caught:
        decode(content, "odd\nname.jpg")
    assert r"'odd\nname.jpg'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_decompression_bomb(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match="decompression bomb"):
        decode(stored(made.picture(1, (64, 48)), "PNG"), "x")


@pytest.mark.filterwarnings("ignore")
def test_every_cut_and_some_noise_end_in_one_line():
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"):
        content = stored(made.picture(2, (20, 16)), kind)
        for attempt in range(60):
            noisy = bytearray(content)
            for place in rng.integers(0, len(noisy), 8):
                noisy[place] = rng.integers(256)
            cut = bytes(noisy[: rng.integers(1, len(noisy) + 1)])
            try:
                mode = decode(cut, "x").mode
            except InputError as error:
                mode = "RGB" if str(error).count("\n") == 0 else "an error of several lines"
            assert mode == "RGB", (kind, attempt)


def test_file_that_vanishes(tmp_path):
    with pytest.raises(RunError, match="has vanished"):
        read_image(str(tmp_path / "gone.jpg"))


@pytest.fixture
def damaged(tmp_path):
    """Two partitions with 3 images a class: one cut off, one empty, one in both partitions."""
    for split, first in (("train", 0), ("val", 100)):
        for number, name in enumerate(("a/x", "a/y", "b/z")):
            for copy in range(3):
                seed = first + 10 * number + copy
                made.write(tmp_path / split / name / f"{seed}.jpg", seed, (20 + seed, 30))
    (tmp_path / "train" / "a" / "x" / "1.jpg").write_bytes(WHOLE[:200])
    (tmp_path / "val" / "b" / "z" / "121.jpg").write_bytes(b"")
    made.write(tmp_path / "val" / "a" / "y" / "110.jpg", 10, (30, 30))
    return tmp_path


def test_bad_images_are_left_out_and_listed(damaged):
    config = DataConfig("folder", root=str(damaged), skip_bad_images=True)
    train, validation = config.load("train"), config.load("validation")
    assert (len(train), len(validation)) == (8, 8)
    assert train.fine_labels.tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    assert [base_name(train.images.name(i)) for i in range(3)] == ["0.jpg", "2.jpg", "10.jpg"]
    assert re.search(r"'.*train/a/x/1\.jpg' cannot be decoded", train.skipped[0])
    assert len(validation.skipped) == 1


def base_name(path: str) -> str:
    return path.rpartition("/")[2]


def test_partition_of_bad_images_alone(tmp_path):
    made.write(tmp_path / "train" / "a" / "1.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"no image of partition 'train' can be read"):
        DataConfig("folder", root=str(tmp_path), skip_bad_images=True).load("train")


def test_report_on_damaged_data(damaged):
    report = check(DataConfig("folder", root=str(damaged)), Protocol(n_queries=2))
    train, validation = (report["partitions"][name] for name in ("train", "validation"))
    assert (train["images"], train["classes"]) == (9, {"coarse": 2, "fine": 3})
    assert train["images_per_class"]["coarse"][0] == {"label": 0, "name": "a", "images": 6}
    assert len(train["unreadable"]) == len(validation["unreadable"]) == 1
    assert (train["width"], train["height"]) == ([20, 42], [30, 30])
    assert "folders in" in train["layout"]
    assert validation["too_small"] == []
    assert len(report["problems"]) == 2
    assert any("1 images lie in both 'train' and 'validation'" in note for note in report["notes"])
    assert any("no partition 'test'" in note for note in report["notes"])


def test_report_on_classes_that_are_too_small(damaged):
    """B13: small classes are a note, and a problem to who wants equal counts."""
    report = check(DataConfig("folder", root=str(damaged)))
    assert any("'validation': 3 of 3 classes have fewer" in line for line in report["notes"])
    assert not any("episode" in line for line in report["problems"])
    report = check(DataConfig("folder", root=str(damaged)), Protocol(equal_queries=True))
    assert any("'validation': 16 images a class" in line for line in report["problems"])


def test_report_on_a_class_with_two_homes(tmp_path):
    for path in ("train/a/x/1.jpg", "val/b/x/2.jpg"):
        made.write(tmp_path / path, len(path))
    report = check(DataConfig("folder", root=str(tmp_path)), Protocol(n_queries=1))
    assert any("'x' lies in the coarse classes 'a', 'b'" in line for line in report["problems"])


def test_report_on_missing_data(tmp_path):
    report = check(DataConfig("cifar100", root=str(tmp_path)))
    assert report["partitions"] == {}
    assert report["problems"]


def test_report_on_partitions_that_are_one_file(tmp_path):
    made.cifar100(tmp_path)
    report = check(DataConfig("cifar100", root=str(tmp_path)), Protocol(n_queries=1))
    assert report["problems"] == []
    assert report["notes"] == ["partitions 'validation' and 'test' hold the same images"]
