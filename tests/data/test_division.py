"""Partitions made of training images: shares, copies, tables, and folders as people have them."""

import json
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import ancor
from ancor.cli import check_data, partition, train
from ancor.cli import eval as eval_command
from ancor.data import partition_table
from ancor.data.config import DataConfig
from ancor.data.division import divide
from ancor.errors import MissingPartition
from tests.data.test_duplicates import scene
from tests.refusals import one_line, refused, refuses, tells


def names(part) -> list[str]:
    return [Path(part.images.name(n)).name for n in range(len(part))]


@pytest.mark.parametrize("seed", range(6))
def test_every_class_gives_its_share(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 60, 40)
    labels = rng.permutation(np.repeat(np.arange(40), sizes))
    shares = {"validation": rng.uniform(0.05, 0.4), "test": rng.uniform(0.05, 0.4)}
    found = divide(labels, np.arange(len(labels)), shares, seed)
    for name, share in shares.items():
        given = np.array([(found[labels == label] == name).sum() for label in range(40)])
        assert (np.abs(given - share * sizes) < 1)[sizes > 2].all()
        assert abs(given.sum() - share * sizes.sum()) <= 0.5 + (sizes <= 2).sum()
    assert {label for label in range(40) if "train" in found[labels == label]} == set(range(40))
    again = divide(labels, np.arange(len(labels)), shares, seed)
    other = divide(labels, np.arange(len(labels)), shares, seed + 1)
    assert (again == found).all()
    assert 0 < (other != found).mean() < 0.9


def test_groups_stay_on_one_side_and_shares_hold_all_the_same():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 50)
    groups = np.arange(500)
    for first in rng.choice(500, 60, replace=False):  # also across classes
        groups[rng.choice(500, 2)] = groups[first]
    groups = np.unique(groups, return_inverse=True)[1]
    found = divide(labels, groups, {"validation": 0.2, "test": 0.3}, 0)
    for group in range(groups.max() + 1):
        assert len(set(found[groups == group])) == 1
    for label in range(10):
        counts = Counter(found[labels == label])
        assert (counts["validation"], counts["test"]) == (10, 15)


def test_an_images_side_is_drawn_whatever_its_place_in_its_class():
    found = divide(np.zeros(4000, int), np.arange(4000), {"validation": 0.5}, 0) == "validation"
    halves = found.reshape(4, 1000).mean(axis=1)
    assert np.abs(halves - 0.5).max() < 0.06


def test_another_folder_of_the_same_names_is_looked_at_anew(tmp_path):
    """Sizes of files agree too: they are BMP."""
    parts = []
    for number, alike in enumerate((False, True)):
        for n in range(8):
            path = tmp_path / str(number) / "x" / f"{n}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            scene(100 * number + (0 if alike else n), (40, 36)).save(path)
        data = DataConfig("folder", root=str(tmp_path / str(number)), val_fraction=0.5)
        parts.append(data.load("train"))
    assert [len(part) for part in parts] == [4, 8]  # copies stay on one side


def folder(root: Path, sizes: dict[str, int]) -> Path:
    """Write as many soft pictures into each class folder, no two alike."""
    number = 0
    for name, count in sizes.items():
        (root / name).mkdir(parents=True)
        for _ in range(count):
            scene(number, (40, 36)).save(root / name / f"{number}.png")
            number += 1
    return root


UNEQUAL = {"a/x": 12, "a/y": 2, "a/z": 1, "b/u": 12, "b/v": 12}


