"""Near duplicates inside and across partitions, and what a report of a folder says of them."""

import json

import numpy as np
from PIL import Image

from ancor.cli import check_data
from ancor.data import repeats
from ancor.data.config import DataConfig
from ancor.data.repeats import find, notes
from tests.refusals import tells


def smooth(number: int, side: int = 64) -> Image.Image:
    """A picture of broad shapes, as photographs have them; another one for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)


def made_folder(root):
    """20 pictures to train on and 12 to test on; 3 of these are there too, and 2 repeat others."""
    for number in range(32):
        part = "train" if number < 20 else "test"
        path = root / part / "ab"[number % 2] / f"{'ab'[number % 2]}{number % 4}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        smooth(number).save(path)
    for number in (20, 21, 22):  # smaller, and as JPEG
        smooth(number).resize((48, 48)).save(root / "train/a/a0" / f"again{number}.jpg", quality=75)
    smooth(0).save(root / "train/a/a2/copy.png")
    lighter = smooth(1).point(lambda value: min(255, int(value * 1.1)))
    lighter.save(root / "train/b/b1/lighter.png")
    return root


def test_pictures_are_found_inside_and_across_partitions(tmp_path):
    data = DataConfig("folder", root=str(made_folder(tmp_path)))
    found = find([data.load("train"), data.load("test")])
    assert found["inside"] == {"train": 2, "test": 0}
    assert found["across"] == {"train, test": 3}
    named = [{image["name"].rpartition("/")[2] for image in group} for group in found["groups"]]
    across = [{f"{number}.png", f"again{number}.jpg"} for number in (20, 21, 22)]
    assert sorted(map(sorted, named[:3])) == sorted(map(sorted, across))
    assert sorted(map(sorted, named[3:])) == [["0.png", "copy.png"], ["1.png", "lighter.png"]]
    for group in found["groups"]:
        for image in group:
            partition = data.load(image["partition"])
            assert partition.images.name(image["index"]) == image["name"]
            assert image["class"] == image["name"].split("/")[-2]
    told = list(notes(found))
    assert len(told) == 2
    assert tells(told[0], "train", "2") or tells(told[1], "train", "2")


def test_a_partition_is_told_whose_groups_are_not_listed(tmp_path, monkeypatch):
    """Larger ones may fill the list, and those across partitions come first."""
    monkeypatch.setattr(repeats, "MOST_LISTED", 1)
    data = DataConfig("folder", root=str(made_folder(tmp_path)))
    found = find([data.load("train"), data.load("test")])
    assert len(found["groups"]) == 1
    told = list(notes(found))
    assert tells(told[0], "'train'", "2")
    assert tells(told[1], "'test'", "3")


def test_nothing_is_found_where_all_differ(tmp_path):
    for number in range(6):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        smooth(number).save(path)
    found = find([DataConfig("folder", root=str(tmp_path)).load("train")])
    assert found == {"inside": {"train": 0}, "across": {}, "groups": []}
    assert list(notes(found)) == []


def test_check_data_looks_for_them_when_asked(tmp_path, capsys):
    root, path = made_folder(tmp_path / "images"), tmp_path / "report.json"
    words = ["--data", str(root), "--n-queries", "1", "--json", str(path)]
    assert check_data.main(words) == 0
    assert json.loads(path.read_text())["duplicates"] is None
    quick = capsys.readouterr().out
    assert check_data.main([*words, "--deep"]) == 0
    deep = capsys.readouterr().out
    assert set(quick.splitlines()) < set(deep.splitlines())
    assert tells(deep, "3 images", "'train'", "'test'")
    assert tells(deep, "'train'", "2 images", "0.png", "copy.png")
    report = json.loads(path.read_text())
    assert report["duplicates"]["inside"]["train"] == 2
    assert report["partitions"]["train"]["modes"] == {"PNG RGB": 22, "JPEG RGB": 3}


def test_coarse_classes_of_one_fine_class_are_named(tmp_path, capsys):
    for coarse, fine in (("a", "a1"), ("a", "a2"), ("lone", "only")):
        for number in range(3):
            path = tmp_path / "train" / coarse / fine / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            smooth(number).save(path)
    check_data.main(["--data", str(tmp_path)])
    assert tells(capsys.readouterr().out, "1 of 2", "'lone'", "one fine class")
