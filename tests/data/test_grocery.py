"""Grocery Store: the authors' layout, made and real, and the commands on it."""

import json
import shlex
import subprocess

import numpy as np
import pytest

from ancor.cli import check_data, predict, train, tsne
from ancor.cli import eval as eval_command
from ancor.data.config import DataConfig
from ancor.data.datasets import grocery
from ancor.data.episodes import EpisodeSampler, Protocol
from ancor.data.guess import guess
from tests import made
from tests.pretrained import LITE0, WEIGHTS
from tests.refusals import refuses
from tests.shared import needs_shared, shared


def load(root, partition: str = "train"):
    return DataConfig("grocery", root=str(root)).load(partition)


@pytest.mark.parametrize("inside", ["", "dataset", "GroceryStoreDataset/dataset"])
def test_the_authors_layout(tmp_path, inside):
    made.grocery(tmp_path / inside)
    for name, fine in (
        ("train", [0, 1, 2, 3, 4]),
        ("validation", [0, 1, 3, 4]),
        ("test", [0, 1, 2, 3, 4]),
    ):
        loaded = load(tmp_path, name)
        assert loaded.fine_labels.tolist() == np.repeat(fine, 4).tolist()
        assert (
            loaded.coarse_labels.tolist()
            == np.repeat([[0, 0, 1, 2, 2][f] for f in fine], 4).tolist()
        )
        assert loaded.hierarchy.fine_names == tuple(made.GROCERIES)
        assert loaded.hierarchy.coarse_names == ("Apple", "Banana", "Milk")
    last = tmp_path / inside / "test/Packages/Milk" / list(made.GROCERIES)[4]
    assert loaded.images.name(19) == str(last / f"{last.name}_004.jpg")
    assert guess(str(tmp_path))[0] == "grocery" or inside.startswith("Grocery")
    assert DataConfig("grocery").transforms.augmentation().startswith("crops:")


def test_images_keep_the_order_of_a_list_that_changes_folders(tmp_path):
    made.grocery(tmp_path)
    path = tmp_path / "test.txt"
    lines = path.read_text().splitlines()
    order = np.random.default_rng(0).permutation(len(lines))
    path.write_text("\n".join(lines[n] for n in order))
    loaded = load(tmp_path, "test")
    assert loaded.fine_labels.tolist() == (order // 4).tolist()
    for place, line in enumerate(order.tolist()):
        assert loaded.images.name(place).endswith(lines[line].split(",")[0])


def test_a_kind_of_one_product_is_in_all_episodes_but_intra_class_ones(tmp_path):
    made.grocery(tmp_path)
    sampler = EpisodeSampler.of(load(tmp_path, "test"), "fine")
    few, intra = Protocol(5, n_queries=2), Protocol(5, n_queries=2, intra_class=True)
    assert sampler.draw(few, 0).classes.tolist() == [0, 1, 2, 3, 4]
    drawn = {frozenset(sampler.draw(intra, number).classes.tolist()) for number in range(30)}
    assert drawn == {frozenset({0, 1}), frozenset({3, 4})}


APPLE = "train/Fruit/Apple/Golden-Delicious/Golden-Delicious_001.jpg"


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("train.txt", f"{APPLE}, 0, 0", f"{APPLE}, 0, 2", ["train.txt'", "0", "2", "classes.csv"]),
        ("train.txt", f"{APPLE}, 0, 0", f"{APPLE}, 81, 0", ["train.txt'", "81"]),
        ("train.txt", f"{APPLE}, 0, 0", f"{APPLE}, 0", ["train.txt'", f"{APPLE}, 0"]),
        ("train.txt", f"{APPLE}, 0, 0", f"{APPLE}, x, 0", ["train.txt'", "x"]),
        ("train.txt", APPLE, "train/../../x.jpg", ["train.txt'", "'train/../../x.jpg'"]),
        ("train.txt", APPLE, "/etc/x.jpg", ["train.txt'", "'/etc/x.jpg'"]),
        ("train.txt", APPLE, "train/none.jpg", ["train.txt'", "'train/none.jpg'", grocery.ADDRESS]),
        ("classes.csv", "Class ID (int)", "Number", ["classes.csv'", "'Number'"]),
        ("classes.csv", ",4,Milk,2,", ",5,Milk,2,", ["classes.csv'", "5"]),
        ("classes.csv", ",4,Milk,2,", ",3,Milk,2,", ["classes.csv'", "3"]),
        ("classes.csv", ",4,Milk,2,", ",4,Cheese,2,", ["classes.csv'", "2"]),
        ("classes.csv", ",4,Milk,2,", ",4,Milk,two,", ["classes.csv'", "two"]),
    ],
)
def test_files_that_are_wrong(tmp_path, file, old, new, words):
    made.grocery(tmp_path)
    path = tmp_path / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with refuses(*words):
        load(tmp_path)


def test_an_empty_table_and_a_missing_list(tmp_path):
    made.grocery(tmp_path)
    (tmp_path / "classes.csv").write_text("")
    with refuses("classes.csv'"):
        load(tmp_path)
    (tmp_path / "val.txt").unlink()
    with refuses(grocery.ADDRESS, "`download`", "val.txt"):
        load(tmp_path)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository of the authors' layout, in place of theirs."""
    home = tmp_path / "theirs"
    made.grocery(home / "dataset")
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "all"]):
        subprocess.run(["git", *words], cwd=home, check=True)
    monkeypatch.setattr(grocery, "ADDRESS", home.as_uri())
    return home


