"""Backbones of libraries through the commands: frozen, trained, exported, as a baseline."""

import json

import numpy as np
import pytest
import torch

import ancor
from ancor.checkpoints.checkpoint import read
from ancor.cli import eval as evaluation
from ancor.cli import export, train
from ancor.models.libraries import library
from tests.models.test_libraries import FAMILIES
from tests.pretrained import LITE0, WEIGHTS
from tests.refusals import refused

QUICK = ["--n-test-runs", "2", "--n-shots", "1", "--n-queries", "3", "--support-views", "5"]
QUICK += ["--partition", "test"]
SMALL = ["--dataset", "digits", "--image-size", "32"]


def results(path):
    return json.loads(path.read_text())["results"]


def test_the_frozen_answer_needs_no_training(tmp_path, capsys):
    """The flags, and the name with its file, are one; Python's door gives the same."""
    flags = ["--arch", LITE0, "--pretrained", WEIGHTS, *SMALL, *QUICK]
    assert evaluation.main([*flags, "--json", str(tmp_path / "a.json")]) == 0
    named = ["--model-path", f"{LITE0}={WEIGHTS}", *SMALL, *QUICK]
    assert evaluation.main([*named, "--json", str(tmp_path / "b.json")]) == 0
    one, other = results(tmp_path / "a.json"), results(tmp_path / "b.json")
    encoder = ancor.load_encoder(LITE0, pretrained=WEIGHTS, dataset="digits", image_size=32)
    options = {"n_test_runs": 2, "n_shots": 1, "n_queries": 3, "support_views": 5}
    ours = ancor.evaluate(encoder, ancor.load_dataset("digits")["test"], **options)
    for a, b, c in zip(one, other, ours, strict=True):
        assert a["accuracy"] == b["accuracy"] == pytest.approx(c.accuracy)
    about = json.loads((tmp_path / "a.json").read_text())
    assert about["checkpoint"]["pretrained_on"] == WEIGHTS
    assert WEIGHTS in capsys.readouterr().out


@pytest.mark.slow
def test_a_baseline_is_scored_on_the_same_episodes(tmp_path, quick_run, capsys):
    model = ["--model-path", str(quick_run / "model_best.pth.tar"), *QUICK]
    same = [*model, "--baseline", str(quick_run / "model_best.pth.tar"), "--intra-class"]
    assert evaluation.main([*same, "--json", str(tmp_path / "a.json")]) == 0
    for result in results(tmp_path / "a.json"):
        told = result["baseline"]
        assert told["accuracy"] == result["accuracy"]
        assert (told["gain"], told["gain_ci95"]) == (0, 0)
    other = [*model, "--baseline", f"{LITE0}={WEIGHTS}"]
    assert evaluation.main([*other, "--json", str(tmp_path / "b.json")]) == 0
    frozen = ["--model-path", f"{LITE0}={WEIGHTS}", "--dataset", "digits", *QUICK]
    assert evaluation.main([*frozen, "--json", str(tmp_path / "c.json")]) == 0
    for paired, alone in zip(
        results(tmp_path / "b.json"), results(tmp_path / "c.json"), strict=True
    ):
        assert paired["baseline"]["accuracy"] == pytest.approx(alone["accuracy"])
    capsys.readouterr()
    refused(evaluation.main, [*other, "--untrained"], capsys, "--baseline", "--untrained")


def test_what_names_no_model_is_told(capsys):
    data = ["--dataset", "digits"]
    refused(evaluation.main, data, capsys, "--model-path", "--pretrained")
    refused(evaluation.main, [*data, "--arch", LITE0], capsys, "--model-path", "--pretrained")
    odd = [*data, "--arch", "conv4", "--pretrained"]
    refused(evaluation.main, odd, capsys, "--arch conv4", "timm:NAME")
    both = [*data, "--model-path", "x", "--arch", LITE0, "--pretrained"]
    refused(evaluation.main, both, capsys, "--model-path", "--pretrained")
    size = ["--arch", LITE0, "--pretrained", WEIGHTS, *data, "--crop-pct", "2"]
    refused(evaluation.main, size, capsys, "--crop-pct 2.0", "0.1 to 1")


def test_weights_that_are_not_there_are_told_before_images_are_read(tmp_path, capsys):
    """A million files are listed in minutes, and the digits bring scikit-learn."""
    flags = ["--dataset", "fashion-mnist", "--data", str(tmp_path / "images"), "--mode", "coarse"]
    flags += ["--output-dir", str(tmp_path / "run")]
    refused(train.main, flags, capsys, str(tmp_path / "images"))
    missing = str(tmp_path / "weights.pth")
    refused(train.main, [*flags, "--arch", LITE0, "--pretrained", missing], capsys, missing)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_trains_resumes_and_is_exported(name, tmp_path):
    """Random weights; the preprocessing of its configuration is kept in every file."""
    folder, backbone = tmp_path / "run", f"timm:{name}"
    size = ["--image-size", "70"] if "dinov2" in name else []
    start = ["--dataset", "digits", "--mode", "coarse", "--arch", backbone, "-b", "4", *size]
    flags = [*start, "--epochs", "1", "--val-episodes", "0", "--queue-k", "16", "--quiet"]
    assert train.main([*flags, "--max-steps", "2", "--output-dir", str(folder)]) == 0
    going_on = ["--output-dir", str(folder), "--resume", "auto", "--max-steps", "3", "--quiet"]
    assert train.main(going_on) == 0
    content = read(folder / "last.pth.tar")
    assert content["progress"]["step"] == 3
    own = library(backbone).preprocessing()
    told = content["config"]["data"]
    for setting in own.keys() - {"image_size"}:
        value = tuple(told[setting]) if isinstance(own[setting], tuple) else told[setting]
        assert value == own[setting]
    for to in ("safetensors", "onnx"):
        assert export.main(["--model-path", str(folder / "last.pth.tar"), "--to", to]) == 0
    encoder = ancor.load_encoder(folder / "last.safetensors")
    pixels = np.zeros((1, 3, 32, 32), dtype=np.uint8)
    assert np.isfinite(np.asarray(encoder.encode(torch.from_numpy(pixels)))).all()
