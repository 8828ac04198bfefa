"""Features about the mean of the training images'."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import ancor
from ancor.checkpoints import checkpoint
from ancor.cli import eval as evaluation
from ancor.data.config import DataConfig
from ancor.data.views import QUERY_VIEW
from ancor.evaluation.centering import CenteredBank, training_mean
from ancor.evaluation.config import EvaluationConfig
from ancor.evaluation.models import read_models
from ancor.evaluation.retrieval import of_partition
from ancor.evaluation.run import Evaluation
from ancor.runtime.devices import Runtime
from tests import made
from tests.fewshot.digits import write_digits
from tests.refusals import refuses, tells

FEW = {"n_test_runs": 4, "n_augmentations": 1, "support_views": 1}


@pytest.fixture(scope="module")
def read(quick_run):
    runtime = Runtime.named("cpu", "fp32", quiet=True)
    (model,), partition = read_models([str(quick_run / "model_best.pth.tar")], {}, "test", runtime)
    return model, partition


def test_queries_and_support_are_about_the_training_images_mean(read):
    model, partition = read
    evaluation = Evaluation([model], partition, EvaluationConfig(center=True, **FEW))
    (bank,) = evaluation.banks
    assert isinstance(bank, CenteredBank)
    train = DataConfig("digits").load("train")
    pairs = np.stack([np.arange(len(train)), np.full(len(train), QUERY_VIEW)], axis=1)
    mean = model.bank(train).features(pairs).mean(0)
    torch.testing.assert_close(training_mean(model), mean, atol=1e-6, rtol=0)
    some = np.array([[3, QUERY_VIEW], [5, 0]])
    expected = F.normalize(model.bank(partition).features(some) - mean, dim=1)
    torch.testing.assert_close(torch.cat(list(bank.stream(some))), expected, atol=1e-5, rtol=0)
    assert len(list(evaluation.results())) == 2


def test_every_report_is_of_centered_features(read):
    model, partition = read
    asked = {"open_set": True, "retrieval": True, "clusters": True}
    config = EvaluationConfig(center=True, **FEW, **asked)
    found = Evaluation([model], partition, config).further()
    assert list(found) == list(asked)
    plain = model.bank(partition).test_features()
    expected = of_partition(plain - training_mean(model), partition, "fine").whole.recall
    assert found["retrieval"].whole.recall == pytest.approx(expected)
    assert of_partition(plain, partition, "fine").whole.recall != pytest.approx(expected)


def test_training_images_that_cannot_be_read_are_told(read, tmp_path, caplog):
    model, _ = read
    for number in range(2):
        made.write(tmp_path / "a" / f"{number}.png", number, (32, 32))
    (tmp_path / "a" / "broken.png").write_bytes(b"x")
    data = DataConfig("folder", root=str(tmp_path), skip_bad_images=True)
    with caplog.at_level("INFO"):
        training_mean(replace(model, data=data))
    assert tells(caplog.text, "'train'", "2")
    assert tells(caplog.text, "broken.png")


@pytest.mark.slow
def test_a_baseline_is_centered_by_the_same_part_of_the_images(quick_run, tmp_path, capsys):
    """Where they are, and the share that is evaluated, stand in the model's file alone."""
    write_digits(tmp_path / "photos")
    own = str(quick_run / "model_best.pth.tar")
    content = torch.load(own, weights_only=True)
    told = {"dataset": "folder", "root": str(tmp_path / "photos"), "image_size": 32}
    content["config"]["data"] |= {**told, "val_fraction": 0.25}
    content = {name: value for name, value in content.items() if name != "checksum"}
    checkpoint.save(content, tmp_path / "m.pth.tar")
    words = ["--model-path", str(tmp_path / "m.pth.tar"), "--baseline", own, "--center"]
    few = ["--mode", "coarse", "--n-ways", "3", "--n-queries", "2", "--n-shots", "1"]
    assert evaluation.main([*words, *few, "--n-test-runs", "2", "--n-augmentations", "0"]) == 0
    counts = re.findall(r"mean of (\d+) images", capsys.readouterr().out)
    assert counts == ["90", "90"]  # of 120


def test_an_encoder_in_memory_has_no_training_images(quick_run):
    encoder = ancor.load_encoder(quick_run / "model_best.pth.tar", device="cpu")
    partition = DataConfig("digits").load("test")
    with refuses("`center`"):
        ancor.evaluate(encoder, partition, center=True, **FEW)
