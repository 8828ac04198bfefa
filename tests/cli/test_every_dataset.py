"""train.py and eval.py, from end to end, on a made tree of every kind of data."""

import json
import shlex

import pytest
import torch

from ancor.cli import eval as eval_command
from ancor.cli import train as train_command
from ancor.data.datasets.breeds_classes import SPLITS, known_table
from tests import made
from tests.checkpoints.test_state_dicts import VALUE, paper_file, room_for_models_of_one_number  # noqa: F401
from tests.refusals import refused, tells

TRAINING = "--arch conv4 --image-size 32 -b 8 --queue-k 8 --max-steps 2 --cst-dim 16 -j 0"
EVALUATION = "--n-test-runs 2 --n-queries 1 --support-views 5 --n-ways 2"


def train(folder, arguments: str, mode: str = "coarse") -> None:
    words = shlex.split(f"--mode {mode} {TRAINING} {arguments}")
    assert train_command.main([*words, "--output-dir", str(folder)]) == 0


def evaluate(folder, arguments: str = "") -> dict:
    """Evaluate a run's model and return the first result."""
    report = folder / "report.json"
    words = shlex.split(f"{EVALUATION} {arguments} --json {report}")
    model = folder / "model_best.pth.tar"
    assert eval_command.main(["--model_path", str(model), *words]) == 0
    return json.loads(report.read_text())["results"][0]


def imagenet(root, name: str, split: str | None = None) -> str:
    table = known_table(name, split)
    made.imagenet(root, sorted({w for row in (*table.source, *table.target) for w in row}))
    return str(root)


@pytest.mark.parametrize("split", [None, *SPLITS])
def test_living17(tmp_path, split):
    root = imagenet(tmp_path / "ImageNet", "living17", split)
    flag = f"--split {split}" if split else ""
    train(tmp_path / "run", f"--dataset living17 --data {root} {flag}")
    content = torch.load(tmp_path / "run" / "model_best.pth.tar", weights_only=True)
    assert content["config"]["encoder"]["num_classes"] == 17
    assert content["config"]["data"]["split"] == split
    assert evaluate(tmp_path / "run", "--fg")["n_ways"] == 2


@pytest.mark.slow
def test_entity13(tmp_path):
    root = imagenet(tmp_path / "ImageNet", "entity13")
    train(tmp_path / "run", f"--dataset entity13 --data {root}")
    assert evaluate(tmp_path / "run")["episodes"] == 2


@pytest.mark.parametrize("dataset", ["tiered", "cifar100", "aircraft"])
def test_published_set(tmp_path, dataset):
    getattr(made, dataset)(tmp_path / "data")
    level = "--coarse-level family" if dataset == "aircraft" else ""
    train(tmp_path / "run", f"--dataset {dataset} --data {tmp_path / 'data'} {level}")
    for partition in ("validation", "test"):
        assert evaluate(tmp_path / "run", f"--partition {partition}")["n_ways"] == 2


def own_images(root, train_fine: bool = False, bare: bool = False, evaluated: bool = True):
    """Two coarse classes with two fine ones each, three images a fine class."""
    for number in range(12):
        coarse, fine = f"animal {number % 2}", f"kind {number % 4}"
        inside = f"{coarse}/{fine}" if train_fine else coarse
        made.write(root / ("" if bare else "train") / inside / f"{number}.jpg", number, (40, 30))
        if evaluated:
            made.write(root / "val" / coarse / fine / f"{number}.png", 50 + number, (40, 30))
    return root


def labels_csv(root, fine: bool = True):
    rows = ["path,coarse,fine,partition" if fine else "path,coarse"]
    for number in range(24):
        made.write(root / f"{number}.png", number, (40, 30))
        part = "train" if number % 2 else "val"
        row = f"{number}.png,animal {number // 2 % 2}"
        rows.append(f"{row},kind {number // 2 % 4},{part}" if fine else row)
    (root / "labels.csv").write_text("\n".join(rows))
    return root


FORMS = {
    "coarse training folders": lambda root: own_images(root),
    "fine training folders": lambda root: own_images(root, train_fine=True),
    "labels.csv": lambda root: labels_csv(root),
}


