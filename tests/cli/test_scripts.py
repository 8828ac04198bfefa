"""The scripts as a user meets them: their words, their exit status, their bad moods."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ancor.cli import eval, train, tsne
from ancor.evaluation import classifiers
from ancor.evaluation.config import CLASSIFIERS
from tests.cases import first_quick
from tests.conftest import SMALL
from tests.refusals import one_line, refused, tells

ROOT = Path(__file__).parents[2]
MAINS = {"train.py": train.main, "eval.py": eval.main, "tsne.py": tsne.main}
TRAIN = ["--dataset", "digits", "--mode", "coarse", "--output-dir"]
EVAL = ["--n_test_runs", "4", "--partition", "test", "--model_path"]


@pytest.mark.parametrize("script", MAINS)
def test_help_is_grouped_and_ends_with_a_command(script):
    shown = subprocess.run(
        [sys.executable, ROOT / script, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert shown.rstrip().splitlines()[-1].strip().startswith(f"python {script}")
    assert "data:" in shown
    assert "(default:" in shown


@pytest.mark.parametrize("statement", ["import ancor", "import ancor.cli.train"])
def test_imports_that_have_to_be_quick_leave_torch_alone(statement):
    code = f"import sys; {statement}; print('torch' in sys.modules, 'numpy' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert shown.stdout.split() == ["False", "False"], shown.stderr


SLOW = (
    "torchvision torch._dynamo timm bokeh tensorboard sklearn scipy.special scipy.stats robustness"
)
MISSING = ["--model-path", "nothing"]
STARTS = {
    "train": (["--dataset", "digits", "--mode", "coarse", "--resume", "nothing"], "matplotlib"),
    "eval": ([*MISSING, "--dataset", "digits"], "matplotlib"),
    "tsne": ([*MISSING, "--dataset", "digits"], ""),
    "predict": ([*MISSING, "--support", ".", "--query", __file__], "matplotlib"),
    "search": ([*MISSING, "--gallery", ".", "--query", __file__], "matplotlib"),
}


@pytest.mark.parametrize("command", first_quick(STARTS))
def test_what_takes_long_to_import_is_not_imported_before_it_is_needed(command, tmp_path):
    """The file is missing, so the command ends when it has imported what every run needs."""
    args, others = STARTS[command]
    unwanted = {*SLOW.split(), *others.split()}
    code = (
        "import sys; from ancor.__main__ import main\n"
        f"print(main({[command, *args]}), 'torch' in sys.modules, *{{*sys.modules}} & {unwanted})"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert shown.stdout.split()[-2:] == ["2", "True"], shown.stdout + shown.stderr
    assert "'nothing'" in shown.stderr


def test_each_classifier_that_can_be_named_is_of_one_kind():
    kinds = [*classifiers.PROBABILISTIC, *classifiers.NEAREST, *classifiers.SCORED]
    assert sorted(CLASSIFIERS) == sorted(kinds)


BAD_TRAINING = {
    "unknown dataset": (["--dataset", "mnist"], ["'mnist'", "digits"]),
    "missing files": (["--dataset", "fashion-mnist", "--data", "/nowhere"], ["/nowhere"]),
    "unknown loss": (["--loss-types", "ce", "cosine"], ["--loss-types cosine", "ce"]),
    "unknown mode": (["--mode", "medium"], ["'medium'", "coarse, fine"]),
    "unknown backbone": (["--arch", "vgg"], ["'vgg'", "conv4"]),
    "unknown head": (["--head", "two"], ["'two'", "seq"]),
    "no GPU of that number": (["--gpu", "97"], ["--gpu 97"]),
    "no such device": (["--device", "tpu"], ["'tpu'", "cuda"]),
    "two devices": (["--device", "cpu", "--gpu", "0"], ["--device cpu", "--gpu 0"]),
    "fp16 without CUDA": (["--device", "cpu", "--precision", "fp16"], ["fp16", "bf16"]),
    "batch of 0": (["--batch-size", "0"], ["--batch-size 0", "1"]),
    "rate nan": (["--lr", "nan"], ["--lr nan"]),
    "rate 0": (["--lr", "0"], ["--lr 0"]),
    "rate of no number": (["--lr", "fast"], ["--lr", "'fast'"]),
    "queue beyond memory": (["--queue-k", "9000000000"], ["--queue-k 9000000000", "MB"]),
    "queue of a word": (["--queue-k", "long"], ["--queue-k long", "1", "auto", "class"]),
    "frozen by a word": (["--freeze", "some"], ["--freeze some", "0", "all"]),
    "queue of nothing": (["--queue-k", "0"], ["--queue-k 0"]),
    "temperature 0": (["--cst-t", "0"], ["--cst-t 0"]),
    "momentum of 2": (["--encoder-m", "2"], ["--encoder-m 2"]),
    "embedding of 0": (["--cst-dim", "0"], ["--cst-dim 0"]),
    "meaningless": (["--head", "fork"], ["cst_by_class", "--metric norm"]),
    "missing checkpoint": (["--resume", "/nowhere/last.pth.tar"], ["/nowhere/last.pth.tar"]),
    "missing config": (["--config", "/nowhere/config.json"], ["/nowhere/config.json"]),
    "unknown flag": (["--speed", "9"], ["--speed"]),
    "one validation episode": (["--val-episodes", "1"], ["--val-episodes 1"]),
    "crop of nothing": (["--crop-scale", "0", "1"], ["--crop-scale 0.0 1.0"]),
    "crop from large to small": (["--crop-scale", "1", "0.5"], ["--crop-scale 1.0 0.5"]),
    "crop that is no number": (["--crop-scale", "nan", "1"], ["--crop-scale nan 1.0"]),
    "pictures every -1 epochs": (["--figure-freq", "-1"], ["--figure-freq -1", "0"]),
    "weights of some losses": (["--loss-weights", "1"], ["--loss-weights 1.0", "--calc-types"]),
    "negative start": (["--start-epoch", "-1"], ["--start-epoch -1"]),
    "start at the end": (["--start-epoch", "20"], ["--start-epoch 20", "0 to 19"]),
}


@pytest.mark.parametrize("name", BAD_TRAINING)
def test_bad_input_to_training_is_one_line_and_writes_nothing(name, tmp_path, capsys):
    flags, words = BAD_TRAINING[name]
    folder = tmp_path / "run"
    refused(train.main, [*TRAIN, str(folder), *flags], capsys, *words)
    assert not folder.exists()


def test_training_needs_a_mode(tmp_path, capsys):
    flags = ["--dataset", "digits", "--output-dir", str(tmp_path / "r")]
    refused(train.main, flags, capsys, "--mode")


def test_unwritable_output_directory_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    refused(train.main, [*TRAIN, str(tmp_path / "file" / "run")], capsys, "file/run")


def test_overwrite_without_a_folder_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train.main([*SMALL, "--overwrite", "--max-steps", "1", "--val-episodes", "0"]) == 0
    (log,) = tmp_path.rglob("log.txt")
    assert tells(log.read_text(), "--overwrite", "--output-dir")


def test_a_taken_output_directory_is_refused_and_kept(quick_run, capsys):
    before = (quick_run / "last.pth.tar").read_bytes()
    refused(train.main, [*TRAIN, str(quick_run)], capsys, "--resume auto", "--overwrite")
    assert (quick_run / "last.pth.tar").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "foreign"])
@pytest.mark.parametrize("script", ["train.py", "eval.py"])
def test_foreign_files_are_refused_by_name(script, content, tmp_path, capsys):
    path = tmp_path / "x\ny.pth.tar"  # repr keeps the line one line
    if content == "foreign":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        path.write_bytes(content)
    flags = [*TRAIN, str(tmp_path / "r"), "--resume"] if script == "train.py" else EVAL
    refused(MAINS[script], [*flags, str(path)], capsys, r"x\ny.pth.tar")


def test_an_encoder_alone_is_nothing_to_resume(quick_run, capsys):
    flags = ["--resume", str(quick_run / "model_best.pth.tar"), "--quiet"]
    refused(train.main, flags, capsys, "last.pth.tar")


BAD_EVALUATION = {
    "unknown classifier": (["--cls", "SVM"], ["'SVM'", "LR"]),
    "unknown partition": (["--partition", "dev"], ["'dev'", "test"]),
    "too many shots": (
        ["--n_shots", "20", "--equal-queries"],
        ["'1'", "28", "'2'", "26", "35"],
    ),
    "more shots than images": (["--n_shots", "500"], ["0 of 10", "501"]),
    "one way": (["--n_ways", "1"], ["--n-ways", "1", "2"]),
    "classes of one level": (["--mode", "coarse", "--fg"], ["3 coarse classes"]),
    "no ways": (["--n_ways", "0"], ["--n-ways 0"]),
    "one episode": (["--n_test_runs", "1"], ["--n-test-runs 1", "2"]),
    "too few views": (["--support-views", "3"], ["--support-views 3", "5"]),
    "another backbone": (["--model", "resnet50"], ["resnet50", "conv4"]),
    "another head": (["--head", "cls", "--no-only-base"], ["cls", "seq"]),
    "unwritable report": (["--json", "/proc/none/r.json"], ["/proc/none/r.json"]),
}


@pytest.mark.parametrize("name", BAD_EVALUATION)
def test_bad_input_to_evaluation_is_one_line(name, quick_run, capsys):
    flags, words = BAD_EVALUATION[name]
    refused(eval.main, [*EVAL, str(quick_run / "last.pth.tar"), *flags], capsys, *words)


def test_debug_shows_the_traceback(capsys):
    assert eval.main(["--debug", "--model_path", "/nowhere"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_evaluation_prints_the_papers_lines_and_writes_what_it_printed(quick_run, tmp_path, capsys):
    report, table = tmp_path / "out" / "r.json", tmp_path / "r.csv"
    command = [*EVAL, str(quick_run / "model_best.pth.tar"), "--untrained"]
    assert eval.main([*command, "--json", str(report), "--csv", str(table)]) == 0
    out = capsys.readouterr().out
    content = json.loads(report.read_text())
    printed = re.findall(
        r"Mode: (.+)\nPartition: test Accuracy: ([\d.]+) ± ([\d.]+), Time: [\d.]+\n", out
    )
    assert [line[0] for line in printed] == ["N-Way", "All-Way"]
    for line, result in zip(printed, content["results"], strict=True):
        assert line[1:] == (f"{result['accuracy']:.2f}", f"{result['ci95']:.2f}")
        assert (result["episodes"], result["n_shots"], result["n_queries"]) == (4, 1, 15)
        assert "gain" in result["untrained"]
    assert [r["n_ways"] for r in content["results"]] == [5, 10]
    assert len(content["checkpoint"]["sha256"]) == len(content["episodes_sha256"]) == 64
    assert content["checkpoint"]["selected_on"] == "validation"
    assert len(table.read_text().splitlines()) == 1 + 8


def test_the_same_evaluation_gives_the_same_digits(quick_run, tmp_path):
    contents = []
    for name, flags in (("a", []), ("b", ["--num_workers", "1", "--test_batch_size", "100"])):
        path = tmp_path / name
        command = [*EVAL, str(quick_run / "last.pth.tar"), "--json", str(path), "--fg", *flags]
        assert eval.main(command) == 0
        results = json.loads(path.read_text())["results"]
        contents.append([{k: v for k, v in r.items() if k != "seconds"} for r in results])
    assert contents[0] == contents[1]


def test_choosing_and_evaluating_on_one_partition_is_said(quick_run, capsys):
    model = str(quick_run / "model_best.pth.tar")
    eval.main(["--model_path", model, "--n_test_runs", "2", "--partition", "validation"])
    assert "flatters" in capsys.readouterr().out
    eval.main(["--model_path", model, "--n_test_runs", "2", "--partition", "test"])
    assert "flatters" not in capsys.readouterr().out


def test_the_papers_evaluation_flags_run(quick_run, capsys):
    """The paper's command line, with other names: a head that differs matters not to backbones."""
    command = (
        f"--model conv4 --num_workers 0 --model_path {quick_run / 'last.pth.tar'} --dataset digits "
        "--mode fine --head cls --partition validation --only-base --n_test_runs 2"
    )
    assert eval.main(command.split()) == 0
    assert tells(capsys.readouterr().out, "--head cls")


