"""Hierarchies of three levels and more, of which two are chosen."""

import json
import shlex
from dataclasses import asdict

import pytest

from ancor.cli import check_data, train
from ancor.cli import eval as eval_command
from ancor.data import partition_table
from ancor.data.config import DataConfig
from ancor.data.resolve import resolve_data
from ancor.training.resolve import settings_in
from tests import made
from tests.data.test_division import EPISODES, QUICK, folder
from tests.refusals import refused, refuses, tells

THREE = {
    "fruit/apple/red": 6,
    "fruit/apple/green": 5,
    "fruit/melon/round": 4,
    "drink/milk/fat": 6,
    "drink/milk/thin": 6,
    "drink/juice/orange juice": 4,
}
NAMES = [way.split("/") for way in THREE for _ in range(THREE[way])]


def classes(config: DataConfig, partition: str = "train") -> tuple[list[str], list[str] | None]:
    """Return coarse and fine name of each image, by the image's number."""
    part = config.load(partition)
    order = sorted(range(len(part)), key=lambda n: int(part.images.name(n).split("/")[-1][:-4]))
    coarse = [part.hierarchy.coarse_names[part.coarse_labels[n]] for n in order]
    if part.fine_labels is None:
        return coarse, None
    return coarse, [part.hierarchy.fine_names[part.fine_labels[n]] for n in order]


CHOICES = [
    ({"coarse_level": "1"}, 0, 2),
    ({"fine_level": "2"}, 0, 1),
    ({"coarse_level": "2"}, 1, 2),
    ({"coarse_level": "1", "fine_level": "3"}, 0, 2),
    ({"coarse_level": "3"}, 2, None),
]


@pytest.mark.parametrize(("levels", "coarse", "fine"), CHOICES)
def test_two_levels_of_folders(tmp_path, levels, coarse, fine):
    config = DataConfig("folder", root=str(folder(tmp_path, THREE)), **levels)
    expected = [way[coarse] for way in NAMES], fine and [way[fine] for way in NAMES]
    assert classes(config) == expected


@pytest.mark.parametrize(("levels", "coarse", "fine"), CHOICES)
def test_two_columns_of_a_table(tmp_path, levels, coarse, fine):
    folder(tmp_path / "all", {"x": len(NAMES)})
    rows = [f"all/x/{n}.png,{','.join(way)}" for n, way in enumerate(NAMES)]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["path,level1,level2,level3", *rows]))
    named = {"coarse_level": "1", **levels}  # a table has no lowest level
    if fine is not None:
        named["fine_level"] = str(fine + 1)
    config = DataConfig("folder", root=str(tmp_path), **named)
    expected = [way[coarse] for way in NAMES], fine and [way[fine] for way in NAMES]
    assert classes(config) == expected
    table.write_text(table.read_text().replace("level2", "kind").replace("level3", "product"))
    by_name = {1: "kind", 2: "product"}
    named = {k: by_name.get(int(v) - 1, v) for k, v in named.items()}
    assert classes(DataConfig("folder", root=str(tmp_path), **named)) == expected
    with refuses("form", "labels.csv'", "'product'"):
        DataConfig("folder", root=str(tmp_path), coarse_level="form").load("train")


def test_a_column_may_be_called_manufacturer_and_another_coarse(tmp_path):
    """Which are `aircraft`'s default, and what a table has where nothing is chosen."""
    folder(tmp_path / "all", {"x": 3})
    table = tmp_path / "labels.csv"
    cars = ["all/x/0.png,big,VW,Golf", "all/x/1.png,big,VW,Polo", "all/x/2.png,small,BMW,i3"]
    table.write_text("\n".join(["path,coarse,manufacturer,model", *cars]))
    found = {}
    for level in (None, "manufacturer", "model"):
        config = DataConfig("folder", root=str(tmp_path), coarse_level=level)
        found[level] = config.load("train").hierarchy.coarse_names
    expected = {
        None: ("big", "small"),
        "manufacturer": ("BMW", "VW"),
        "model": ("Golf", "Polo", "i3"),
    }
    assert found == expected
    assert any("'coarse" in note for note in config.load("train").notes)
    table.write_text(table.read_text().replace("coarse", "size"))
    both = DataConfig("folder", root=str(tmp_path), coarse_level="manufacturer", fine_level="model")
    assert classes(both) == (["VW", "VW", "BMW"], ["Golf", "Polo", "i3"])
    table.write_text(table.read_text().replace("size", "model"))
    with refuses("'model'", "twice"):
        both.load("train")


def test_files_of_before_tell_manufacturer_where_nothing_was_chosen(tmp_path):
    before = {"dataset": "folder", "root": "x", "coarse_level": "manufacturer"}
    assert resolve_data({}, before).coarse_level is None
    assert resolve_data({}, {**before, "dataset": "digits"}).coarse_level is None
    now = asdict(DataConfig(**before))
    assert resolve_data({}, now).coarse_level == "manufacturer"
    assert resolve_data({}, {**before, "dataset": "aircraft"}) == DataConfig("aircraft", root="x")
    sections = {"encoder": {}, "method": {}, "training": {}}
    assert settings_in({**sections, "data": before})["coarse_level"] is None
    assert settings_in({**sections, "data": now})["coarse_level"] == "manufacturer"


