"""Runs: their files, their numbers, and going on where one stopped."""

import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

import ancor
from ancor.checkpoints import checkpoint
from ancor.cli.options import flags_of
from ancor.cli.train import build_parser, main
from ancor.data.config import DataConfig
from ancor.data.registry import DATASETS
from ancor.training import provenance
from ancor.training.batches import EpochBatches
from ancor.training.config import TrainConfig
from ancor.training.progress import Progress
from ancor.training.resolve import resolve
from ancor.training.run_folder import output_directory
from ancor.training.validation import Validator
from tests import made
from tests.cases import slow
from tests.conftest import QUICK, SMALL
from tests.refusals import refused, refuses, tells


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def tensors(path, section: str = "state_dict") -> dict:
    return checkpoint.read(path)[section]


def assert_same_weights(left, right) -> None:
    ours, theirs = tensors(left), tensors(right)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_a_run_leaves_its_files_and_no_others(quick_run):
    names = {path.name for path in quick_run.iterdir()}
    events = {name for name in names if name.startswith("events.out.tfevents.")}
    assert len(events) == 1
    assert names - events == {
        *("config.json", "command.txt", "log.txt", "metrics.jsonl", ".lock"),
        *("last.pth.tar", "previous.pth.tar", "model_best.pth.tar", "checkpoint_0001.pth.tar"),
    }


def test_metrics_hold_a_line_a_print_and_one_an_epoch(quick_run):
    records = lines(quick_run)
    steps = [r for r in records if r["kind"] == "step"]
    epochs = [r for r in records if r["kind"] == "epoch"]
    per_epoch = 1077 // 64
    assert [r["step"] for r in steps] == [5, 10, 16, 21, 26, 32]  # no window is of one step
    assert [r["step"] for r in epochs] == [per_epoch, 2 * per_epoch]
    for record in steps:
        for name in ("loss/cls", "top1/cls", "top5/cst_by_class", "images_per_s", "data_wait"):
            assert math.isfinite(record[name])
        assert 0 <= record["data_wait"] <= 1
    for record in epochs:
        assert 0 < record["validation/5-way"] <= 100
        assert 0 < record["validation/intra-class"] <= 100


def test_losses_fall(quick_run):
    steps = [r for r in lines(quick_run) if r["kind"] == "step"]
    assert steps[-1]["loss/cls"] < 0.7 * steps[0]["loss/cls"]


def test_files_say_what_they_are_and_plain_torch_reads_them(quick_run):
    last = torch.load(quick_run / "last.pth.tar", weights_only=True)
    best = torch.load(quick_run / "model_best.pth.tar", weights_only=True)
    assert last["epoch"] == 2
    assert last["arch"] == best["arch"] == "conv4"
    assert last["config"]["selected_on"] == "validation"
    assert last["config"]["encoder"]["num_classes"] == 3
    assert last["best_accs"] == sorted(last["best_accs"])
    assert last["best_accs"][0] == 0
    assert {name.split(".")[1] for name in last["state_dict"]} == {
        *("encoder_q", "encoder_k", "queue", "queue_ptr"),
    }
    assert {name.split(".")[1] for name in best["state_dict"]} == {"encoder_q"}
    assert {"optimizer", "progress"} <= last.keys()
    assert not {"optimizer", "progress"} & best.keys()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_of_this_package_and_of_no_checkout_around_its_environment(
    tmp_path, monkeypatch
):
    """An environment is often made inside the project that uses it."""

    def git(*words: str) -> str:
        options = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *options, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    installed = tmp_path / "environment" / "provenance.py"
    made.write(tmp_path / "own.png")
    installed.parent.mkdir()
    installed.touch()
    monkeypatch.setattr(provenance, "__file__", str(installed))
    config, _ = resolve({"dataset": "digits", "mode": "coarse"})

    def told() -> str | None:
        provenance.write_configuration(config, tmp_path, torch.device("cpu"))
        return json.loads((tmp_path / "config.json").read_text())["environment"]["git"]

    git("init")
    git("add", "own.png")
    git("commit", "-m", "own")
    assert told() is None
    git("add", ".")
    git("commit", "-m", "all")
    assert told() == git("rev-parse", "HEAD")