@pytest.mark.parametrize("form", FORMS)
def test_own_images(tmp_path, form, capsys):
    root = FORMS[form](tmp_path / "data")
    broken = tmp_path / "data" / "3.png" if form == "labels.csv" else next(root.rglob("train/*/*"))
    if broken.is_file():
        broken.write_bytes(b"")
    skip = f"--dataset folder --data {root} --skip-bad-images"
    train(tmp_path / "run", skip)
    assert tells(capsys.readouterr().out, "1 images") == broken.is_file()
    assert evaluate(tmp_path / "run")["n_ways"] == 2


@pytest.mark.parametrize("form", ["no partitions", "train alone", "labels.csv"])
def test_coarse_labels_alone_are_enough_to_train(tmp_path, form, capsys):
    if form == "labels.csv":
        root = labels_csv(tmp_path / "data", fine=False)
    else:
        bare = form == "no partitions"
        root = own_images(tmp_path / "data", bare=bare, evaluated=False)
    train(tmp_path / "run", f"--dataset folder --data {root}")
    assert "No validation" in capsys.readouterr().out
    model = str(tmp_path / "run" / "model_best.pth.tar")
    flags = ["--model_path", model, "--partition", "train"]
    refused(eval_command.main, flags, capsys, "'train'", "--mode coarse")


def test_fine_labels_where_there_are_none_are_refused(tmp_path, capsys):
    root = own_images(tmp_path / "data", evaluated=False)
    words = shlex.split(f"--mode fine {TRAINING} --dataset folder --data {root}")
    words += ["--output-dir", str(tmp_path / "run")]
    refused(train_command.main, words, capsys, "'train'", "--mode coarse")


PAPER = (
    "--model resnet50 --num_workers 10 --model_path {file} --dataset living17 --data_root {root} "
    "--mode fine --head seq --partition validation --only-base"
)
SMALL = " --num_workers 0 --image-size 32 --n_test_runs 2 --n_queries 1"
SMALL += " --n_aug_support_samples 1 --support-views 1"


def test_the_papers_command_on_the_papers_file(tmp_path, capsys):
    root = imagenet(tmp_path / "ImageNet", "living17")
    file = paper_file(tmp_path / "x.pth.tar", "resnet50/seq/multi/mlp")
    assert eval_command.main(shlex.split(PAPER.format(file=file, root=root) + SMALL)) == 0
    out = capsys.readouterr().out
    for line in ("Mode: N-Way", "Mode: All-Way", "Partition: validation Accuracy: "):  # the paper's
        assert line in out


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (("--dataset living17", ""), ["--dataset", "digits"]),
        (("--model resnet50", "--arch resnet18"), ["--arch resnet18", "x.pth.tar'", "resnet50"]),
        (("--only-base", "--no-only-base --dim 64"), ["--dim 64", "x.pth.tar'", "128"]),
        (("--only-base", "--no-only-base --head fork"), ["--head fork", "x.pth.tar'", "seq"]),
    ],
)
def test_what_a_published_file_does_not_tell_or_contradicts(tmp_path, changed, words, capsys):
    file = paper_file(tmp_path / "x.pth.tar", "resnet50/seq/multi/mlp")
    command = PAPER.format(file=file, root=tmp_path).replace(*changed)
    refused(eval_command.main, shlex.split(command), capsys, *words)


def test_head_and_dim_do_not_matter_to_backbone_features(tmp_path, capsys):
    made.cifar100(tmp_path / "data")
    file = paper_file(tmp_path / "x.pth.tar", "resnet12forcifar/none/single/mlp")
    words = f"--model_path {file} --model resnet12forcifar --head cls --dim 64 --dataset cifar100"
    assert (
        eval_command.main(shlex.split(f"{words} --data {tmp_path / 'data'} {EVALUATION} --fg")) == 0
    )
    assert capsys.readouterr().out.count("Notice: --") == 2


def test_training_starts_from_a_published_file(tmp_path):
    made.cifar100(tmp_path / "data", images=1)
    file = paper_file(tmp_path / "x.pth.tar", "resnet12/seq/multi/mlp")
    options = f"--dataset cifar100 --data {tmp_path / 'data'} --arch resnet12 --init-from {file}"
    train(tmp_path / "run", f"{options} -b 4 --max-steps 1 --lr 1e-9 --val-episodes 0")
    content = torch.load(tmp_path / "run" / "model_best.pth.tar", weights_only=True)
    weight = content["state_dict"]["module.encoder_q.layer1.0.conv1.weight"]
    assert torch.allclose(weight, torch.full_like(weight, VALUE))
    assert content["config"]["training"]["pretrained"] == file
