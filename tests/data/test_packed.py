"""Reading packed files: as the folder by every command, and safely whoever wrote them."""

import hashlib
import json
import pickle
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from ancor.cli import check_data, inspect, show
from ancor.cli import eval as eval_command
from ancor.cli import train as train_command
from ancor.data import partition_table
from ancor.data.config import DataConfig
from ancor.data.file_config import PackConfig
from ancor.data.guess import guess
from ancor.data.pack import pack
from ancor.data.packed import HEADER, RECORD, PackedFile, PackedImages
from ancor.data.transforms import pixels_of
from ancor.data.views import TrainingViews
from ancor.errors import InputError, MissingPartition
from tests import made
from tests.refusals import one_line, refused, refuses, tells


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("packed") / "images"
    for part in ("train", "val"):
        for number in range(48):
            fine = ("a1", "a2", "b1", "b2")[number % 4]
            path = root / part / fine[0] / fine / f"{number}.png"
            made.write(path, number + 100 * (part == "val"), (56, 48) if number % 3 else (48, 60))
    return root


@pytest.fixture(scope="module", params=["uncompressed", "jpeg"])
def file(request, folder) -> PackedFile:
    out = folder.parent / f"{request.param}.pack"
    quality = 100 if request.param == "jpeg" else None
    config = PackConfig(size=48, encoding=request.param, quality=quality)
    return pack(DataConfig("folder", root=str(folder)), config, str(out))


def load(root, partition: str = "train", **settings):
    return DataConfig("folder", root=str(root), **settings).load(partition)


def test_crops_are_the_folders_to_one_gray_level(file, folder):
    """The shorter side is the file's size, so uncompressed images are the source's."""
    if file.about["encoding"] == "jpeg":
        pytest.skip("JPEG changes pixels")
    views = []
    for root in (folder, file.path):
        part = load(root)
        spec = DataConfig("folder", root=str(root), image_size=32).transforms
        views.append(TrainingViews(part.images, part.fine_labels, spec, ("strong", "weak"), 3))
    off, seen = 0, set()
    for index in range(len(views[0])):
        (ours, _, label, _), (theirs, _, other, _) = (each[2, index] for each in views)
        assert label == other
        for one, two in zip(ours, theirs, strict=True):
            off = max(off, int((one.int() - two.int()).abs().max()))
            seen.add(one.numpy().tobytes())
    assert off <= 1
    assert len(seen) == 2 * len(views[0])


def test_a_crop_reads_the_map_and_nothing_else(file):
    """No byte of an image is copied before it is asked for; JPEG has to be decoded."""
    image = load(file.path).images[5]
    if file.about["encoding"] == "jpeg":
        assert image.size == (56, 48)
        return
    shape, strides = image.shape, image.stride()
    assert (tuple(shape), strides) == ((3, 48, 56), (1, 3 * 56, 3))
    again = load(file.path).images
    one, other = again[5], again[5]
    assert one.data_ptr() == other.data_ptr()


def test_what_loading_processes_get_is_small_and_reads_the_same(file):
    images = load(file.path).images
    pixels_of(images[3])
    content = pickle.dumps(images)
    assert len(content) < 40_000  # of 800 KB
    copy = pickle.loads(content)
    assert pixels_of(copy[3]).equal(pixels_of(images[3]))
    assert copy.content(3) == images.content(3)


def test_a_part_of_the_images_has_its_own_identity(file):
    images = load(file.path).images
    kept = images.subset(np.array([4, 2]))
    assert [kept.name(0), kept.name(1)] == [images.name(4), images.name(2)]
    assert kept.content(1) == images.content(2)
    same = PackedImages(PackedFile(file.path), np.array([4, 2]))
    assert kept.identity() == same.identity() != images.identity()
    assert kept.fingerprint() == same.fingerprint() != images.fingerprint()