def test_queue_holds_what_was_enqueued(quick_run):
    progress = tensors(quick_run / "last.pth.tar", "progress")
    assert sum(progress["enqueued"]) == 32 * 64
    state = tensors(quick_run / "last.pth.tar")
    assert state["module.queue_ptr"].tolist() == [n % 32 for n in progress["enqueued"]]


def test_the_same_command_gives_the_same_weights_whatever_the_workers(quick_run, tmp_path):
    command = [*QUICK, "--epochs", "2", "-j", "1", "--output-dir", str(tmp_path / "again")]
    assert main(command) == 0
    assert_same_weights(quick_run / "last.pth.tar", tmp_path / "again" / "last.pth.tar")


@pytest.mark.parametrize("arch", ["conv4", slow("resnet12forcifar")])
def test_a_resumed_run_ends_in_the_same_weights(arch, tmp_path, monkeypatch):
    digits = DATASETS["digits"]
    few = replace(
        digits, reader=lambda partition: digits.load(partition, None).subset(np.arange(50))
    )
    monkeypatch.setitem(DATASETS, "digits", few)
    common = [*SMALL, "--arch", arch, "-b", "20", "--val-episodes", "0"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*common, "--epochs", "3", "--output-dir", str(whole)]) == 0
    assert main([*common, "--epochs", "2", "--output-dir", str(parts)]) == 0
    # Everything else is known to the file.
    command = ["--resume", str(parts / "last.pth.tar"), "--epochs", "3", "--quiet"]
    assert main([*command, "--precision", "fp32"]) == 0
    assert_same_weights(whole / "last.pth.tar", parts / "last.pth.tar")
    ours, theirs = (tensors(f / "last.pth.tar", "progress") for f in (whole, parts))
    assert ours == theirs
    if arch == "resnet12forcifar":
        assert set(ours["clocks"].values()) == {6}  # three epochs of two steps, in both encoders
        assert len(ours["clocks"]) == 4


def test_config_repeats_a_run(quick_run, tmp_path):
    command = ["--config", str(quick_run / "config.json"), "--quiet", "--precision", "fp32"]
    assert main([*command, "--output-dir", str(tmp_path / "again")]) == 0
    assert_same_weights(quick_run / "last.pth.tar", tmp_path / "again" / "last.pth.tar")


def test_resume_auto_starts_afresh_and_then_goes_on(tmp_path):
    folder = tmp_path / "run"
    command = [*SMALL, "--epochs", "2", "--output-dir", str(folder), "--resume", "auto"]
    command += ["--val-episodes", "0"]
    assert main([*command, "--max-steps", "16"]) == 0
    assert checkpoint.read(folder / "last.pth.tar")["epoch"] == 1
    assert main(command) == 0
    assert checkpoint.read(folder / "last.pth.tar")["epoch"] == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--queue-k", "64"], ["queue_length", "32", "64"]),
        (["--head", "fork", "--metric", "norm"], ["'head'", "'seq'", "'fork'"]),
        (["--dataset", "glyphs"], ["'dataset'", "'digits'", "'glyphs'"]),
        (["--seed", "3"], ["'seed'", "0", "3"]),
    ],
)
def test_a_resumed_run_cannot_change_what_defines_it(quick_run, capsys, flags, words):
    before = (quick_run / "last.pth.tar").read_bytes()
    resumed = ["--resume", str(quick_run / "last.pth.tar"), "--quiet", *flags]
    refused(main, resumed, capsys, *words)
    assert (quick_run / "last.pth.tar").read_bytes() == before


@pytest.mark.parametrize(("flags", "told"), [(["--cos"], True), (["--no-cos"], False)])
def test_a_resumed_run_of_other_epochs_tells_that_its_cosine_is_another(flags, told, tmp_path):
    command = [*SMALL, *flags, "--val-episodes", "0", "--output-dir", str(tmp_path)]
    command += ["--resume", "auto"]
    for step, epochs in (("1", "2"), ("2", "2"), ("3", "5")):
        before = (tmp_path / "log.txt").read_text() if step != "1" else ""
        assert main([*command, "--max-steps", step, "--epochs", epochs]) == 0
        said = (tmp_path / "log.txt").read_text().removeprefix(before)
        assert tells(said, "--cos", "--epochs", "2", "5") == (told and epochs == "5")