def test_a_folder_without_partitions(tmp_path):
    root = folder(tmp_path, UNEQUAL)
    with refuses("'validation'", "`val_fraction`", kind=MissingPartition):
        DataConfig("folder", root=str(root)).load("validation")
    config = DataConfig("folder", root=str(root), val_fraction=0.25, test_fraction=0.25)
    parts = {name: config.load(name) for name in ("train", "validation", "test")}
    every = [name for part in parts.values() for name in names(part)]
    assert sorted(every) == sorted(f"{n}.png" for n in range(39))
    for name, part in parts.items():
        assert part.name == name
        assert part.hierarchy == parts["train"].hierarchy
        assert tells("\n".join(part.notes), "39", f"{len(part)} {name}")
    counts = {n: np.bincount(p.fine_labels, minlength=5).tolist() for n, p in parts.items()}
    assert counts["test"][0] == counts["validation"][3] == 3
    assert min(counts["train"]) >= 1
    assert counts["train"][2] == 1
    other = DataConfig(
        "folder", root=str(root), val_fraction=0.25, test_fraction=0.25, partition_seed=1
    )
    assert names(other.load("test")) != names(parts["test"])


def test_copies_are_on_one_side(tmp_path):
    root = folder(tmp_path, {"a/x": 20, "b/y": 20})
    for number in range(0, 20, 2):  # exact copies under new names, and smaller ones
        (root / "a/x" / f"{number} again.png").write_bytes(
            (root / "a/x" / f"{number}.png").read_bytes()
        )
        scene(number + 20, (40, 36)).resize((30, 27)).save(root / "b/y" / f"{number + 20} s.jpg")
    sides = []
    for seed in range(5):
        config = DataConfig("folder", root=str(root), val_fraction=0.4, partition_seed=seed)
        validation = set(names(config.load("validation")))
        for number in range(0, 20, 2):
            for one, other in (
                (f"{number}.png", f"{number} again.png"),
                (f"{number + 20}.png", f"{number + 20} s.jpg"),
            ):
                assert (one in validation) == (other in validation)
                sides.append(one in validation)
        assert len(validation) == 24
    assert 0.2 < np.mean(sides) < 0.6


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"val_fraction": 1.0}, ["`val_fraction`", "1.0"]),
        ({"test_fraction": 0.0}, ["`test_fraction`", "0.0"]),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, ["0.5", "`test_fraction`"]),
        ({"val_fraction": 0.5, "labels": "x.csv"}, ["`labels`", "'x.csv'", "`val_fraction`"]),
    ],
)
def test_shares_that_will_not_do(settings, words):
    with refuses(*words):
        DataConfig("folder", root=".", **settings)


def test_a_share_of_no_image(tmp_path):
    config = DataConfig("folder", root=str(folder(tmp_path, {"a": 2, "b": 2})), val_fraction=0.1)
    with refuses("`val_fraction`", "0.1", "4", "'validation'", kind=MissingPartition):
        config.load("validation")
    assert len(config.load("train")) == 4


def test_any_dataset_gives_a_share_of_its_training_images():
    own = ancor.load_dataset("digits")
    made = ancor.load_dataset("digits", val_fraction=0.2)
    contents = [own["train"].images.content(n) for n in range(len(own["train"]))]
    parts = [made[name] for name in ("train", "validation")]
    found = [part.images.content(n) for part in parts for n in range(len(part))]
    assert sorted(found) == sorted(contents)
    assert len(parts[1]) == round(0.2 * len(contents))
    counts = np.bincount(parts[1].fine_labels) / np.bincount(own["train"].fine_labels)
    assert np.abs(counts - 0.2).max() < 0.02
    assert made["test"].fingerprint("fine") == own["test"].fingerprint("fine")
    with refuses("`val_fraction`", "validation"):
        ancor.train(own["train"], val_fraction=0.2, epochs=1)


@pytest.mark.slow
def test_cifar100_by_image(real_cifar100):
    config = DataConfig("cifar100", root=str(real_cifar100), val_fraction=0.1)
    train_part, validation = config.load("train"), config.load("validation")
    assert (len(train_part), len(validation)) == (45_000, 5_000)
    assert np.bincount(validation.fine_labels).tolist() == [50] * 100
    seen = {train_part.images.content(n) for n in range(45_000)}
    assert not any(validation.images.content(n) in seen for n in range(5_000))
    assert len(config.load("test")) == 10_000