def test_commands_take_the_file_in_place_of_the_folder(file, tmp_path, capsys):
    run = tmp_path / "run"
    training = "--mode coarse --arch conv4 --image-size 32 -b 8 --queue-k 8 --max-steps 2 -j 2"
    words = shlex.split(training)
    assert train_command.main([*words, "--data", file.path, "--output-dir", str(run)]) == 0
    model = ["--model-path", str(run / "model_best.pth.tar")]
    episodes = shlex.split("--partition validation --n-test-runs 2 --n-queries 3")
    capsys.readouterr()
    assert eval_command.main([*model, *episodes]) == 0  # which the file names
    assert "All-Way" in capsys.readouterr().out
    picture = str(tmp_path / "show.png")
    assert show.main(["--data", file.path, "--image-size", "32", "--output", picture]) == 0
    assert Path(picture).stat().st_size > 1000
    assert check_data.main(["--data", file.path, "--n-queries", "3"]) == 0
    assert tells(capsys.readouterr().out, "train", "48", "2 coarse", "4 fine")
    assert inspect.main([file.path]) == 0
    one_line(capsys.readouterr().out, file.path, "--data")


def test_the_dataset_is_known_and_no_other_is_taken(file, capsys):
    assert guess(file.path)[0] == "folder"
    with refuses("--dataset", "glyphs", file.path, "folder"):
        DataConfig("glyphs", root=file.path).load("train")
    with refuses("test", "train", "validation", kind=MissingPartition):
        load(file.path, "test")


def test_settings_that_choose_images_have_to_be_those_of_packing(tmp_path):
    made.aircraft(tmp_path / "aircraft", 1)
    source = DataConfig("aircraft", root=str(tmp_path / "aircraft"), coarse_level="family")
    file = pack(source, PackConfig(size=32), str(tmp_path / "x"))
    found = DataConfig("aircraft", root=file.path, coarse_level="family").load("train")
    assert found.hierarchy == source.load("train").hierarchy
    with refuses("--coarse-level", "manufacturer", "family"):
        DataConfig("aircraft", root=file.path).load("train")


def test_coarse_labels_alone_stay_alone(tmp_path):
    for number in range(6):
        made.write(tmp_path / "images" / "xy"[number % 2] / f"{number}.png", number)
    data = DataConfig("folder", root=str(tmp_path / "images"))
    found = load(pack(data, PackConfig(), str(tmp_path / "z")).path)
    assert found.fine_labels is None
    assert found.coarse_labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_division_of_packed_images_is_one_of_their_folder(file, folder, tmp_path):
    """The table that a run writes of it divides the folder's images alike."""
    packed = DataConfig("folder", root=file.path, val_fraction=0.3)
    table = tmp_path / "labels.csv"
    counts = partition_table.write(packed, table)
    assert set(counts) == {"train", "validation"}
    shutil.copytree(folder / "train", tmp_path / "train")
    again = load(tmp_path, "validation", labels=str(table))
    theirs = packed.load("validation").images
    names = sorted(theirs.path(index) for index in range(len(theirs)))
    assert names == sorted(
        Path(again.images.name(index)).relative_to(tmp_path).as_posix()
        for index in range(len(again))
    )
    with refuses("--labels", str(table)):
        load(file.path, labels=str(table))


def test_pictures_that_evaluation_enlarges_are_told(file, folder):
    """Packed at 48 pixels of the shorter side, to which nearly all were brought or are as large."""

    def told(root, **settings) -> bool:
        return any(tells(note, "48", "64") for note in load(root, **settings).notes)

    assert told(file.path, image_size=56)
    assert not told(file.path, image_size=42)
    assert not told(folder, image_size=56)
    assert not told(file.path, image_size=56, crop_pct=1.0, crop_mode="border")


# What a stranger, a disk or a cut connection may make of a file.


