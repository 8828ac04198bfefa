"""Classifiers, predictors and the interval against the paper's own code."""

import numpy as np
import pytest
import torch

from ancor.evaluation import predictors
from ancor.evaluation.classifiers import EpisodeBatch, logistic_regression
from ancor.evaluation.plan import mean_and_interval
from tests.golden_files import arrays, assert_agrees

EPISODES = range(4)
ROLES = ("support", "query")
BATCHED = ("support", "labels", "ids", "query")


def given(number: int) -> dict[str, np.ndarray]:
    """Read an episode's arrays."""
    return {
        k.split("/", 1)[1]: v for k, v in arrays("classifiers").items() if k[:2] == f"{number}/"
    }


def batch(support: np.ndarray, labels: np.ndarray, query: np.ndarray, ways: int) -> EpisodeBatch:
    """Make a batch of one episode."""
    tensors = [torch.from_numpy(array)[None] for array in (support, labels, query)]
    ids = torch.arange(len(support))[None]
    return EpisodeBatch(tensors[0], tensors[1], ids, tensors[2], ways)


def episode_of(number: int, model: str) -> EpisodeBatch:
    """Read an episode's features of model 1 or 2."""
    found = given(number)
    return batch(found[f"support{model}"], found["support_y"], found[f"query{model}"], 6)


@pytest.mark.parametrize("classifier", ["LR", "NN", "Cosine"])
@pytest.mark.parametrize("number", EPISODES)
def test_golden_predictions(number, classifier):
    golden = arrays("classifiers")
    both = [episode_of(number, model) for model in "12"]
    found = predictors.single(classifier)(both)[0]
    assert np.array_equal(found, golden[f"{number}/{classifier}/pred"])
    joined = predictors.concat(classifier)(both)[0]
    assert np.array_equal(joined, golden[f"{number}/concat/{classifier}/pred"])


@pytest.mark.parametrize("number", EPISODES)
def test_golden_probabilities(number):
    golden = arrays("classifiers")
    for model in "12":
        ours = logistic_regression(episode_of(number, model))[0]
        assert_agrees(ours, golden[f"{number}/LR/proba{model}"], 1e-5)
    found = given(number)
    kept, asked = found["support_y"] < 2, found["query_y"] < 2
    two = batch(found["support1"][kept], found["support_y"][kept], found["query1"][asked], 2)
    assert_agrees(logistic_regression(two)[0], golden[f"{number}/LR/two_class_proba1"], 1e-5)


@pytest.mark.parametrize("number", EPISODES)
def test_golden_ensemble(number):
    both = [episode_of(number, model) for model in "12"]
    found = predictors.ensemble("LR")(both)[0]
    assert np.array_equal(found, arrays("classifiers")[f"{number}/ensemble/pred"])


def cascade_of(number: int) -> tuple[EpisodeBatch, EpisodeBatch]:
    """Read an episode as a cascade sees it: coarse predictions, and model 2's features."""
    found = given(number)
    support, query = (found[f"{role}_coarse"][:, None].astype(float) for role in ROLES)
    return batch(support, found["support_y"], query, 6), episode_of(number, "2")


@pytest.mark.parametrize("classifier", ["LR", "NN", "Cosine"])
def test_golden_cascade(classifier):
    """All episodes at once, so that their parts are padded to each other's shapes."""
    golden, each = arrays("classifiers"), [cascade_of(number) for number in EPISODES]
    both = [
        EpisodeBatch(*(torch.cat([getattr(e[model], f) for e in each]) for f in BATCHED), n_ways=6)
        for model in range(2)
    ]
    for number, found in zip(EPISODES, predictors.cascade(classifier)(both), strict=True):
        assert np.array_equal(found, golden[f"{number}/cascade/{classifier}/pred"])


def test_golden_interval():
    golden = arrays("classifiers")
    mean, half = mean_and_interval(golden["accs"])
    assert_agrees(mean, golden["mean"], 1e-5)
    assert_agrees(half, golden["ci95"], 1e-5)