def test_coarse_classes_have_the_same_numbers_in_every_partition(tmp_path):
    folder(tmp_path, {"train/fruit/melon/round": 2, "train/drink/milk/fat": 2})
    folder(tmp_path / "val", {"fruit/apple/red": 2, "drink/milk/fat": 2})
    config = DataConfig("folder", root=str(tmp_path), coarse_level="2")
    assert config.load("train").hierarchy.coarse_names == ("melon", "milk")
    assert config.load("validation").hierarchy.coarse_names == ("melon", "milk", "apple")


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ({"coarse_level": "4"}, ["`coarse_level`", "'4'", "3"]),
        ({"coarse_level": "0"}, ["`coarse_level`", "'0'", "3"]),
        ({"coarse_level": "kind"}, ["`coarse_level`", "'kind'", "labels.csv"]),
        ({"coarse_level": "2", "fine_level": "2"}, ["`fine_level`", "2"]),
        ({"coarse_level": "3", "fine_level": "2"}, ["`fine_level`", "2", "3"]),
    ],
)
def test_levels_that_are_not_there(tmp_path, levels, words):
    config = DataConfig("folder", root=str(folder(tmp_path, THREE)), **levels)
    with refuses(*words):
        config.load("train")


@pytest.mark.parametrize(
    ("more", "level", "words"),
    [
        ("fruit/plum", "1", ["fruit/plum'", "2", "3"]),
        ("fruit/milk/x", "2", ["fruit/milk'", "drink/milk'"]),
        ("fruit/apple/fat", "2", ["apple/fat'", "milk/fat'"]),
        ("fruit/apple", "1", ["fruit/apple"]),
    ],
)
def test_trees_that_are_not_one(tmp_path, more, level, words):
    root = folder(tmp_path, THREE)
    made.write(root / more / "1.png")
    with refuses(*words):
        DataConfig("folder", root=str(root), coarse_level=level).load("train")


def test_train_evaluate_and_check(tmp_path, capsys):
    root, run = folder(tmp_path / "own", THREE), tmp_path / "run"
    refused(train.main, shlex.split(f"--data {root} {QUICK}"), capsys, "--coarse-level")
    levels = "--coarse-level 1 --fine-level 3 --val-fraction 0.4"
    words = f"--data {root} {QUICK.replace('--quiet', '')} {levels} --output-dir {run}"
    assert train.main(shlex.split(f"{words} --val-episodes 2")) == 0
    assert tells(capsys.readouterr().out, "2 coarse", "6 fine")
    report = tmp_path / "report.json"
    words = f"--model-path {run / 'model_best.pth.tar'} {EPISODES} --intra-class --json {report}"
    assert eval_command.main(shlex.split(words)) == 0
    assert json.loads(report.read_text())["results"][1]["mode"] == "Fine-Grained"
    capsys.readouterr()
    assert check_data.main(shlex.split(f"--data {root} --coarse-level 2 --json -")) == 0
    report = json.loads(capsys.readouterr().out)["partitions"]["train"]
    assert report["classes"] == {"coarse": 4, "fine": 6}


def test_families_of_aircraft_are_fine_too(tmp_path):
    made.aircraft(tmp_path)
    config = DataConfig("aircraft", root=str(tmp_path), fine_level="family")
    loaded = config.load("test")
    assert loaded.fine_labels.tolist() == [0, 1, 1, 2] * 2
    assert loaded.coarse_labels.tolist() == [0, 0, 0, 1] * 2
    for levels, words in (
        ({"fine_level": "maker"}, ["'maker'", "family, variant"]),
        ({"fine_level": "family", "coarse_level": "family"}, ["family", "`fine_level`"]),
    ):
        with refuses(*words):
            DataConfig("aircraft", root=str(tmp_path), **levels).load("train")


@pytest.mark.parametrize(
    ("levels", "coarse", "fine"),
    [({"coarse_level": "1", "fine_level": "3"}, 0, 2), ({"fine_level": "2"}, 0, 1)],
)
def test_a_table_of_two_levels_is_read_with_them_and_without(tmp_path, levels, coarse, fine):
    """A run keeps its settings and its table, and the table had no column of theirs."""
    root, table = folder(tmp_path / "own", THREE), tmp_path / "labels.csv"
    shares = DataConfig("folder", root=str(root), val_fraction=0.4, **levels)
    partition_table.write(shares, table)
    told = resolve_data({"labels": str(table)}, asdict(shares))
    assert told.fine_level == levels["fine_level"]
    for config in (told, DataConfig("folder", root=str(root), labels=str(table))):
        for part in ("train", "validation"):
            assert classes(config, part) == classes(shares, part)
    assert classes(shares)[0][0] == NAMES[0][coarse]
    assert set(classes(shares)[1]) <= {way[fine] for way in NAMES}


def test_a_column_that_is_called_as_the_other_level_is_not_mistaken(tmp_path):
    """`coarse` may be the fine classes of a table whose coarse ones are its `kind`."""
    folder(tmp_path / "all", {"x": 9})
    rows = [f"all/x/{n}.png,{'ab'[n % 2]},{'abab'[n % 4]}{n % 4}" for n in range(9)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,kind,coarse", *rows]))
    levels = {"coarse_level": "kind", "fine_level": "coarse"}
    shares = DataConfig("folder", root=str(tmp_path), val_fraction=0.3, **levels)
    partition_table.write(shares, tmp_path / "again.csv")
    told = resolve_data({"labels": str(tmp_path / "again.csv")}, asdict(shares))
    assert classes(told) == classes(shares)