def test_coarse_only_files_hold_key_names_at_no_cost(tmp_path):
    folder = tmp_path / "coarse"
    flags = ["--head", "cls", "--queue", "none", "--calc-types", "cls", "--loss-types", "ce"]
    command = [*SMALL, *flags, "--max-steps", "1", "--output-dir", str(folder)]
    assert main(command) == 0
    state = tensors(folder / "last.pth.tar")
    assert "module.encoder_k.fc.weight" in state
    assert "module.queue" not in state
    best = (folder / "model_best.pth.tar").stat().st_size
    # The optimizer's momentum is the only other thing of the encoder's size.
    assert (folder / "last.pth.tar").stat().st_size < 2.2 * best


def test_without_validation_the_last_epoch_is_the_best(tmp_path):
    folder = tmp_path / "run"
    command = [*SMALL, "--epochs", "2", "--val-episodes", "0", "--output-dir", str(folder)]
    assert main(command) == 0
    best = checkpoint.read(folder / "model_best.pth.tar")
    assert (best["epoch"], best["config"]["selected_on"]) == (2, "last")
    assert "No validation" in (folder / "log.txt").read_text()


def test_where_no_epoch_scores_above_0_the_last_is_the_best(tmp_path, monkeypatch):
    """No file named model_best was written, and `ancor.train` had no encoder to return."""
    monkeypatch.setattr(Validator, "__call__", lambda _: {"5-way": (0.0, 0.0)})
    command = [*SMALL, "--epochs", "2", "-s", "1", "-b", "256"]
    assert main([*command, "--output-dir", str(tmp_path)]) == 0
    best = checkpoint.read(tmp_path / "model_best.pth.tar")
    assert (best["epoch"], best["best_accs"]) == (2, [0.0])
    data = ancor.load_dataset("digits", image_size=16)
    encoder = ancor.train(data, epochs=2, batch_size=256, save_freq=1)
    assert encoder.content["epoch"] == 2


def test_kept_epochs_and_a_batch_larger_than_the_set(tmp_path):
    folder = tmp_path / "run"
    command = [*QUICK[:-4], "-b", "5000", "--queue-k", "8", "--epochs", "3", "--keep-epochs", "0"]
    command += [
        "--image-size",
        "16",
        "--val-episodes",
        "0",
        "-s",
        "10",
        "--output-dir",
        str(folder),
    ]
    assert main(command) == 0
    kept = {path.name for path in folder.glob("checkpoint_*")}
    assert kept == {"checkpoint_0000.pth.tar", "checkpoint_0002.pth.tar"}
    assert tells((folder / "log.txt").read_text(), "5000")
    assert [r["step"] for r in lines(folder) if r["kind"] == "epoch"] == [1, 2, 3]


def test_a_loss_that_is_not_finite_ends_the_run_by_name(tmp_path, capsys):
    command = [*SMALL, "--lr", "1e30", "-p", "1", "--output-dir", str(tmp_path / "run")]
    refused(main, command, capsys, "cls", "nan", re.compile(r"step \d"), status=1)


def test_untouched_flags_take_the_datasets_defaults_and_say_so(tmp_path, capsys):
    command = ["--dataset", "digits", "--mode", "coarse", "--max-steps", "1"]
    command += ["--val-episodes", "0", "--batch-size", "32", "--output-dir", str(tmp_path / "r")]
    assert main(command) == 0
    out = capsys.readouterr().out
    defaults = DataConfig("digits").spec.training_defaults
    flags = flags_of(build_parser())
    told = [f"{flags[name]} {value}" for name, value in defaults.items() if name != "batch_size"]
    (notice,) = [line for line in out.splitlines() if tells(line, *told)]
    assert flags["batch_size"] not in notice
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert config["training"]["batch_size"] == 32
    assert config["method"]["queue_length"] == defaults["queue_length"]