QUICK = "--mode coarse --arch conv4 --image-size 32 -b 8 --queue-k 8 --max-steps 2 -j 0 --quiet"
EPISODES = "--n-test-runs 2 --n-queries 1 --support-views 5 --n-ways 2"


def test_a_runs_table_says_what_it_trained_on_and_is_read_again(tmp_path, capsys):
    root, run = folder(tmp_path / "own", UNEQUAL), tmp_path / "run"
    shares = f"--data {root} --val-fraction 0.25 --test-fraction 0.25"
    words = f"{shares} {QUICK} --val-episodes 2 --output-dir {run}"
    assert train.main(shlex.split(words)) == 0
    table = run / "labels.csv"
    data = {"dataset": "folder", "root": str(root)}
    drawn = DataConfig(**data, val_fraction=0.25, test_fraction=0.25)
    told = DataConfig(**data, labels=str(table))
    for name in ("train", "validation", "test"):
        one, other = drawn.load(name), told.load(name)
        assert sorted(names(one)) == sorted(names(other))
        fine = [part.hierarchy.fine_names for part in (one, other)]
        labels = [
            {n: names_[label] for n, label in zip(names(part), part.fine_labels, strict=True)}
            for part, names_ in zip((one, other), fine, strict=True)
        ]
        assert labels[0] == labels[1]
    model = f"--model-path {run / 'model_best.pth.tar'} {EPISODES} --partition test"
    reports = []
    for extra in ("", f"--labels {table}"):
        report = tmp_path / "report.json"
        assert eval_command.main(shlex.split(f"{model} {extra} --json {report}")) == 0
        reports.append(json.loads(report.read_text())["results"])
    assert [r["n_ways"] for r in reports[0]] == [r["n_ways"] for r in reports[1]]
    tested = sorted(names(drawn.load("test")))
    capsys.readouterr()
    assert partition.main(shlex.split(shares)) == 0
    one_line(capsys.readouterr().out, "labels.csv", f"{len(tested)} test")
    assert (root / "labels.csv").read_text() == table.read_text()
    assert sorted(names(DataConfig(**data).load("test"))) == tested
    refused(partition.main, shlex.split(shares), capsys, f"'{root}/labels.csv'", "--output")
    elsewhere = shlex.split(f"--data {root} --output {tmp_path / 'x.csv'}")
    refused(partition.main, elsewhere, capsys, "--val-fraction")
    refused(partition.main, ["--val-fraction", "0.1"], capsys, "--data")


def test_shares_that_are_drawn_anew_are_told(tmp_path, capsys):
    root, run = folder(tmp_path / "own", UNEQUAL), tmp_path / "run"
    words = f"--data {root} --val-fraction 0.4 {QUICK} --val-episodes 2 --output-dir {run}"
    assert train.main(shlex.split(words)) == 0
    model = f"--model-path {run / 'model_best.pth.tar'} {EPISODES} --partition validation"
    table = f"{model} --labels {run / 'labels.csv'}"

    def notices(words: str) -> list[str]:
        capsys.readouterr()
        assert eval_command.main(shlex.split(words)) == 0
        return [line for line in capsys.readouterr().out.splitlines() if tells(line, "labels.csv")]

    assert notices(model) == []
    for number in range(100, 110):  # new images, by which others are drawn
        scene(number, (40, 36)).save(root / "a/x" / f"{number}.png")
    (line,) = [line for line in notices(model) if tells(line, "Notice")]
    one_line(line, "model_best.pth.tar'", "--labels")
    assert not [line for line in notices(table) if tells(line, "model_best.pth.tar'")]


