"""A user's own images: by folders, by labels.csv, and everything that can be wrong with them."""

import os
import sys
from pathlib import Path

import pytest

from ancor.data.config import DataConfig
from ancor.errors import InputError, MissingPartition
from tests import made


def tree(root: Path, *paths: str) -> Path:
    for number, path in enumerate(paths):
        made.write(root / path, number)
    return root


def load(root: Path, partition: str = "train", **settings):
    return DataConfig("folder", root=str(root), **settings).load(partition)


def refusal(root: Path, partition: str = "train", **settings) -> str:
    with pytest.raises(InputError) as caught:
        load(root, partition, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


PARTED = ("train/cat/1.jpg", "train/ape/2.PNG", "val/cat/tabby/3.webp", "val/bird/owl/4.bmp")


def test_partitions(tmp_path):
    tree(tmp_path, *PARTED, "val/cat/manx/5.tif", "train/cat/notes.txt.png")
    (tmp_path / "train" / "cat" / "read me.txt").write_text("x")
    train, validation = load(tmp_path), load(tmp_path, "validation")
    assert train.hierarchy.coarse_names == ("ape", "cat")
    assert train.fine_labels is None
    assert train.coarse_labels.tolist() == [0, 1, 1]
    with pytest.raises(InputError, match="no fine labels"):
        train.labels("fine")
    assert validation.hierarchy.coarse_names == ("ape", "cat", "bird")
    assert validation.hierarchy.fine_names == ("manx", "tabby", "owl")
    assert validation.hierarchy.coarse_of_fine == (1, 1, 2)
    names = [os.path.basename(validation.images.name(i)) for i in range(3)]
    order = sorted(zip(names, validation.fine_labels.tolist(), strict=True))
    assert order == [("3.webp", 1), ("4.bmp", 2), ("5.tif", 0)]
    with pytest.raises(MissingPartition, match="no partition 'test'"):
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
    with pytest.raises(InputError, match="line\\\\nbreak") as caught:
        [bad.images[i] for i in range(len(bad))]
    assert "\n" not in str(caught.value)


def test_hidden_entries_are_left_out(tmp_path):
    tree(tmp_path, "train/a/1.jpg", "train/a/._1.jpg", "train/.cache/1.jpg")
    assert len(load(tmp_path)) == 1


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (["train/1.jpg", "train/a/2.jpg"], "1.jpg"),
        (["train/a/1.jpg", "train/a/x/2.jpg"], "holds both images"),
        (["train/a/1.jpg", "train/b/x/2.jpg"], "divide all coarse classes or none"),
        (["train/a/x/deep/1.jpg"], "is inside a fine class"),
        (["train/a/x/1.jpg", "train/b/x/2.jpg"], "fine class 'x' is in the coarse classes"),
        (["val/a/x/1.jpg", "validation/a/x/1.jpg"], "keep one"),
        (["train/a/1.jpg", "train/b/1.txt"], "no images in .*train/b"),
        (["train/x.txt"], "no images in"),
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
    with pytest.raises(InputError, match=named) as caught:
        load(tmp_path, partition)
    assert "\n" not in str(caught.value)


def test_links_are_followed_and_loops_refused(tmp_path):
    tree(tmp_path / "store", "a/1.jpg")
    root = tree(tmp_path / "root", "train/b/2.jpg")
    (root / "train" / "a").symlink_to(tmp_path / "store" / "a")
    assert len(load(root)) == 2
    (root / "train" / "b" / "again").symlink_to(root / "train")
    assert "a loop; remove the link" in refusal(root)
    (root / "train" / "b" / "again").unlink()
    (root / "train" / "b" / "self.jpg").symlink_to("self.jpg")
    assert "self.jpg' is a link that leads nowhere" in refusal(root)


def test_unreadable_folder(tmp_path, monkeypatch):
    tree(tmp_path, "train/a/1.jpg")

    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    assert "Permission denied" in refusal(tmp_path)


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
    with pytest.raises(MissingPartition, match="'validation'"):
        load(tmp_path, "validation")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("file,coarse\n1.jpg,a\n", "lacks the column path"),
        ("path:coarse\n1.jpg:a\n", "lacks the column path and coarse"),
        ("", "lacks the column"),
        ("path,coarse\n1.jpg,\n", "line 2 .* has no coarse"),
        ("path,coarse\n1.jpg\n", "line 2 .* has no coarse"),
        ("path,coarse\n,a\n", "line 2 .* has no path"),
        ("path,coarse,partition\n1.jpg,a,dev\n", "'dev'; accepted: train"),
        ("path,coarse\n1.jpg,a\n./1.jpg,b\n", "listed twice .* lines 2 and 3"),
        ("path,coarse,fine\n1.jpg,a,x\n2.jpg,a,\n", "line 3 .* has no fine class"),
        ("path,coarse,fine\n1.jpg,a,x\n2.jpg,b,x\n", "fine class 'x' is in"),
        ("path,coarse\n1.jpg,a\nmissing.jpg,a\n", r"1 files .*'missing\.jpg' \(line 3\)"),
        ('path,coarse\n"1.jpg,a\n', "are not in|cannot be read|no coarse"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, text, named):
    table(tree(tmp_path, "1.jpg", "2.jpg"), text)
    with pytest.raises(InputError, match=named) as caught:
        load(tmp_path)
    assert "labels.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_table_that_is_no_text(tmp_path):
    tmp_path.joinpath("labels.csv").write_bytes(b"path,coarse\n\xff\xfe\x00,a\n")
    assert "cannot be read as CSV in UTF-8" in refusal(tmp_path)


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
    assert "`allow_outside_root`" in refusal(root)
    assert load(root, allow_outside_root=True).images[1].size == (12, 10)


def test_settings_are_checked(tmp_path):
    for name in ("mean", "std"):
        with pytest.raises(InputError, match=f"`{name}` 0.5 0.5: expected three"):
            DataConfig("folder", **{name: (0.5, 0.5)})
    with pytest.raises(InputError, match="above 0"):
        DataConfig("folder", std=(0.5, 0.0, 0.5))
    with pytest.raises(InputError, match="`image_size` 0"):
        DataConfig("folder", image_size=0)
    config = DataConfig("folder", mean=[0.1, 0.2, 0.3], image_size=112)
    assert config.transforms.mean == (0.1, 0.2, 0.3)
    assert config.transforms.std == (0.229, 0.224, 0.225)
    assert (config.transforms.size, config.transforms.resize) == (112, 128)
