"""Writing files of packed images: whole, resumed where cut off, and told where it cannot be."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ancor.cli import pack as command
from ancor.data import pack as packing
from ancor.data.config import DataConfig
from ancor.data.file_config import PackConfig
from ancor.data.packed import RECORD, PackedFile
from ancor.data.resolve import partitions_of
from ancor.data.transforms import pixels_of, query_transform
from ancor.errors import MissingPartition
from tests import made
from tests.refusals import one_line, refused, refuses, tells

SIZES = ((90, 60), (60, 90), (40, 40), (47, 30))


@pytest.fixture
def folder(tmp_path) -> Path:
    """48 images of two coarse and four fine classes, and as many for validation, in four sizes."""
    number = 0
    for part in ("train", "val"):
        for fine in ("a1", "a2", "b1", "b2"):
            for each in range(6):
                path = tmp_path / "images" / part / fine[0] / fine / f"{each}.jpg"
                made.write(path, number, SIZES[number % 4])
                number += 1
    return tmp_path / "images"


def contents(file: PackedFile) -> bytes:
    return Path(file.path).read_bytes()


def packed(folder: Path, name: str = "x.pack", **settings) -> PackedFile:
    out = folder.parent / name
    return packing.pack(DataConfig("folder", root=str(folder)), PackConfig(**settings), str(out))


@pytest.mark.parametrize("encoding", ["uncompressed", "jpeg"])
def test_partitions_hold_the_folders_images_and_labels(folder, encoding):
    file = packed(folder, size=40, encoding=encoding)
    for name in ("train", "validation"):
        ours = DataConfig("folder", root=file.path).load(name)
        theirs = DataConfig("folder", root=str(folder)).load(name)
        assert ours.hierarchy == theirs.hierarchy
        assert np.array_equal(ours.fine_labels, theirs.fine_labels)
        assert np.array_equal(ours.coarse_labels, theirs.coarse_labels)
        for index in range(len(theirs)):
            image, source = pixels_of(ours.images[index]), theirs.images[index]
            shorter = min(source.size)
            scale = min(1, 40 / shorter)
            assert image.shape[:0:-1] == tuple(int(scale * side) for side in source.size)
            below = os.path.relpath(theirs.images.name(index), folder)
            assert ours.images.name(index) == f"{below} in {file.path}"
            if encoding == "uncompressed" and shorter <= 40:
                assert image.equal(pixels_of(source))


def test_evaluation_sees_the_same_pixels_where_the_size_is_its_own(folder):
    """The file holds what the test transform's first step makes of larger images."""
    data = DataConfig("folder", root=str(folder), image_size=35)
    assert data.transforms.resize == 40
    file = packed(folder, size=40)
    shown, packed_images = query_transform(data.transforms), DataConfig("folder", root=file.path)
    sources, images = data.load("train").images, packed_images.load("train").images
    for index in range(len(sources)):
        assert shown(images[index]).equal(shown(sources[index]))


def test_images_of_one_size_stay_as_they_are(tmp_path):
    file = packing.pack(DataConfig("digits"), PackConfig(), str(tmp_path / "digits.pack"))
    ours, theirs = (DataConfig("digits", root=r).load("test") for r in (file.path, None))
    assert len(ours) == len(theirs)
    assert all(ours.images[n].equal(theirs.images[n]) for n in range(0, len(ours), 50))
    assert np.array_equal(ours.fine_labels, theirs.fine_labels)
    with refuses("--size", "64", "32 x 32"):
        packing.pack(DataConfig("digits"), PackConfig(size=64), str(tmp_path / "other.pack"))


