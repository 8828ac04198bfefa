"""A user's own images: by folders, by labels.csv, and everything that can be wrong with them."""

import errno
import os
import re
import sys
from pathlib import Path

import pytest

from ancor.data.config import DataConfig
from ancor.errors import MissingPartition
from tests import made
from tests.refusals import Word, refuses, tells


def tree(root: Path, *paths: str) -> Path:
    for number, path in enumerate(paths):
        made.write(root / path, number)
    return root


def load(root: Path, partition: str = "train", **settings):
    return DataConfig("folder", root=str(root), **settings).load(partition)


def refusal(root: Path, *words: Word) -> str:
    """Assert that training images are refused with all words; return the message."""
    with refuses(*words) as caught:
        load(root)
    return str(caught.value)


PARTED = ("train/cat/1.jpg", "train/ape/2.PNG", "val/cat/tabby/3.webp", "val/bird/owl/4.bmp")


def test_partitions(tmp_path):
    tree(tmp_path, *PARTED, "val/cat/manx/5.tif", "train/cat/notes.txt.png")
    (tmp_path / "train" / "cat" / "read me.txt").write_text("x")
    train, validation = load(tmp_path), load(tmp_path, "validation")
    assert train.hierarchy.coarse_names == ("ape", "cat")
    assert train.fine_labels is None
    assert train.coarse_labels.tolist() == [0, 1, 1]
    with refuses("'train'", "--mode coarse"):
        train.labels("fine")
    assert validation.hierarchy.coarse_names == ("ape", "cat", "bird")
    assert validation.hierarchy.fine_names == ("manx", "tabby", "owl")
    assert validation.hierarchy.coarse_of_fine == (1, 1, 2)
    names = [os.path.basename(validation.images.name(i)) for i in range(3)]
    order = sorted(zip(names, validation.fine_labels.tolist(), strict=True))
    assert order == [("3.webp", 1), ("4.bmp", 2), ("5.tif", 0)]
    with refuses("'test'", repr(str(tmp_path)), kind=MissingPartition):
        load(tmp_path, "test")


def test_no_partitions_at_all(tmp_path):
    tree(tmp_path, "b/1.jpg", "a/2.jpg", "b/0.jpg")
    train = load(tmp_path)
    assert train.coarse_labels.tolist() == [0, 1, 1]
    assert [Path(train.images.name(i)).name for i in range(3)] == ["2.jpg", "0.jpg", "1.jpg"]
    with pytest.raises(MissingPartition):
        load(tmp_path, "validation")


def test_fine_level_in_training_and_the_folder_validation(tmp_path):
    tree(tmp_path, "train/a/x/1.jpg", "train/a/y/2.jpg", "train/b/z/3.jpg", "validation/a/1.jpg")
    assert load(tmp_path).fine_labels.tolist() == [0, 1, 2]
    assert load(tmp_path, "validation").fine_labels is None


ODD = ["two words.jpg", "line\nbreak.jpg", "Äpfel und Birnen 苹果.jpg", "quote'\".jpg", "a,b.jpg"]


def test_odd_names(tmp_path):
    tree(tmp_path, *(f"train/class {n}\n/{name}" for n, name in enumerate(ODD)))
    undecodable = os.fsencode(tmp_path) + b"/train/class 0\n/\xff.jpg"
    if sys.platform == "linux":
        Path(os.fsdecode(undecodable)).write_bytes(made.encoded(9, (12, 10), "JPEG"))
    train = load(tmp_path)
    assert len(train) == 6
    assert all(train.images[i].size == (12, 10) for i in range(len(train)))
    (tmp_path / "train" / "class 1\n" / ODD[1]).write_bytes(b"")
    bad = load(tmp_path)
    with refuses(r"line\nbreak.jpg'"):
        [bad.images[i] for i in range(len(bad))]


def test_hidden_entries_are_left_out(tmp_path):
    tree(tmp_path, "train/a/1.jpg", "train/a/._1.jpg", "train/.cache/1.jpg")
    assert len(load(tmp_path)) == 1


