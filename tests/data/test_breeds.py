"""BREEDS: tables, numbering, and every form that ImageNet comes in."""

import importlib.util
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from ancor.data.config import DataConfig
from ancor.data.datasets import breeds_classes
from ancor.errors import MissingPartition
from tests import made
from tests.refusals import one_line, refuses

INFO = Path(__file__).parents[3] / "shared" / "breeds"
SPLITS = (None, *breeds_classes.SPLITS)
SIZES = {"living17": (17, 4), "nonliving26": (26, 4), "entity13": (13, 20), "entity30": (30, 8)}

needs_robustness = pytest.mark.skipif(
    importlib.util.find_spec("robustness") is None or not INFO.is_dir(),
    reason=f"needs the package robustness and the hierarchy files in {INFO}",
)


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    """A tree of 1000 class folders: those of all tables, and others to make the number whole."""
    tables = [breeds_classes.known_table(n, s) for n in breeds_classes.SETS for s in SPLITS]
    wnids = sorted({wnid for table in tables for wnid in table.class_names})
    wnids += [f"n{number:08d}" for number in range(1000 - len(wnids))]
    root = tmp_path_factory.mktemp("imagenet")
    made.imagenet(root, wnids, images=1)
    return root


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", breeds_classes.SETS)
def test_table_has_the_published_sizes(name, split):
    table = breeds_classes.known_table(name, split)
    coarse, fine = SIZES[name]
    assert len(table.superclasses) == len(table.names) == len(table.source) == coarse
    halves = [*table.source, *table.target]
    assert {len(row) for row in halves} == ({fine} if split is None else {fine // 2})
    assert len({wnid for row in halves for wnid in row}) == coarse * fine


def test_first_rows_of_living17():
    table = breeds_classes.known_table("living17")
    assert table.names[:4] == ("salamander", "turtle", "lizard", "snake, serpent, ophidian")
    assert table.source[0] == ("n01631663", "n01632777", "n01630670", "n01632458")
    assert table.class_names["n01631663"] == "eft"


@needs_robustness
@pytest.mark.parametrize("name", breeds_classes.SETS)
def test_tables_equal_those_of_robustness(name):
    helpers = breeds_classes.helpers()
    hierarchy = helpers.ClassHierarchy(str(INFO))
    for split in SPLITS:
        superclasses, halves, names = getattr(helpers, f"make_{name}")(str(INFO), split)
        table = breeds_classes.known_table(name, split)
        assert list(table.superclasses) == superclasses
        assert list(table.names) == [names[n] for n in range(len(names))]
        for ours, theirs in zip((table.source, table.target), halves, strict=True):
            numbers = [[hierarchy.LEAF_ID_TO_NUM[wnid] for wnid in row] for row in ours]
            assert numbers == [list(row) for row in theirs]
        assert all(hierarchy.LEAF_ID_TO_NAME[w] == text for w, text in table.class_names.items())
        computed = breeds_classes.computed_table(INFO, *breeds_classes.LEVELS[name], split)
        assert computed == table


@needs_robustness
def test_another_level_is_computed(tmp_path):
    config = DataConfig(
        "breeds",
        root=str(tmp_path),
        breeds_info=str(INFO),
        breeds_level=5,
        breeds_ancestor="n00004258",
        breeds_subclasses=4,
    )
    living17 = breeds_classes.known_table("living17")
    made.imagenet(tmp_path, list(living17.class_names), images=1)
    known = DataConfig("living17", root=str(tmp_path)).load("train")
    assert config.load("train").hierarchy == known.hierarchy
    (tmp_path / "BREEDS").symlink_to(INFO)
    assert DataConfig("living17", root=str(tmp_path)).load("train").hierarchy == known.hierarchy


@needs_robustness
@pytest.mark.parametrize(
    ("level", "ancestor", "subclasses", "split", "named"),
    [
        (40, None, 4, None, "--breeds-level 40"),
        (5, "n99999999", 4, None, "n99999999"),
        (5, "n00004258", 5, "good", "--breeds-subclasses 5"),
        (5, "n00004258", 5000, None, "5000"),
    ],
)
def test_sets_that_do_not_exist(level, ancestor, subclasses, split, named):
    with refuses(named):
        breeds_classes.computed_table(INFO, level, ancestor, subclasses, split)


def other_hierarchy(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in breeds_classes.INFO_FILES:
        (folder / name).write_text("[]")
    return folder


def test_another_hierarchy_is_not_answered_by_the_known_tables(tmp_path, monkeypatch):
    other_hierarchy(tmp_path / "BREEDS")
    monkeypatch.setattr(breeds_classes, "helpers", lambda: pytest.fail("robustness was asked"))
    with pytest.raises(pytest.fail.Exception, match="robustness was asked"):
        DataConfig("living17", root=str(tmp_path)).load("train")


def test_incomplete_hierarchy_names_what_is_missing(tmp_path):
    (other_hierarchy(tmp_path / "info") / "node_names.txt").unlink()
    config = DataConfig("entity13", root=str(tmp_path), breeds_info=str(tmp_path / "info"))
    with refuses(re.compile(r"info'[^;]* node_names\.txt")):
        config.load("train")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", breeds_classes.SETS)
def test_numbering_on_a_tree_of_a_thousand_folders(thousand, name, split):
    table = breeds_classes.known_table(name, split)
    for partition, rows in (("train", table.source), ("validation", table.target or table.source)):
        loaded = DataConfig(name, root=str(thousand), split=split).load(partition)
        expected = [(wnid, coarse) for coarse, row in enumerate(rows) for wnid in row]
        number = {wnid: fine for fine, (wnid, _) in enumerate(expected)}
        wnids = [Path(loaded.images.name(i)).parent.name for i in range(len(loaded))]
        assert wnids == sorted(number)
        assert loaded.fine_labels.tolist() == [number[wnid] for wnid in wnids]
        assert loaded.coarse_labels.tolist() == [dict(expected)[wnid] for wnid in wnids]
        assert loaded.hierarchy.coarse_names == table.names
        split_folder = {"train": "train", "validation": "val"}[partition]
        assert f"/{split_folder}/" in loaded.images.name(0)


def test_only_needed_folders_and_file_order(tmp_path):
    wnids = list(breeds_classes.known_table("living17").class_names)
    made.imagenet(tmp_path, wnids, images=3, bare=True)
    loaded = DataConfig("living17", root=str(tmp_path)).load("validation")
    names = [loaded.images.name(i) for i in range(len(loaded))]
    assert names == sorted(names)
    assert len(names) == 3 * 68
    assert loaded.images[5].size == (12, 10)
    assert np.array_equal(loaded.hierarchy.coarse(loaded.fine_labels), loaded.coarse_labels)


def flat_tree(root: Path) -> dict[str, str]:
    """Write a flat val/ whose names mix the classes, with one class of no table among them."""
    wnids = [*breeds_classes.known_table("living17").class_names, "n15075141"]
    class_of = {f"ILSVRC2012_val_{n:08d}": wnids[n * 7 % 69] for n in range(1, 2 * 69 + 1)}
    folder = root / "Data" / "CLS-LOC" / "val"
    folder.mkdir(parents=True)
    for name in class_of:
        (folder / f"{name}.JPEG").write_bytes(made.encoded(0, (12, 10), "JPEG"))
    return class_of


def annotate(root: Path, class_of: dict[str, str], form: str) -> None:
    if form == "csv":
        lines = [f"{name},{wnid} 1 2 3 4 {wnid} 5 6 7 8" for name, wnid in class_of.items()]
        text = "\n".join(["ImageId,PredictionString", *lines])
        (root / "LOC_val_solution.csv").write_text(text)
        return
    folder = root / "Annotations" / "CLS-LOC" / "val"
    folder.mkdir(parents=True)
    for name, wnid in class_of.items():
        text = f"<annotation><object>\n<name>{wnid}</name></object></annotation>"
        (folder / f"{name}.xml").write_text(text)


@pytest.mark.parametrize("form", ["csv", "xml"])
def test_flat_validation_folder(tmp_path, form):
    class_of = flat_tree(tmp_path)
    annotate(tmp_path, class_of, form)
    loaded = DataConfig("living17", root=str(tmp_path)).load("validation")
    table = breeds_classes.known_table("living17")
    order = [wnid for row in table.source for wnid in row]
    names = [Path(loaded.images.name(i)).stem for i in range(len(loaded))]
    assert names == sorted(
        (n for n, w in class_of.items() if w in table.class_names), key=lambda n: (class_of[n], n)
    )
    assert [order[label] for label in loaded.fine_labels] == [class_of[name] for name in names]


def test_flat_validation_folder_without_classes_names_the_cure(tmp_path):
    flat_tree(tmp_path)
    with refuses("val'", "138", "LOC_val_solution.csv", repr(str(tmp_path))):
        DataConfig("living17", root=str(tmp_path)).load("validation")


def test_flat_validation_folder_with_unknown_images(tmp_path):
    class_of = flat_tree(tmp_path)
    del class_of["ILSVRC2012_val_00000005"]
    annotate(tmp_path, class_of, "csv")
    with refuses("LOC_val_solution.csv'", "1", "'ILSVRC2012_val_00000005.JPEG'"):
        DataConfig("living17", root=str(tmp_path)).load("validation")


def test_missing_and_empty_classes_are_all_listed(tmp_path):
    wnids = list(breeds_classes.known_table("living17").class_names)
    made.imagenet(tmp_path, wnids[2:])
    empty = tmp_path / "Data" / "CLS-LOC" / "train" / wnids[2]
    for file in empty.iterdir():
        file.unlink()
    with refuses("3 of 68", *wnids[:3]) as refusal:
        DataConfig("living17", root=str(tmp_path)).load("train")
    assert wnids[3] not in str(refusal.value)


def test_links_are_followed_and_loops_refused(tmp_path):
    wnids = list(breeds_classes.known_table("living17").class_names)
    made.imagenet(tmp_path / "store", wnids)
    root = tmp_path / "root"
    root.mkdir()
    (root / "Data").symlink_to(tmp_path / "store" / "Data")
    assert len(DataConfig("living17", root=str(root)).load("train")) == 136
    train = tmp_path / "store" / "Data" / "CLS-LOC" / "train"
    (train / "n00000000").symlink_to(train)
    with refuses("train/n00000000'", "train'"):
        DataConfig("living17", root=str(root)).load("train")
    (train / "n00000000").unlink()
    os.symlink("n00000000", train / "n00000000")
    with refuses("train/n00000000'"):
        DataConfig("living17", root=str(root)).load("train")


def test_what_is_asked_for_wrongly(tmp_path):
    with refuses("living17", "test", "train, validation", kind=MissingPartition):
        DataConfig("living17", root=str(tmp_path)).load("test")
    with refuses("'train'", repr(str(tmp_path))):
        DataConfig("living17", root=str(tmp_path)).load("train")
    with refuses("living17", "`root`"):
        DataConfig("living17").load("train")
    with refuses("`split` 'best'", "bad, good, rand"):
        DataConfig("living17", split="best")
    with refuses("`split` good", "digits", "living17"):
        DataConfig("digits", split="good")
    with refuses("breeds", "`breeds_level`"):
        DataConfig("breeds", root=str(tmp_path)).load("train")


def test_committed_tables_are_small_and_whole():
    folder = Path(breeds_classes.__file__).parent / "breeds_tables"
    assert sorted(path.stem for path in folder.iterdir()) == sorted(breeds_classes.SETS)
    assert all(path.stat().st_size < 40_000 for path in folder.iterdir())
    digests = {json.loads(path.read_text())["info_sha256"] for path in folder.iterdir()}
    assert len(digests) == 1


def test_images_beside_the_folders_of_classes_are_told(tmp_path):
    """Of a flat validation folder that was sorted in part."""
    made.imagenet(tmp_path, list(breeds_classes.known_table("living17").class_names), bare=True)
    made.write(tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG")
    notes = {
        n: DataConfig("living17", root=str(tmp_path)).load(n).notes for n in ("train", "validation")
    }
    assert notes["train"] == ()
    one_line("\n".join(notes["validation"]), "1", ".jpeg")