@pytest.mark.parametrize("losses", [{}, {"calculators": ("cls",)}])
def test_a_datasets_loss_weights_hold_for_its_own_losses(losses):
    config, taken = resolve({"dataset": "fashion-mnist", "mode": "coarse", **losses})
    own = taken["fashion-mnist's own defaults"]
    assert config.method.loss_weights == (None if losses else (1.0, 0.3))
    assert ("loss_weights" in own) == (not losses)


def test_batches_hold_every_image_once_in_an_order_of_their_epoch():
    batches = EpochBatches(23, 4, seed=1)
    orders = {}
    for epoch in (0, 1):
        batches.epoch = epoch
        requests = [request for batch in batches for request in batch]
        assert {e for e, _ in requests} == {epoch}
        orders[epoch] = [index for _, index in requests]
        assert len(set(orders[epoch])) == 20  # the incomplete batch is dropped
    assert orders[0] != orders[1]
    batches.epoch = 0
    assert [i for batch in batches for _, i in batch] == orders[0]
    assert len(batches) == 5


def test_best_is_strictly_better():
    progress = Progress()
    assert [progress.improves(a) for a in (10.0, 10.0, 9.0, 12.5)] == [True, False, False, True]
    assert progress.best_accs == [0.0, 10.0, 12.5]


def test_more_cycles_than_epochs_keep_the_rate():
    config = TrainConfig(epochs=3, cos=True, num_cycles=10, lr=0.2)
    assert [config.rate(epoch) for epoch in range(3)] == [0.2, 0.2, 0.2]
    assert np.allclose(TrainConfig(schedule=(1,), gamma=0.5, lr=1.0).rate(1), 0.5)


def test_cycles_of_steps_are_of_one_length_and_the_last_ends_with_training():
    config = TrainConfig(epochs=3, warmup_epochs=1.0, cos=True, num_cycles=4, lr=0.2)
    steps = 17  # of an epoch: 34 after the warm-up, which four cycles do not divide
    rates = [config.rate(1 + step // steps, step % steps, steps) for step in range(2 * steps)]
    done = [step * 4 / 34 % 1 for step in range(2 * steps)]
    assert np.allclose(rates, [0.1 * (1 + math.cos(math.pi * part)) for part in done])
    assert sum(after > before for before, after in pairwise(rates)) == 3
    assert rates[-1] < 0.01


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--epochs", "7", "--num-cycles", "2"], ["--num-cycles 2", "7 epochs", "rate 0.3"]),
        (["--epochs", "5", "--num-cycles", "3"], ["--num-cycles 3", "5 epochs", "rate 0.3"]),
        (["--epochs", "6", "--num-cycles", "2"], None),
        (["--epochs", "7", "--num-cycles", "2", "--warmup-epochs", "1"], None),
        (["--epochs", "2", "--rates", "supcontrast"], None),
    ],
)
def test_cycles_that_do_not_fit_the_epochs_are_told(flags, words, tmp_path):
    folder = tmp_path / "run"
    command = [*SMALL, "--cos", "--lr", "0.3", "--val-episodes", "0", "--max-steps", "1"]
    assert main([*command, *flags, "--output-dir", str(folder)]) == 0
    text = (folder / "log.txt").read_text()
    assert tells(text, *words) if words else "--num-cycles" not in text


def test_output_directories_are_numbered_or_refused(tmp_path):
    default = str(tmp_path / "digits-seq-angular")
    assert str(output_directory(None, default, False, False)) == default
    for number in ("", "-2"):
        (tmp_path / f"digits-seq-angular{number}").mkdir()
        (tmp_path / f"digits-seq-angular{number}" / "metrics.jsonl").touch()
    assert str(output_directory(None, default, False, False)) == default + "-3"
    with refuses("`output_dir`", repr(default), "--resume auto", "--overwrite"):
        output_directory(default, "x", False, False)
    assert str(output_directory(default, "x", True, False)) == default
