"""B15: features kept on disk follow what the images are, not how large and how old they look."""

import os
import shutil
import subprocess
import sys
import tarfile
import types
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from ancor.data import files
from ancor.data import images as images_module
from ancor.data.config import DataConfig
from ancor.data.images import ColorImages, EncodedImages, GrayImages, ImageFiles
from ancor.evaluation.dependencies import dependencies
from ancor.evaluation.feature_bank import FeatureBank
from ancor.evaluation.feature_cache import FeatureCache
from ancor.models.encoder import Encoder, EncoderConfig
from ancor.runtime.devices import Runtime
from tests import made

NAMES = ("0.bmp", "1.bmp")  # of one size in bytes, whatever they show
TIME = 1_600_000_000_123_456_789


def write(folder: Path, first: int) -> Path:
    """Write a training set of two images, of one time of modification."""
    for number, name in enumerate(NAMES):
        path = made.write(folder / "train" / "a" / name, first + number, (64, 64))
        os.utime(path, ns=(TIME, TIME))
    return folder


def in_place(mine: Path, other: Path) -> None:
    """What cp -p does, and rsync --inplace -t."""
    for name in NAMES:
        shutil.copy2(other / "train" / "a" / name, mine / "train" / "a" / name)


def renamed(mine: Path, other: Path) -> None:
    """What rsync -t does: a file beside it, and then its name."""
    for name in NAMES:
        os.replace(other / "train" / "a" / name, mine / "train" / "a" / name)


def unpacked(mine: Path, other: Path) -> None:
    with tarfile.open(mine / "x.tar", "w") as archive:
        archive.add(other / "train", "train")
    shutil.rmtree(mine / "train")
    with tarfile.open(mine / "x.tar") as archive:
        archive.extractall(mine, filter="data")


def folder_moved(mine: Path, other: Path) -> None:
    (mine / "train").rename(mine / "before")
    (other / "train").rename(mine / "train")


def link_turned(mine: Path, other: Path) -> None:
    (mine / "train").rename(mine / "before")
    (mine / "train").symlink_to(other / "train")


def exchanged(mine: Path, other: Path) -> None:
    """Two files of the set change names: nothing in it is new."""
    one, two = (mine / "train" / "a" / name for name in NAMES)
    one.rename(mine / "x")
    two.rename(one)
    (mine / "x").rename(two)