@pytest.mark.parametrize(
    "flags", first_quick([[], ["--mode", "coarse", "--n_ways", "3"], ["--no-only-base"]])
)
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_every_classifier_beats_chance(classifier, flags, quick_run, tmp_path):
    path = tmp_path / "r.json"
    command = [*EVAL, str(quick_run / "last.pth.tar"), "--cls", classifier, "--json", str(path)]
    assert eval.main([*command, *flags]) == 0
    for result in json.loads(path.read_text())["results"]:
        assert result["accuracy"] > 1.5 * 100 / result["n_ways"]


@pytest.mark.parametrize("flags", [[], ["--only-base"], ["--coarse-class", "open curves"]])
def test_tsne_draws_both_pictures(flags, quick_run, tmp_path, capsys):
    command = ["--model_path", str(quick_run / "model_best.pth.tar"), "--partition", "test"]
    assert tsne.main([*command, "--output-dir", str(tmp_path), *flags]) == 0
    for name in ("coarse", "fine"):
        picture = (tmp_path / f"digits_digits_{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 20_000
    out = capsys.readouterr().out
    assert "Coarse accuracy" in out
    assert ("No stars" in out) == ("--only-base" in flags)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--format", "bmp"], "'bmp'"),
        (["--coarse-class", "squares"], "'squares'"),
        (["--perplexity", "0"], "--perplexity 0"),
    ],
)
def test_bad_input_to_tsne_is_one_line(flags, word, quick_run, tmp_path, capsys):
    command = ["--model_path", str(quick_run / "model_best.pth.tar"), "--output-dir", str(tmp_path)]
    refused(tsne.main, [*command, "--partition", "test", *flags], capsys, word)


def test_scripts_pass_on_the_exit_status(tmp_path):
    command = [sys.executable, ROOT / "train.py", "--mode", "coarse", "--dataset", "mnist"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 2
    one_line(ended.stderr, "'mnist'")
    assert not list(tmp_path.iterdir())