def test_download_by_git(tmp_path, repository):
    root = tmp_path / "new" / "place"
    config = DataConfig("grocery", root=str(root), download=True)
    assert len(config.load("test")) == 20
    assert [path.name for path in root.iterdir()] == [grocery.CLONE]
    assert len(config.load("train")) == 20  # nothing is fetched again
    (root / grocery.CLONE / "dataset" / "test.txt").unlink()
    with refuses(grocery.CLONE, "`root`"):
        config.load("test")


def test_a_download_that_fails_says_the_address_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(grocery, "ADDRESS", (tmp_path / "nowhere").as_uri())
    with refuses(grocery.ADDRESS, "git clone", "r"):
        DataConfig("grocery", root=str(tmp_path / "r"), download=True).load("train")
    assert list((tmp_path / "r").iterdir()) == []
    monkeypatch.setenv("PATH", "")
    with refuses(grocery.ADDRESS, "git", "grocery"):
        DataConfig("grocery", root=str(tmp_path / "r"), download=True).load("train")
    with refuses("`download`", "`root`"):
        DataConfig("grocery", download=True).load("train")


@needs_shared("grocery")
def test_the_real_files():
    partitions = {name: load(shared("grocery"), name) for name in ("train", "validation", "test")}
    assert {name: len(each) for name, each in partitions.items()} == {
        "train": 2640,
        "validation": 296,
        "test": 2485,
    }
    hierarchy = partitions["train"].hierarchy
    assert (hierarchy.num_fine, hierarchy.num_coarse) == (81, 43)
    assert len(set(hierarchy.fine_names)) == 81
    several = np.bincount(hierarchy.coarse_of_fine)
    named = {hierarchy.coarse_names[c]: int(n) for c, n in enumerate(several) if n > 1}
    assert len(named) == 12
    assert {name: named[name] for name in ("Juice", "Milk", "Yoghurt", "Apple")} == {
        "Juice": 10,
        "Milk": 6,
        "Yoghurt": 6,
        "Apple": 5,
    }
    sampler = EpisodeSampler.of(partitions["test"], "fine")
    assert len(sampler.families(Protocol(intra_class=True))) == 12
    assert len(sampler.draw(Protocol(1000), 0).classes) == 81
    coarse = np.bincount(partitions["train"].coarse_labels)
    assert (coarse.min(), coarse.max()) == (16, 278)
    validated = np.bincount(partitions["validation"].fine_labels, minlength=81)
    assert ((validated > 0).sum(), validated.max()) == (60, 6)
    assert min(partitions["test"].images[0].size) == 256


def small_part(root) -> None:
    """Copy five products of the real set, six images a list, or draw them where it lacks."""
    if not shared("grocery").exists():
        made.grocery(root, 6)
        return
    names = ("Golden-Delicious", "Granny-Smith", "Banana", "Arla-Standard-Milk", "Satsumas")
    source = shared("grocery/dataset")
    root.mkdir()
    (root / "classes.csv").write_bytes((source / "classes.csv").read_bytes())
    for split in ("train", "val", "test"):
        lines = (source / f"{split}.txt").read_text().splitlines()
        kept = [line for name in names for line in lines if f"/{name}/" in line]
        kept = [line for line in kept if int(line.split(",")[0][-7:-4]) <= 6]
        (root / f"{split}.txt").write_text("\n".join(kept) + "\n")
        for line in kept:
            path = root / line.split(",")[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((source / line.split(",")[0]).read_bytes())


def run(command, words: str, capsys) -> str:
    capsys.readouterr()
    assert command.main(shlex.split(words)) == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_every_command_with_a_pretrained_backbone(tmp_path, capsys):
    root, folder = tmp_path / "data", tmp_path / "run"
    small_part(root)
    data, report = f"--data {root}", tmp_path / "report.json"
    out = run(
        train,
        f"{data} --mode coarse --arch {LITE0} --pretrained {WEIGHTS} --image-size 64 -b 8 "
        f"--queue-k auto --max-steps 2 --val-episodes 4 -j 0 --output-dir {folder}",
        capsys,
    )
    assert "'grocery'" in out
    model = folder / "model_best.pth.tar"
    words = "--n-test-runs 3 --n-queries 2 --support-views 5"
    run(eval_command, f"--model-path {model} {words} --partition test --fg --json {report}", capsys)
    five, intra = json.loads(report.read_text())["results"]
    assert (five["n_ways"], intra["mode"]) == (5, "Fine-Grained")
    assert five["accuracy"] > 40  # weights that were read; chance is 20
    run(
        eval_command,
        f"--arch {LITE0} --pretrained {WEIGHTS} --dataset grocery {data} {words}",
        capsys,
    )
    run(tsne, f"--model-path {model} --n-queries 2 --output-dir {tmp_path / 'maps'}", capsys)
    assert list((tmp_path / "maps").rglob("*.png"))
    support = tmp_path / "support"
    for name in ("Golden-Delicious", "Banana"):
        (support / name).mkdir(parents=True)
        for path in sorted((root / "train").rglob(f"{name}_*.jpg"))[:2]:
            (support / name / path.name).write_bytes(path.read_bytes())
    queries = sorted((root / "test").rglob("Banana_*.jpg"))[:2]
    named = " ".join(map(str, queries))
    out = run(predict, f"--model-path {model} --support {support} --query {named}", capsys)
    assert out.count("Banana") >= 2
    checked = run(check_data, f"{data} --json -", capsys)
    found = json.loads(checked)
    assert found["problems"] == []
    assert found["partitions"]["train"]["images"] == 30