FOLDERS = {
    "12, 2 and 1 images a class": (UNEQUAL, True),
    "coarse labels alone": ({"a": 12, "b": 9, "c": 4}, False),
    "200 classes of 3 images": ({f"{n % 20}/{n}": 3 for n in range(200)}, True),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_folders_as_people_have_them(tmp_path, kind, capsys):
    sizes, fine = FOLDERS[kind]
    root, run = folder(tmp_path / "own", sizes), tmp_path / "run"
    shares = f"--data {root} --val-fraction 0.4"
    words = f"{shares} {QUICK.replace('--quiet', '')} --val-episodes 2 --output-dir {run}"
    assert train.main(shlex.split(words)) == 0
    said = capsys.readouterr().out
    assert tells(said, "Best validation accuracy")
    assert tells(said, "coarse classes", "fine labels") != fine
    model = f"--model-path {run / 'model_best.pth.tar'} {EPISODES} --partition validation"
    if fine:
        assert eval_command.main(shlex.split(model)) == 0
    else:
        refused(eval_command.main, shlex.split(model), capsys, "'validation'", "fine", "--mode")
        assert eval_command.main(shlex.split(f"{model} --mode coarse")) == 0
    capsys.readouterr()
    assert check_data.main(shlex.split(f"{shares} --json -")) == 0
    report = json.loads(capsys.readouterr().out)
    parts = report["partitions"]
    total = sum(sizes.values())
    assert parts["train"]["images"] + parts["validation"]["images"] == total
    assert abs(parts["validation"]["images"] - 0.4 * total) <= 2
    assert ("fine" in parts["train"]["classes"]) == fine


def test_without_shares_a_folder_trains_and_the_log_says_how_to_validate(tmp_path, capsys):
    root = folder(tmp_path / "own", UNEQUAL)
    words = f"--data {root} {QUICK.replace('--quiet', '')} --output-dir {tmp_path / 'run'}"
    assert train.main(shlex.split(words)) == 0
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if tells(line, "No validation")]
    assert tells(line, "--val-fraction", "--test-fraction")
    assert "`" not in line  # the name of a setting that this command has no flag of
    assert not (tmp_path / "run" / "labels.csv").exists()


@pytest.mark.parametrize("place", ["missing", " "])
def test_a_table_makes_no_folder_of_images(tmp_path, monkeypatch, place, capsys):
    """A path with a slip in it became a folder."""
    monkeypatch.chdir(tmp_path)
    command = ["--data", place, "--val-fraction", "0.2"]
    refused(partition.main, command, capsys, "labels.csv", "--data", "--output")
    assert list(tmp_path.iterdir()) == []


def test_a_table_holds_the_partitions_that_are_not_divided_too(tmp_path, capsys):
    """Once a labels.csv is there no folder of a partition is read: `test` was gone."""
    sizes = {"train/a": 8, "train/b": 8, "test/a/x": 3, "test/b/y": 4, "val/a/x": 2}
    root = folder(tmp_path / "own", sizes)
    before = DataConfig("folder", root=str(root)).load("test")
    assert partition.main(shlex.split(f"--data {root} --val-fraction 0.25")) == 0
    one_line(capsys.readouterr().out, "4 validation", "7 test", "12 train")
    after = DataConfig("folder", root=str(root)).load("test")
    assert sorted(names(after)) == sorted(names(before))
    assert after.hierarchy.fine_names == before.hierarchy.fine_names == ("x", "y")
    assert np.bincount(after.fine_labels).tolist() == [3, 4]
    assert DataConfig("folder", root=str(root)).load("train").fine_labels is None


def test_a_partition_that_cannot_be_read_is_told_to_be_left_out(tmp_path, caplog):
    root = folder(tmp_path / "own", {"train/a": 4, "train/b": 4, "test/a/x": 3})
    (root / "test/b/empty").mkdir(parents=True)
    caplog.set_level("INFO", "ancor")
    config = DataConfig("folder", root=str(root), val_fraction=0.25)
    counts = partition_table.write(config, tmp_path / "labels.csv")
    assert counts == {"train": 6, "validation": 2}
    (line,) = caplog.messages
    one_line(line, "Notice", "'test'", "empty")