def rewritten(path: Path, about=None, records=None, labels=None, header=None) -> None:
    """Change a file's index, and give it the header that belongs to it."""
    file, content = PackedFile(path), path.read_bytes()
    _, count, start, length, text, _ = HEADER.unpack(content[: HEADER.size])
    index = bytearray(content[start:])
    if records is not None:
        rows = file.records.copy()
        records(rows)
        index[text : text + rows.nbytes] = rows.tobytes()
    if labels is not None:
        place = text + RECORD.itemsize * count
        index[place : place + 8 * count] = labels(np.concatenate([file.coarse, file.fine]))
    if about is not None:
        told = json.loads(index[:text])
        about(told)
        index[:text] = json.dumps(told).encode()
        text += len(index) - length
    fields = [HEADER.unpack(content[: HEADER.size])[0], count, start, len(index), text]
    for place, value in (header or {}).items():
        fields[place] = value
    head = HEADER.pack(*fields, hashlib.sha256(index).digest())
    path.write_bytes(head + content[HEADER.size : start] + index)


def setter(*places_and_value):
    """Return what sets a value inside containers."""
    *places, last, value = places_and_value

    def change(told) -> None:
        for place in places:
            told = told[place]
        told[last] = value

    return change


CHANGES = {
    "version": {"about": setter("version", 2)},
    "encoding": {"about": setter("encoding", "gif")},
    "dataset": {"about": setter("dataset", ["folder"])},
    "no partitions": {"about": lambda told: told.pop("partitions")},
    "partitions": {"about": setter("partitions", 7)},
    "count": {"about": setter("partitions", 0, "images", 10**9)},
    "negative": {"about": setter("partitions", 0, "images", -48)},
    "name": {"about": setter("partitions", 0, "coarse_names", [1, 2])},
    "home": {"about": setter("partitions", 0, "coarse_of_fine", [0, 0, 9, 9])},
    "homes": {"about": setter("partitions", 0, "coarse_of_fine", [0])},
    "fine": {"about": setter("partitions", 0, "fine", "yes")},
    "labels": {"labels": lambda all_labels: (all_labels + 100).astype("<i4").tobytes()},
    "unequal": {"labels": lambda all_labels: np.roll(all_labels, 7).astype("<i4").tobytes()},
    "height": {"records": setter("height", 2**31)},
    "width": {"records": setter("width", 0)},
    "long": {"records": setter("bytes", 0, 2**63)},
    "wrapping": {"records": setter("bytes", np.uint64(2**64 // 96 + 1))},
    "count in header": {"header": {1: 2**60}},
    "start": {"header": {2: 2**63}},
    "text": {"header": {4: 2**63}},
    "deep": {"about": setter("settings", json.loads("[" * 70 + "]" * 70))},
}


@pytest.fixture(scope="module")
def sound(folder) -> PackedFile:
    out = str(folder.parent / "sound.pack")
    return pack(DataConfig("folder", root=str(folder)), PackConfig(size=48), out)


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_file_says_of_itself_is_checked(name, sound, tmp_path):
    path = tmp_path / "x.pack"
    shutil.copy(sound.path, path)
    rewritten(path, **CHANGES[name])
    with pytest.raises(InputError) as error:
        load(path)
    assert len(str(error.value).splitlines()) == 1
    assert str(path) in str(error.value)


def test_any_byte_that_changed_is_found(file, tmp_path, capsys):
    """In header and index when it is opened, in an image when that is looked at."""
    content = Path(file.path).read_bytes()
    start = HEADER.unpack(content[: HEADER.size])[2]
    path = tmp_path / "x.pack"
    for place in [*range(HEADER.size), *range(start, len(content), 97)]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(InputError):
            load(path)
    for length in (0, 5, HEADER.size, start, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            load(path)
    path.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    capsys.readouterr()
    assert check_data.main(["--data", str(path), "--n-queries", "3"]) == 1
    assert tells(capsys.readouterr().out, "0.png", str(path), "--skip-bad-images")
    assert len(load(path, skip_bad_images=True)) == 47


def test_a_file_that_is_none_is_told(tmp_path, capsys):
    path = tmp_path / "x.pack"
    path.write_bytes(b"ANCORPK1 and no more")
    refused(train_command.main, ["--mode", "coarse", "--data", str(path)], capsys, str(path))
