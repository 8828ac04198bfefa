"""Classifiers and the interval against the paper's own code."""

import numpy as np
import pytest

from ancor.evaluation.classifiers import build_predictor, logistic_regression
from ancor.evaluation.episodic import EpisodeFeatures, mean_and_interval
from tests.golden_files import arrays, assert_agrees

EPISODES = range(4)


def episode_of(number: int, model: str) -> EpisodeFeatures:
    """Read an episode's features of model 1 or 2, or both side by side."""
    given = {
        k.split("/", 1)[1]: v for k, v in arrays("classifiers").items() if k[:2] == f"{number}/"
    }

    def features(role: str) -> np.ndarray:
        both = [given[f"{role}{which}"] for which in model]
        return np.concatenate(both, axis=1)

    return EpisodeFeatures(features("support"), given["support_y"], features("query"), 6)


@pytest.mark.parametrize("classifier", ["LR", "NN", "Cosine"])
@pytest.mark.parametrize("number", EPISODES)
def test_golden_predictions(number, classifier):
    golden, predict = arrays("classifiers"), build_predictor(classifier)
    assert np.array_equal(predict(episode_of(number, "1")), golden[f"{number}/{classifier}/pred"])
    both = predict(episode_of(number, "12"))
    assert np.array_equal(both, golden[f"{number}/concat/{classifier}/pred"])


@pytest.mark.parametrize("number", EPISODES)
def test_golden_probabilities(number):
    golden = arrays("classifiers")
    for model in "12":
        ours = logistic_regression(episode_of(number, model))
        assert_agrees(ours, golden[f"{number}/LR/proba{model}"], 1e-5)
    episode = episode_of(number, "1")
    kept, asked = episode.support_labels < 2, golden[f"{number}/query_y"] < 2
    two = EpisodeFeatures(
        episode.support[kept], episode.support_labels[kept], episode.query[asked], 2
    )
    assert_agrees(logistic_regression(two), golden[f"{number}/LR/two_class_proba1"], 1e-5)


def test_golden_interval():
    golden = arrays("classifiers")
    mean, half = mean_and_interval(golden["accs"])
    assert_agrees(mean, golden["mean"], 1e-5)
    assert_agrees(half, golden["ci95"], 1e-5)