def test_a_run_that_was_cut_off_goes_on_to_the_same_file(folder, monkeypatch, caplog):
    whole = contents(packed(folder, "whole.pack", size=40))
    made_of = packing.pixels_of
    monkeypatch.setattr(packing, "CHUNK", 5)
    out = folder.parent / "x.pack"
    for before in (12, 17, 8):
        count = iter(range(1000))

        def failing(image, count=count, before=before):
            if next(count) >= before:
                raise KeyboardInterrupt
            return made_of(image)

        monkeypatch.setattr(packing, "pixels_of", failing)
        with pytest.raises(KeyboardInterrupt):
            packed(folder, size=64)
        assert not out.exists()
        assert (out.parent / "x.pack.part").exists()
    # What is half written behind the last record is written again.
    with open(out.parent / "x.pack.part", "ab") as part, open(f"{out}.records", "ab") as records:
        part.write(b"half")
        records.write(bytes(RECORD.itemsize // 2))
    seen = []
    monkeypatch.setattr(packing, "pixels_of", lambda image: seen.append(1) or made_of(image))
    file = packed(folder, size=64)
    monkeypatch.undo()
    assert len(seen) == 48 - 29  # of images in pieces of 5, the last of a partition shorter
    assert contents(file) == contents(packed(folder, "again.pack", size=64))
    assert contents(file) != whole
    assert sorted(p.name for p in out.parent.iterdir()) == [
        *("again.pack", "images", "whole.pack", "x.pack")
    ]


@pytest.mark.slow
def test_a_process_that_was_killed_leaves_nothing_wrong(folder):
    """Killed at ten moments; the last start ends with the file that one run writes."""
    for number in range(400):
        made.write(folder / "train/a/a1" / f"more{number}.jpg", number, (400, 300))
    words = [sys.executable, "-m", "ancor", "pack", "--data", str(folder), "--size", "64", "--out"]
    out = folder.parent / "x.pack"
    for moment in range(10):
        process = subprocess.Popen([*words, str(out)], stdout=subprocess.DEVNULL)
        began = time.monotonic()
        while not Path(f"{out}.records").exists() and time.monotonic() < began + 60:
            time.sleep(0.01)
        time.sleep(0.05 * moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*words, str(out)], check=True, stdout=subprocess.DEVNULL)
    assert out.read_bytes() == contents(packed(folder, "once.pack", size=64))


def test_two_at_once_do_not_write_one_file(folder, monkeypatch, capsys):
    """Both wrote into one file, and the second changed what the first had verified."""
    out = folder.parent / "x.pack"
    flags = ["--data", str(folder), "--size", "40", "--out", str(out)]
    store, others = packing.pixels_of, []

    def meanwhile(image):
        if not others:
            others.append(
                subprocess.run(
                    [sys.executable, "-m", "ancor", "pack", *flags], capture_output=True, text=True
                )
            )
        return store(image)

    monkeypatch.setattr(packing, "pixels_of", meanwhile)
    monkeypatch.setattr(packing, "ThreadPoolExecutor", lambda: ThreadPoolExecutor(1))
    assert command.main(flags) == 0
    assert others[0].returncode == 2
    one_line(others[0].stderr, "--out", str(out), "another process")
    assert contents(PackedFile(out)) == contents(packed(folder, "alone.pack", size=40))
    assert sorted(p.name for p in out.parent.iterdir()) == ["alone.pack", "images", "x.pack"]


def test_one_that_was_written_meanwhile_is_kept(folder, monkeypatch):
    def written_by_another(file, what):
        Path(f"{folder.parent}/x.pack").write_bytes(b"theirs")

    monkeypatch.setattr(packing, "lock", written_by_another)
    with refuses("`out`", "x.pack"):
        packed(folder, size=40)
    assert (folder.parent / "x.pack").read_bytes() == b"theirs"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["images", "x.pack"]


def test_other_settings_begin_anew(folder, monkeypatch):
    """A part that was left by another size holds other images, and is written anew."""
    monkeypatch.setattr(packing, "CHUNK", 5)
    count, made_of = iter(range(1000)), packing.stored_form

    def failing(spec):
        resized = made_of(spec)
        return lambda image: resized(image) if next(count) < 30 else 1 / 0

    monkeypatch.setattr(packing, "stored_form", failing)
    with pytest.raises(ZeroDivisionError):
        packed(folder, size=20)
    monkeypatch.undo()
    assert (folder.parent / "x.pack.part").stat().st_size > 10_000
    assert contents(packed(folder, size=50)) == contents(packed(folder, "new.pack", size=50))


def test_a_file_that_is_there_is_kept(folder, capsys):
    file = packed(folder, size=40)
    before = os.stat(file.path)
    assert packed(folder, size=40).index_hash == file.index_hash
    assert os.stat(file.path) == before
    words = ["--data", str(folder), "--out", file.path]
    refused(command.main, [*words, "--size", "41"], capsys, "--out", file.path)
    assert os.stat(file.path) == before
    refused(command.main, ["--data", file.path, "--out", "y"], capsys, "--data", file.path)


def test_what_the_disk_changed_is_found_before_the_file_has_its_name(folder, monkeypatch):
    """The first image's bytes become others between writing and reading back."""
    synced = os.fsync

    def changed(descriptor: int) -> None:
        synced(descriptor)
        if os.fstat(descriptor).st_size > 200:
            os.pwrite(descriptor, b"other", 200)

    monkeypatch.setattr(packing, "os", SimpleNamespace(**{**vars(os), "fsync": changed}))
    with refuses("x.pack.part", kind=RuntimeError):
        packed(folder, size=40)
    monkeypatch.undo()
    assert not (folder.parent / "x.pack").exists()
    assert contents(packed(folder, size=40)) == contents(packed(folder, "new.pack", size=40))


def test_images_that_cannot_be_read_are_told(folder, capsys):
    (folder / "train/a/a1/0.jpg").write_bytes(b"no image")
    words = ["--data", str(folder), "--size", "40", "--out", str(folder.parent / "x.pack")]
    refused(command.main, words, capsys, "0.jpg", "--skip-bad-images", status=2)
    assert command.main([*words, "--skip-bad-images"]) == 0
    assert "0.jpg" in capsys.readouterr().out
    assert len(PackedFile(words[-1]).records) == 47


def test_gray_and_rotated_images_are_stored_as_training_sees_them(tmp_path):
    for kind in ("x", "y"):
        path = tmp_path / "images" / kind / "0.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.arange(60, dtype=np.uint8).reshape(10, 6)).save(path)
    file = packing.pack(
        DataConfig("folder", root=str(tmp_path / "images")), PackConfig(), str(tmp_path / "z")
    )
    (image, _) = DataConfig("folder", root=file.path).load("train").images
    assert image.shape == (3, 10, 6)
    assert (image == image[:1]).all()


def test_what_a_folder_holds_beside_is_told(folder, capsys):
    """The packed file knows nothing of it, so nobody would be told later."""
    (folder / "train/a/a1/notes.txt").write_text("beside the images")
    (folder / "more").mkdir()
    out = str(folder.parent / "x.pack")
    assert command.main(["--data", str(folder), "--size", "40", "--out", out]) == 0
    said = capsys.readouterr().out
    assert tells(said, "Notice", ".txt")
    assert tells(said, "Notice", "'more'")
    assert said.count("'more'") == 1  # though it is beside both partitions


def bitmaps(folder: Path) -> list[Path]:
    """Write six images of one number of bytes."""
    paths = [folder / "ab"[number % 2] / f"{number}.bmp" for number in range(6)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        made.picture(number, (40, 36)).save(path)
    return paths


def test_images_that_were_changed_since_are_told(tmp_path):
    """Another picture of as many bytes: the file was taken for one that holds it."""
    paths = bitmaps(tmp_path / "images")
    file = packed(tmp_path / "images")
    assert packed(tmp_path / "images").index_hash == file.index_hash
    made.picture(9, (40, 36)).save(paths[2])
    after = os.stat(file.path).st_mtime + 1
    os.utime(paths[2], (after, after))
    with refuses("`out`", "x.pack'", "2.bmp'"):
        packed(tmp_path / "images")


def test_a_part_of_images_that_were_changed_since_begins_anew(tmp_path, monkeypatch):
    paths, made_of, count = bitmaps(tmp_path / "images"), packing.pixels_of, iter(range(100))

    def failing(image):
        if next(count) >= 4:
            raise KeyboardInterrupt
        return made_of(image)

    monkeypatch.setattr(packing, "CHUNK", 2)
    monkeypatch.setattr(packing, "ThreadPoolExecutor", lambda: ThreadPoolExecutor(1))
    monkeypatch.setattr(packing, "pixels_of", failing)
    with pytest.raises(KeyboardInterrupt):
        packed(tmp_path / "images")
    monkeypatch.setattr(packing, "pixels_of", made_of)
    made.picture(9, (40, 36)).save(paths[0])
    images = DataConfig("folder", root=packed(tmp_path / "images").path).load("train").images
    assert np.array_equal(images[0].permute(1, 2, 0), np.asarray(made.picture(9, (40, 36))))


VIEWS = [
    (["--image-size", "448"], ["--image-size", "448", "--size"]),
    (["--crop-pct", "0.9"], ["--crop-pct", "0.9"]),
    (["--no-flip"], ["--no-flip"]),
    (["--val-fraction", "0.2"], ["--val-fraction", "0.2"]),  # as reading would divide once more
    (["--dataset", "digits", "--interpolation", "bicubic"], ["--interpolation", "bicubic"]),
]


@pytest.mark.parametrize(("flags", "words"), VIEWS)
def test_what_means_nothing_to_packing_is_refused(folder, flags, words, capsys):
    out = folder.parent / "x.pack"
    data = [] if "--dataset" in flags else ["--data", str(folder)]
    refused(command.main, [*data, *flags, "--out", str(out)], capsys, *words)
    assert not out.exists()


def test_evaluation_sees_the_same_pixels_where_both_resize_in_one_way(folder, capsys):
    """As backbones of timm do, mostly bicubic."""
    how = {"image_size": 35, "interpolation": "bicubic"}
    data, out = DataConfig("folder", root=str(folder), **how), str(folder.parent / "x.pack")
    flags = ["--data", str(folder), "--size", "40", "--out", out]
    assert command.main([*flags, "--interpolation", "bicubic"]) == 0
    refused(command.main, flags, capsys, "--out")
    shown = query_transform(data.transforms)
    sources, images = data.load("train").images, DataConfig("folder", root=out).load("train").images
    assert all(shown(images[n]).equal(shown(sources[n])) for n in range(len(sources)))


def test_a_share_of_no_image_is_not_passed_over(folder):
    config = DataConfig("folder", root=str(folder), test_fraction=0.01)
    with refuses("`test_fraction`", "0.01", "'test'", kind=MissingPartition):
        partitions_of(config)
    assert list(partitions_of(replace(config, test_fraction=None))) == ["train", "validation"]


def test_a_quality_is_of_jpeg():
    """It was passed over, and the file ten times as large as meant."""
    assert PackConfig(encoding="jpeg").jpeg_quality == 90
    assert PackConfig(encoding="jpeg", quality=50).jpeg_quality == 50
    with refuses("`quality` 50", "uncompressed", "`encoding` jpeg"):
        PackConfig(quality=50)
