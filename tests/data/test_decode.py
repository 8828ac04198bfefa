"""Images of every kind, whole and broken."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from ancor.data.config import DataConfig
from ancor.data.decode import as_rgb, decode, read_image
from ancor.data.episodes import Protocol
from ancor.data.report import check
from ancor.errors import InputError, RunError
from tests import made
from tests.refusals import refuses, tells


def stored(image: Image.Image, kind: str, **settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def pillow_reads(content: bytes) -> bool:
    """Return whether the Pillow that is installed reads a file; what it cannot has to be refused.

    Versions before 13 read neither YCbCr in a TIFF without compression nor gray multiplied by its
    opacity.
    """
    try:
        Image.open(io.BytesIO(content)).load()
    except OSError:
        with refuses("'x'"):
            decode(content, "x")
        return False
    return True


RED = Image.new("RGB", (6, 4), (255, 0, 0))


@pytest.mark.parametrize(
    ("image", "kind", "center", "tolerance"),
    [
        (RED.convert("CMYK"), "JPEG", (255, 0, 0), 6),
        (RED.convert("CMYK"), "TIFF", (255, 0, 0), 6),
        (RED, "WEBP", (255, 0, 0), 12),
        (RED, "BMP", (255, 0, 0), 0),
        (RED.convert("P"), "PNG", (255, 0, 0), 0),
        (RED.convert("RGBA"), "PNG", (255, 0, 0), 0),
        (RED.convert("L"), "PNG", (76, 76, 76), 0),
        (RED.convert("1"), "PNG", None, 0),
        (Image.new("LA", (6, 4), (90, 128)), "PNG", (172, 172, 172), 0),
        (Image.fromarray(np.full((4, 6), 40_000, np.uint16)), "PNG", (156, 156, 156), 0),
        (Image.fromarray(np.full((4, 6), 40_000, np.uint16)), "TIFF", (156, 156, 156), 0),
    ],
)
def test_kinds(image, kind, center, tolerance):
    decoded = decode(stored(image, kind), "x")
    assert (decoded.mode, decoded.size) == ("RGB", (6, 4))
    if center is not None:
        assert np.abs(np.subtract(decoded.getpixel((3, 2)), center)).max() <= tolerance


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", (6, 4), color) for color in ("red", "blue", "green")]
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


def png(depth: int, color: int, row: bytes, transparent: bytes, palette: bytes = b"") -> bytes:
    """A PNG of one row of four pixels, by its specification."""

    def chunk(name: bytes, content: bytes) -> bytes:
        whole = name + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", 4, 1, depth, color, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"PLTE", palette) if palette else b"",
            chunk(b"tRNS", transparent),
            chunk(b"IDAT", zlib.compress(b"\0" + row)),
            chunk(b"IEND", b""),
        ]
    )


def tiff(pixels: np.ndarray, bits: list[int], photometric: int, extra=None, sample=1) -> bytes:
    """An uncompressed little-endian TIFF of one strip, by its specification."""
    entries = {256: [4], 257: [len(pixels)], 258: bits, 259: [1], 262: [photometric], 273: [0]}
    entries |= {277: [len(bits)], 278: [len(pixels)], 279: [pixels.nbytes], 339: [sample]}
    if extra is not None:
        entries[338] = [extra]
    data_at = 8 + 2 + 12 * len(entries) + 4
    if len(bits) > 2:
        many, data_at = data_at, data_at + 2 * len(bits)
    entries[273] = [data_at]
    lines = []
    for tag, values in sorted(entries.items()):
        packed = struct.pack("<HH", *values) if len(values) == 2 else struct.pack("<I", values[0])
        packed = struct.pack("<I", many) if len(values) > 2 else packed
        lines.append(struct.pack("<HHI", tag, 3, len(values)) + packed)
    directory = struct.pack("<H", len(lines)) + b"".join(lines) + bytes(4)
    arrays = struct.pack(f"<{len(bits)}H", *bits) if len(bits) > 2 else b""
    return b"II*\0" + struct.pack("<I", 8) + directory + arrays + pixels.tobytes()


def first_row(content: bytes) -> list[list[int]]:
    return np.asarray(decode(content, "x", upright=True))[0].tolist()


WHITE, BLACK = [255] * 3, [0] * 3
# Four pixels: the first transparent, the third alike but for one step.
KEYED = {
    "bit": (png(1, 0, bytes([0b1000_0000]), b"\0\1"), [WHITE, BLACK, BLACK, BLACK]),
    "2 bits": (png(2, 0, bytes([0b00_01_10_11]), b"\0\0"), [WHITE, [85] * 3, [170] * 3, WHITE]),
    "4 bits": (png(4, 0, b"\x10\x20", b"\0\1"), [WHITE, BLACK, [34] * 3, BLACK]),
    "8 bits": (png(8, 0, bytes([7, 0, 8, 255]), b"\0\7"), [WHITE, BLACK, [8] * 3, WHITE]),
    "16 bits": (
        png(16, 0, bytes([3, 4, 0, 0, 3, 5, 255, 255]), b"\3\4"),
        [WHITE, BLACK, [3] * 3, WHITE],
    ),
    "RGB": (
        png(8, 2, bytes([1, 2, 3, 0, 0, 0, 1, 2, 4, 9, 9, 9]), b"\0\1\0\2\0\3"),
        [WHITE, BLACK, [1, 2, 4], [9] * 3],
    ),
    "RGB of 16 bits": (
        png(16, 2, bytes([0, 9] * 3 + [5, 0] * 3 + [0, 9, 0, 9, 1, 9] + [255] * 6), b"\0\x09" * 3),
        [WHITE, [5] * 3, [0, 0, 1], WHITE],
    ),
    "palette": (
        png(8, 3, bytes([0, 1, 2, 2]), b"\0\xff", bytes([200, 0, 0, 0, 0, 0, 4, 5, 6])),
        [WHITE, BLACK, [4, 5, 6], [4, 5, 6]],
    ),
    "palette, half": (
        png(8, 3, bytes([0, 1, 1, 1]), b"\x80", bytes([0, 0, 0, 4, 5, 6])),
        [[127] * 3, [4, 5, 6], [4, 5, 6], [4, 5, 6]],
    ),
}


@pytest.mark.parametrize("name", KEYED)
def test_the_transparent_color_of_a_png_is_white(name):
    """B16: the color that hides beneath; others differ from it by one step."""
    content, expected = KEYED[name]
    assert first_row(content) == expected
    opened = Image.open(io.BytesIO(content))
    assert np.asarray(as_rgb(opened, "x", "y"))[0].tolist() == expected


def see_through(mode: str) -> tuple[Image.Image, Image.Image]:
    """Two images that look alike: half of each is transparent, over different colors."""
    shape = np.zeros((8, 8), np.uint8)
    shape[:, :4] = 255
    made = []
    for number in (1, 2):
        image = made_picture(number)
        image.paste((50, 90, 20), (0, 0, 4, 8))
        image.putalpha(Image.fromarray(shape))
        made.append(image)
    if mode == "P":
        return tuple(with_palette(image) for image in made)
    return tuple(image.convert("LA").convert(mode) if "L" in mode else image for image in made)


def made_picture(number: int) -> Image.Image:
    return made.picture(number, (8, 8)).convert("RGB")


def with_palette(image: Image.Image) -> Image.Image:
    """The hidden half has an entry of its own, of the color of its first pixel."""
    flat = Image.new("P", (8, 8), 1)
    flat.putpalette([50, 90, 20, *image.getpixel((7, 0))[:3]])
    flat.paste(0, (0, 0, 4, 8))
    flat.info["transparency"] = 1
    return flat


ALIKE = [("RGBA", kind) for kind in ("PNG", "WEBP", "TIFF")]
ALIKE += [("LA", "PNG"), ("LA", "TIFF"), ("P", "PNG"), ("P", "GIF")]


@pytest.mark.parametrize(("mode", "kind"), ALIKE)
def test_files_that_look_alike_decode_alike(mode, kind):
    """B16: hidden colors under full transparency reach no feature."""
    settings = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    images = see_through(mode)
    contents = [stored(image, kind, **settings) for image in images]
    assert contents[0] != contents[1]
    first, second = (np.asarray(decode(content, "x")) for content in contents)
    assert np.array_equal(first, second)
    assert (first[:, 4:] == 255).all()
    gray = [70] * 3 if mode == "LA" else [50, 90, 20]
    assert np.abs(first[0, 0].astype(int) - gray).max() <= 2
    for image in images:
        given = np.asarray(as_rgb(image, "x", "y"))
        assert np.array_equal(given, first)


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA"])
def test_other_modes_with_transparency(mode):
    """B16: premultiplied colors and palettes with opacity, as open images."""
    way = {"La": ["LA", "La"], "RGBa": ["RGBa"], "PA": ["P", "PA"]}[mode]
    image = Image.new("RGBA", (4, 4), (100, 100, 100, 0))
    image.paste((100, 100, 100, 255), (0, 0, 2, 4))
    for step in way:
        image = image.convert(step)
    if mode == "PA":
        image.putalpha(Image.fromarray(np.uint8([[255, 255, 0, 0]] * 4)))
    row = np.asarray(as_rgb(image, "x", "y"))[0].tolist()
    assert row == [[100] * 3] * 2 + [WHITE] * 2


WIDE = np.array([[0, 0x1234, 0xABCD, 0xFFFF]], "<u2")
BYTES = np.array([[0, 18, 171, 255]], np.uint8)
BITS = np.array([0b0101_0000], np.uint8)[None]
WHITE_IS_ZERO = {
    "bit": (BITS, [1], [255, 0, 255, 0]),
    "8 bits": (BYTES, [8], [255, 237, 84, 0]),
    "16 bits": (WIDE, [16], [255, 237, 84, 0]),
}


@pytest.mark.parametrize("name", WHITE_IS_ZERO)
def test_white_as_zero(name):
    """B16: the 16-bit one came out negative; those of fewer bits and the usual ones stay."""
    pixels, bits, expected = WHITE_IS_ZERO[name]
    assert [p[0] for p in first_row(tiff(pixels, bits, photometric=0))] == expected
    usual = [255 - value for value in expected]
    assert [p[0] for p in first_row(tiff(pixels, bits, photometric=1))] == usual
    opened = Image.open(io.BytesIO(tiff(pixels, bits, photometric=0)))
    opened.load()
    assert np.asarray(as_rgb(opened, "x", "y"))[0, :, 0].tolist() == expected


def test_12_bits_have_their_own_range():
    """B16: they were taken for 16 bits, and nearly black."""
    packed = np.frombuffer(bytes.fromhex("000123abcfff"), np.uint8)[None]
    assert [p[0] for p in first_row(tiff(packed, [12], photometric=1))] == [0, 18, 171, 255]


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "HSV", "CMYK", "RGBX"])
def test_other_colors(mode):
    """B16: the very colors, as a file where there is one, and as an open image."""
    color = (200, 90, 40)
    image = Image.new("RGB", (16, 16), color)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    else:
        image = image.convert(mode)
    found = [as_rgb(image, "x", "y")]
    kinds = {"YCbCr": ("TIFF", "JPEG"), "LAB": ("TIFF",), "CMYK": ("TIFF", "JPEG")}
    files = [stored(image, kind) for kind in kinds.get(mode, ())]
    found += [decode(content, "x") for content in files if pillow_reads(content)]
    for decoded in found:
        assert np.abs(np.subtract(decoded.getpixel((3, 3)), color)).max() <= 5


@pytest.mark.parametrize("key", [b"abc", "x", [1, 2], (1, 2, 3), 2.5, 2**70])
def test_a_transparent_color_that_is_none_is_not_heeded(key):
    """As a channel of an image keeps the color of the whole."""
    for mode in ("1", "L", "CMYK", "I;16"):
        image = Image.new(mode, (4, 4))
        image.info["transparency"] = key
        black = as_rgb(image, "x", "y").getpixel((0, 0))
        assert black == ((255,) * 3 if mode == "CMYK" else (0,) * 3)
        assert image.info["transparency"] == key


def test_signed_bytes_are_refused():
    with refuses("'x'", "signed"):
        decode(tiff(BYTES, [8], photometric=1, sample=2), "x")


@pytest.mark.parametrize("extra", [1, 2])
def test_gray_and_opacity_of_a_tiff(extra):
    """B16: premultiplied (1) or not (2)."""
    pixels = np.array([[[100, 255], [0, 0], [50 * extra, 128], [0, 255]]], np.uint8)
    content = tiff(pixels, [8, 8], 1, extra)
    if not pillow_reads(content):
        return
    row = [p[0] for p in first_row(content)]
    assert row[:2] == [100, 255]
    assert abs(row[2] - (100 * 128 + 255 * 127) / 255) <= 1
    assert row[3] == 0


def test_colors_and_opacity_of_a_tiff_that_are_multiplied():
    pixels = np.array([[[9, 0, 0, 255], [0, 0, 0, 0], [64, 0, 0, 128], [0] * 4]], np.uint8)
    row = first_row(tiff(pixels, [8] * 4, 2, extra=1))
    assert row[:2] == [[9, 0, 0], WHITE]
    assert row[3] == WHITE
    assert np.abs(np.subtract(row[2], [191, 127, 127])).max() <= 1


def test_16_bits_big_endian_turned():
    """B16: turning an image forgets how its file stored it."""
    image = Image.fromarray(np.array([[0x1234, 0xFF00]], ">u2"))
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("PNG", "TIFF"):
        turned = np.asarray(decode(stored(image, kind, exif=exif), "x", upright=True))
        assert turned[..., 0].tolist() == [[0x12], [0xFF]], kind


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("size", [(8000, 1), (1, 900), (202, 2)])
def test_a_thread_is_refused_before_it_is_unpacked(kind, size, monkeypatch):
    """B17: its shorter side resized to 256 pixels, it took 1.7 GB."""
    content = stored(Image.new("L", size), kind)
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    with refuses("'x'", f"{size[0]} x {size[1]}", "100"):
        decode(content, "x")


def test_a_long_image_is_read():
    assert decode(stored(Image.new("L", (200, 2)), "PNG"), "x").size == (200, 2)


def test_palette_with_transparency_is_silent(recwarn):
    image = RED.convert("P")
    content = stored(image, "PNG", transparency=bytes([0, 128, 255]))
    assert decode(content, "x").mode == "RGB"
    assert not recwarn.list


WHOLE = stored(made.picture(1, (64, 48)), "JPEG")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty"]),
        (WHOLE[: len(WHOLE) // 2], ["truncated"]),
        (WHOLE[:30], []),
        (b"not an image at all", ["JPEG", "PNG"]),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ["JPEG", "PNG"]),
        (stored(made.picture(1), "PNG")[:-30], []),
        (stored(Image.fromarray(np.ones((4, 6), np.float32)), "TIFF"), ["32-bit", "mode F"]),
        (stored(Image.fromarray(np.ones((4, 6), np.int32)), "TIFF"), ["32-bit", "mode I"]),
    ],
)
def test_broken_files_are_one_line(content, words):
    with refuses(r"'odd\nname.jpg'", *words):
        decode(content, "odd\nname.jpg")


def test_decompression_bomb(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with refuses("'x'", "3072", "200"):  # which Pillow gives as twice the limit
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
    with refuses("gone.jpg'", kind=RunError):
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
    assert tells(train.skipped[0], "train/a/x/1.jpg'")
    assert len(validation.skipped) == 1


def base_name(path: str) -> str:
    return path.rpartition("/")[2]


def test_partition_of_bad_images_alone(tmp_path):
    made.write(tmp_path / "train" / "a" / "1.jpg").write_bytes(b"")
    with refuses("'train'", "train/a/1.jpg'"):
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
    notes = "\n".join(report["notes"])
    assert tells(notes, "1 images", "'train'", "'validation'")
    assert tells(notes, "'test'")


@pytest.mark.parametrize("table", [False, True])
def test_a_thread_is_reported_and_can_be_left_out(table, tmp_path):
    """B17: check-data names the file, in folders and in labels.csv."""
    for number in range(3):
        made.write(tmp_path / "train" / "a" / f"{number}.png", number)
    made.write(tmp_path / "train" / "a" / "long.png", 3, (8000, 1))
    if table:
        names = ("0.png", "1.png", "2.png", "long.png")
        lines = ["path,coarse", *(f"train/a/{name},a" for name in names)]
        (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    (problem,) = check(DataConfig("folder", root=str(tmp_path)))["problems"]
    assert tells(problem, "long.png'", "8000 x 1")
    kept = DataConfig("folder", root=str(tmp_path), skip_bad_images=True).load("train")
    assert (len(kept), len(kept.skipped)) == (3, 1)
    assert "long.png" in kept.skipped[0]


def test_report_on_classes_that_are_too_small(damaged):
    """B13: small classes are a note, and a problem to who wants equal counts."""
    report = check(DataConfig("folder", root=str(damaged)))
    assert tells("\n".join(report["notes"]), "'validation'", "3 of 3", "16")
    assert not any("episode" in line for line in report["problems"])
    report = check(DataConfig("folder", root=str(damaged)), Protocol(equal_queries=True))
    assert tells("\n".join(report["problems"]), "'validation'", "16")


def test_report_on_a_class_with_two_homes(tmp_path):
    for path in ("train/a/x/1.jpg", "val/b/x/2.jpg"):
        made.write(tmp_path / path, len(path))
    report = check(DataConfig("folder", root=str(tmp_path)), Protocol(n_queries=1))
    assert tells("\n".join(report["problems"]), "'x'", "'a'", "'b'")


def test_report_on_missing_data(tmp_path):
    report = check(DataConfig("cifar100", root=str(tmp_path)))
    assert report["partitions"] == {}
    assert report["problems"]


def test_report_on_partitions_that_are_one_file(tmp_path):
    made.cifar100(tmp_path)
    report = check(DataConfig("cifar100", root=str(tmp_path)), Protocol(n_queries=1))
    assert report["problems"] == []
    assert report["notes"] == ["partitions 'validation' and 'test' hold the same images"]


@pytest.mark.parametrize(("most", "level"), [(65535, 200), (1023, 200), (4095, 100)])
def test_pgm_of_more_than_eight_bits(most, level):
    """It was refused, as Pillow opens it in a mode of 32 bits; all are scaled to 16."""
    value = round(level / 255 * most)
    content = f"P5 4 3 {most}\n".encode() + np.full(12, value, ">u2").tobytes()
    assert np.abs(np.subtract(decode(content, "x").getpixel((1, 1)), level)).max() <= 1


def test_images_of_16_bits_that_are_nearly_black_are_told(tmp_path):
    """Of 12 bits in 16, as many cameras write them, 16 gray levels are left."""
    gray = np.asarray(made.picture(1, (40, 30)).convert("L")).astype(np.uint16)
    for name, pixels in {"a/dark.png": gray * 16, "b/whole.png": gray * 257}.items():
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels).save(path)
    notes = "\n".join(check(DataConfig("folder", root=str(tmp_path)))["notes"])
    assert tells(notes, "1 images", "16 bits", re.compile("dark.png'"))
    assert not tells(notes, "16 bits", re.compile("whole.png"))