def written_over(mine: Path, other: Path) -> None:
    """A program that opens the file and sets the time back."""
    path = mine / "train" / "a" / NAMES[1]
    with open(path, "r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"\xff\0\xff\0\xff")
    os.utime(path, ns=(TIME, TIME))


CHANGES = (in_place, renamed, unpacked, folder_moved, link_turned, exchanged, written_over)


def fingerprint(folder: Path) -> str:
    return DataConfig("folder", root=str(folder)).load("train").images.fingerprint()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("one_time", [False, True])
def test_contents_that_change_are_noticed(change, one_time, tmp_path, monkeypatch):
    """Also where a file system keeps no time of change of its own, and numbers files alike."""
    if one_time:
        monkeypatch.setattr(images_module, "os", _Coarse())
    mine, other = write(tmp_path / "mine", 0), write(tmp_path / "other", 10)
    before = fingerprint(mine)
    assert fingerprint(mine) == before
    change(mine, other)
    paths = [mine / "train" / "a" / name for name in NAMES]
    assert [path.stat().st_mtime_ns // 10**9 for path in paths] == [TIME // 10**9] * 2
    assert len({path.stat().st_size for path in paths}) == 1
    assert fingerprint(mine) != before


class _Coarse:
    """The module os, of a disk of whole seconds (FAT, squashfs): all times are one, no numbers."""

    def __getattr__(self, name: str):
        return getattr(os, name)

    def stat(self, path: str) -> types.SimpleNamespace:
        status = os.stat(path)
        whole = status.st_mtime_ns // 10**9 * 10**9
        told = {"st_size": status.st_size, "st_mtime_ns": whole, "st_ctime_ns": whole, "st_ino": 0}
        return types.SimpleNamespace(**told)


def test_files_that_stay_are_not_opened(tmp_path, monkeypatch):
    write(tmp_path, 0)
    monkeypatch.setattr(images_module, "read_bytes", None)
    assert fingerprint(tmp_path) == fingerprint(tmp_path)


def test_a_change_at_once_is_noticed(tmp_path):
    """A disk counts times in steps of milliseconds: what follows a look has to have a later one."""
    write(tmp_path, 0)
    seen = set()
    for number in range(5):
        written_over(tmp_path, tmp_path)
        path = tmp_path / "train" / "a" / NAMES[0]
        with open(path, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(bytes([number]))
        os.utime(path, ns=(TIME, TIME))
        seen.add(fingerprint(tmp_path))
    assert len(seen) == 5


def test_sets_in_memory_are_told_by_their_contents():
    pixels = np.zeros((2, 3, 16, 16), np.uint8)
    changed = pixels.copy()
    changed[1, 2, 3, 4] = 1
    for kind in (ColorImages, lambda p: GrayImages(p[:, 0]), _encoded):
        assert kind(pixels).fingerprint() == kind(pixels.copy()).fingerprint()
    for kind in (ColorImages, lambda p: GrayImages(p[:, 2]), _encoded):
        assert kind(pixels).fingerprint() != kind(changed).fingerprint()


def _encoded(pixels: np.ndarray) -> EncodedImages:
    strings = [image.tobytes() for image in pixels]
    return EncodedImages(strings, [len(string) for string in strings], "x")


def test_the_cache_answers_for_new_contents_with_new_features(tmp_path):
    """B15, whole: cp -p over the images between two evaluations."""
    mine, other = write(tmp_path / "mine", 0), write(tmp_path / "other", 10)
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig("conv4", "cls", num_classes=3)).eval()
    pairs = np.array([[0, -1], [1, -1]])

    def features(folder: Path, cache: Path | None) -> torch.Tensor:
        config = DataConfig("folder", root=str(folder), image_size=32)
        partition = config.load("train")
        runtime = Runtime(torch.device("cpu"))
        bank = FeatureBank(encoder, partition.images, config.transforms, runtime)
        if cache is not None:
            bank.cache = FeatureCache(cache, dependencies(bank, partition), bank.width)
        return bank.features(pairs)

    before = features(mine, tmp_path / "cache")
    paths = [str(other / "train" / "a" / name) for name in NAMES]
    subprocess.run(["cp", "-p", *paths, str(mine / "train" / "a")], check=True)
    after = features(mine, tmp_path / "cache")
    assert torch.equal(after, features(other, None))
    assert not torch.equal(after, before)


def test_what_decodes_and_resizes_is_part_of_the_key(tmp_path, monkeypatch):
    import PIL

    partition = DataConfig("digits").load("validation")
    encoder = Encoder(EncoderConfig("conv4", "cls", num_classes=3)).eval()
    transforms = DataConfig("digits").transforms
    bank = FeatureBank(encoder, partition.images, transforms, Runtime(torch.device("cpu")))
    found = [dependencies(bank, partition)]
    monkeypatch.setattr(PIL, "__version__", "another")
    found.append(dependencies(bank, partition))
    monkeypatch.setattr("ancor.evaluation.dependencies.version", lambda package: f"new {package}")
    found.append(dependencies(bank, partition))
    assert found[-1]["torchvision"] == "new torchvision"
    for version in ("1.0", "1.1"):
        heif = types.SimpleNamespace(register_heif_opener=lambda: None, __version__=version)
        monkeypatch.setitem(sys.modules, "pillow_heif", heif)
        files.heif_version.cache_clear()
        found.append(dependencies(bank, partition))
    monkeypatch.undo()
    files.heif_version.cache_clear()
    assert all(one != other for one, other in combinations(found, 2))


def test_a_librarys_version_is_part_of_the_key_of_its_backbones(monkeypatch):
    """Whose code computes the features; other backbones' are found again."""
    partition, transforms = DataConfig("digits").load("validation"), DataConfig("digits").transforms
    banks = [
        FeatureBank(
            Encoder(EncoderConfig(arch, "none")).eval(),
            partition.images,
            transforms,
            Runtime(torch.device("cpu")),
        )
        for arch in ("timm:test_resnet", "conv4")
    ]
    before = [dependencies(bank, partition) for bank in banks]
    monkeypatch.setattr(
        "ancor.evaluation.dependencies.version",
        lambda package: "another" if package == "timm" else before[0][package],
    )
    after = [dependencies(bank, partition) for bank in banks]
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True]


def test_a_subset_is_another_set(tmp_path):
    images = ImageFiles([(str(write(tmp_path, 0) / "train" / "a"), list(NAMES))])
    assert images.subset(np.array([1])).fingerprint() != images.fingerprint()
