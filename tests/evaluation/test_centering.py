"""Features about the mean of the training images'."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import ancor
from ancor.data.config import DataConfig
from ancor.data.views import QUERY_VIEW
from ancor.evaluation.centering import CenteredBank, training_mean
from ancor.evaluation.config import EvaluationConfig
from ancor.evaluation.models import read_models
from ancor.evaluation.retrieval import of_partition
from ancor.evaluation.run import Evaluation
from ancor.runtime.devices import Runtime
from tests.refusals import refuses

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


def test_an_encoder_in_memory_has_no_training_images(quick_run):
    encoder = ancor.load_encoder(quick_run / "model_best.pth.tar", device="cpu")
    partition = DataConfig("digits").load("test")
    with refuses("`center`"):
        ancor.evaluate(encoder, partition, center=True, **FEW)
