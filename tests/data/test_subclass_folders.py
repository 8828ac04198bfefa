"""A division into sub-classes on disk: what readers of tables and folders make of it."""

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from ancor.data.config import DataConfig
from ancor.data.images import ColorImages, ImageFiles
from ancor.data.partition import Partition
from ancor.data.subclass_folders import check_folder, write, write_labels
from ancor.fewshot.inputs import class_folders
from tests.made import write as write_image
from tests.refusals import refuses

# Names that are no folders' names: hidden, above, inside another, only different in case, too long.
ODD = ["..", ".a", "a/b", "a_b", "A_B", "é" * 200]


def files(root: Path, names=("ants", "bees")) -> Partition:
    """Eight files of two coarse classes, the odd ones of the one."""
    paths = [write_image(root / f"p{n % 3}" / f"{n}.png", n) for n in range(8)]
    listed = [(str(path.parent), [path.name]) for path in paths]
    return Partition.from_names(
        "own", "train", ImageFiles(listed), [names[n % 2] for n in range(8)]
    )


PARTS = [(0, np.array([0, 2])), (0, np.array([4, 6])), (1, np.array([7, 5, 3, 1]))]
FINE = ["ants/1", "bees/1", "ants/1", "bees/1", "ants/2", "bees/1", "ants/2", "bees/1"]


def test_files_are_linked_and_the_table_is_read_with_their_folder(tmp_path):
    partition = files(tmp_path / "photos")
    out = tmp_path / "out"
    check_folder(out)
    written = write(out, partition, PARTS, str(tmp_path / "photos"))
    table = write_labels(out, partition, written.paths, FINE)
    paths, labels = class_folders(out / "images" / "ants")
    assert labels == ["1", "1", "2", "2"]
    assert [os.path.realpath(path) for path in paths] == [
        os.path.realpath(partition.images.name(n)) for n in (0, 2, 4, 6)
    ]
    assert all(os.path.islink(path) for path in paths)
    data = DataConfig("folder", root=written.root, labels=str(table))
    again = data.load("train")
    assert again.hierarchy.fine_names == ("ants/1", "ants/2", "bees/1")
    assert [again.images.content(n) for n in range(8)] == [
        partition.images.content(n) for n in range(8)
    ]
    assert (again.coarse_labels == partition.coarse_labels).all()


def test_files_that_are_not_all_below_the_root_are_named_from_the_folder_of_all(tmp_path):
    partition = files(tmp_path / "photos")
    for root in (None, str(tmp_path / "photos" / "p0")):
        out = tmp_path / f"out {root is None}"
        written = write(out, partition, PARTS, root)
        assert written.root == str(tmp_path / "photos")
        table = write_labels(out, partition, written.paths, FINE)
        assert len(DataConfig("folder", root=written.root, labels=str(table)).load("train")) == 8


def test_where_links_cannot_be_made_files_are_copied_and_that_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    partition = files(tmp_path / "photos")
    written = write(tmp_path / "out", partition, PARTS, None)
    assert "8 became copies" in written.told
    shutil.rmtree(tmp_path / "photos")
    paths, _ = class_folders(tmp_path / "out" / "images" / "bees")
    for path in paths:
        Image.open(path).load()


def test_images_in_memory_become_files_and_the_folder_a_dataset(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3, 6, 9), dtype=np.uint8)
    names = ["ants", "bees"] * 4
    partition = Partition.from_names("own", "validation", ColorImages(pixels), names)
    written = write(tmp_path, partition, PARTS)
    write_labels(tmp_path, partition, written.paths, FINE)
    again = DataConfig("folder", root=written.root).load("train")  # to be trained on
    assert written.root == str(tmp_path)
    for n in range(8):
        assert (np.asarray(again.images[n]).transpose(2, 0, 1) == pixels[n]).all()
    assert [again.hierarchy.fine_names[n] for n in again.fine_labels] == FINE


def test_no_name_of_a_class_leads_out_of_the_folder_or_into_anothers(tmp_path):
    pixels = np.zeros((len(ODD), 3, 4, 4), dtype=np.uint8)
    partition = Partition.from_names("own", "train", ColorImages(pixels), ODD)
    parts = [(int(partition.coarse_labels[n]), np.array([n])) for n in range(len(ODD))]
    out = tmp_path / "out"
    written = write(out, partition, parts)
    assert len(set(written.paths)) == len(ODD)
    folders = list(out.rglob("*.png"))
    assert sorted(map(str, folders)) == sorted(str(out / path) for path in written.paths)
    assert {len(path.relative_to(out).parts) for path in folders} == {4}
    assert len({path.parents[1].name.casefold() for path in folders}) == len(ODD)
    assert not any(path.parents[1].name.startswith(".") for path in folders)
    assert list(tmp_path.iterdir()) == [out]
    write_labels(out, partition, written.paths, [f"{name}/1" for name in ODD])
    again = DataConfig("folder", root=str(out)).load("train")
    assert set(again.hierarchy.coarse_names) == set(ODD)


def test_folders_that_hold_something_are_refused(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with refuses("`output`", str(tmp_path / "full")):
        check_folder(tmp_path / "full")
    with refuses("`output`", str(tmp_path / "full" / "a" / "b")):
        check_folder(tmp_path / "full" / "a" / "b")


def test_names_that_are_not_text_are_refused(tmp_path):
    pixels = np.zeros((1, 3, 4, 4), dtype=np.uint8)
    partition = Partition.from_names("own", "train", ColorImages(pixels), [os.fsdecode(b"\xff")])
    written = write(tmp_path, partition, [(0, np.array([0]))])
    with refuses("UTF-8"):
        write_labels(tmp_path, partition, written.paths, ["x"])


def test_names_of_linked_files_keep_their_ends(tmp_path):
    path = write_image(tmp_path / "photos" / "x y.JPG", 0)
    partition = Partition.from_names(
        "own", "train", ImageFiles([(str(path.parent), [path.name])]), ["a"]
    )
    write(tmp_path / "out", partition, [(0, np.array([0]))])
    assert [p.name for p in (tmp_path / "out" / "images" / "a" / "1").iterdir()] == ["0_x y.JPG"]