def test_hidden_folders_of_images_are_told(tmp_path):
    """A class called .net was left out without a word."""
    tree(tmp_path, "train/a/x/1.jpg", "train/.net/core/1.jpg", "train/a/.old/1.jpg")
    tree(tmp_path, "train/b/y/1.jpg")
    (tmp_path / "train/.git/objects").mkdir(parents=True)
    found = load(tmp_path)
    assert len(found) == 2
    assert tells("\n".join(found.notes), "'.net/'", "'.old/'")
    assert not tells("\n".join(found.notes), ".git")


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (["train/1.jpg", "train/a/2.jpg"], ["train/1.jpg'"]),
        (["train/a/1.jpg", "train/a/x/2.jpg"], ["train/a'", "'1.jpg'", "'x'"]),
        (["train/a/1.jpg", "train/b/x/2.jpg"], ["train/b'", "train/a'"]),
        (["train/a/x/deep/1.jpg"], ["train/a/x/deep'"]),
        (["train/a/x/1.jpg", "train/b/x/2.jpg"], ["train'", "'x'", "'a'", "'b'"]),
        (["val/a/x/1.jpg", "validation/a/x/1.jpg"], ["val'", "validation'", "'validation'"]),
        (["train/a/1.jpg", "train/b/1.txt"], ["train/b'", "1 .txt"]),
        (["train/x.txt"], ["train'", "1 .txt"]),
    ],
)
def test_wrong_trees_are_refused(tmp_path, paths, named):
    for number, path in enumerate(paths):
        if path.endswith(".txt"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text("x")
        else:
            made.write(tmp_path / path, number)
    partition = "validation" if paths[0].startswith("val") else "train"
    with refuses(*named):
        load(tmp_path, partition)


def test_links_are_followed_and_loops_refused(tmp_path):
    tree(tmp_path / "store", "a/1.jpg")
    root = tree(tmp_path / "root", "train/b/2.jpg")
    (root / "train" / "a").symlink_to(tmp_path / "store" / "a")
    assert len(load(root)) == 2
    (root / "train" / "b" / "again").symlink_to(root / "train")
    refusal(root, "train/b/again'", "root/train'")
    (root / "train" / "b" / "again").unlink()
    (root / "train" / "b" / "self.jpg").symlink_to("self.jpg")
    refusal(root, "train/b/self.jpg'")


def test_unreadable_folder(tmp_path, monkeypatch):
    tree(tmp_path, "train/a/1.jpg")

    def denied(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "scandir", denied)
    refusal(tmp_path, "train'", os.strerror(errno.EACCES))


def table(root: Path, text: str) -> Path:
    (root / "labels.csv").write_text(text, encoding="utf-8")
    return root


def test_table(tmp_path):
    tree(tmp_path, "x/1.jpg", "x/2 b.jpg", "3.png", "4.jpg", "5.jpg")
    table(
        tmp_path,
        '\ufeffpath,coarse,fine,partition\nx/1.jpg,dog,,\n"x/2 b.jpg",cat,,train\n'
        "3.png,dog,pug,val\n4.jpg,ant,red,validation\n5.jpg,cat,manx,test\n",
    )
    train, validation = load(tmp_path), load(tmp_path, "validation")
    assert train.hierarchy.coarse_names == ("cat", "dog")
    assert train.coarse_labels.tolist() == [1, 0]
    assert train.fine_labels is None
    assert train.images[1].size == (12, 10)
    assert validation.hierarchy.coarse_names == ("cat", "dog", "ant")
    assert validation.coarse_labels.tolist() == [1, 2]
    assert validation.hierarchy.fine_names == ("pug", "red")
    assert load(tmp_path, "test").coarse_labels.tolist() == [0]


def test_table_of_coarse_classes_alone(tmp_path):
    table(tree(tmp_path, "1.jpg", "2.jpg"), "coarse,path\nb,1.jpg\na,2.jpg\n")
    assert load(tmp_path).coarse_labels.tolist() == [1, 0]
    with refuses("'validation'", "labels.csv'", kind=MissingPartition):
        load(tmp_path, "validation")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("file,coarse\n1.jpg,a\n", [re.compile(r"\bpath;"), "'file', 'coarse'"]),
        ("path:coarse\n1.jpg:a\n", [re.compile(r"\bpath\b.*\bcoarse;"), "'path:coarse'"]),
        ("", [re.compile(r"\bpath\b.*\bcoarse;")]),
        ("path,coarse\n1.jpg,\n", [re.compile(r"line 2\b[^;]*\bcoarse;")]),
        ("path,coarse\n1.jpg\n", [re.compile(r"line 2\b[^;]*\bcoarse[:;]")]),
        ("path,coarse\n,a\n", [re.compile(r"line 2\b[^;]*\bpath;")]),
        ("path,coarse,partition\n1.jpg,a,dev\n", ["line 2", "'dev'", "train, val"]),
        ("path,coarse\n1.jpg,a\n./1.jpg,b\n", ["'./1.jpg'", "2", "3"]),
        ("path,coarse,fine\n1.jpg,a,x\n2.jpg,a,\n", ["line 3", "fine", "'train'"]),
        ("path,coarse,fine\n1.jpg,a,x\n2.jpg,b,x\n", ["'x'", "'a'", "'b'"]),
        ("path,coarse\n1.jpg,a\nmissing.jpg,a\n", ["1", "'missing.jpg'", "line 3"]),
        ('path,coarse\n"1.jpg,a\n', ["line 2"]),
    ],
)
def test_wrong_tables_are_refused(tmp_path, text, named):
    table(tree(tmp_path, "1.jpg", "2.jpg"), text)
    refusal(tmp_path, "labels.csv", *named)


def test_table_that_is_no_text(tmp_path):
    tmp_path.joinpath("labels.csv").write_bytes(b"path,coarse\n\xff\xfe\x00,a\n")
    refusal(tmp_path, "labels.csv'", "UTF-8", "0xff")


@pytest.mark.parametrize("form", ["..", "absolute", "link", "linked folder"])
def test_paths_outside_the_root(tmp_path, form):
    root = tree(tmp_path / "root", "1.jpg")
    outside = made.write(tmp_path / "outside" / "2.jpg")
    (root / "link.jpg").symlink_to(outside)
    (root / "linked").symlink_to(outside.parent)
    path = {
        "..": "../outside/2.jpg",
        "absolute": str(outside),
        "link": "link.jpg",
        "linked folder": "linked/2.jpg",
    }[form]
    table(root, f"path,coarse\n1.jpg,a\n{path},a\n")
    refusal(root, repr(path), "line 3", "`allow_outside_root`")
    assert load(root, allow_outside_root=True).images[1].size == (12, 10)


def test_settings_are_checked(tmp_path):
    for name in ("mean", "std"):
        with refuses(f"`{name}` 0.5 0.5"):
            DataConfig("folder", **{name: (0.5, 0.5)})
    with refuses("`std` 0.5 0.0 0.5"):
        DataConfig("folder", std=(0.5, 0.0, 0.5))
    with refuses("`image_size` 0"):
        DataConfig("folder", image_size=0)
    config = DataConfig("folder", mean=[0.1, 0.2, 0.3], image_size=112)
    assert config.transforms.mean == (0.1, 0.2, 0.3)
    assert config.transforms.std == (0.229, 0.224, 0.225)
    assert (config.transforms.size, config.transforms.resize) == (112, 128)
