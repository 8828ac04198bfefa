"""Properties of episodes; the golden tests hold their exact draws."""

import re

import numpy as np
import pytest

from ancor.data.episodes import RULES, EpisodeSampler, Protocol
from tests.refusals import refuses

COARSE_OF_FINE = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])


@pytest.fixture
def sampler():
    labels = np.random.RandomState(3).permutation(np.repeat(np.arange(9), 25))
    return EpisodeSampler(labels, COARSE_OF_FINE[labels])


@pytest.mark.parametrize("protocol", [Protocol(), Protocol(1000, 5), Protocol(3, 2, 4, 1)])
def test_episode_holds_distinct_images_of_its_classes(sampler, protocol):
    episode = sampler.draw(protocol, 11)
    ways, shots = len(episode.classes), protocol.n_shots
    assert ways == min(protocol.n_ways, 9)
    assert len(set(episode.classes)) == ways
    once = episode.support[: ways * shots]
    assert np.array_equal(episode.support, np.tile(once, protocol.n_augmentations))
    assert len({*once, *episode.query}) == ways * (shots + protocol.n_queries)
    for images, labels in (
        (episode.support, episode.support_labels),
        (episode.query, episode.query_labels),
    ):
        assert np.array_equal(sampler.labels[images], episode.classes[labels])


def test_intra_class_episodes_stay_inside_one_coarse_class(sampler):
    sizes = set()
    for number in range(30):
        episode = sampler.draw(Protocol(5, intra_class=True), number)
        assert len(set(COARSE_OF_FINE[episode.classes])) == 1
        sizes.add(len(episode.classes))
    assert sizes == {5, 3}  # the second coarse class has three fine ones: all are taken


def test_draws_depend_on_number_and_seed_alone(sampler):
    def first(number, seed):
        return sampler.draw(Protocol(), number, seed).query.tolist()

    assert first(4, 0) == first(4, 0)
    assert first(4, 7) == first(4, 7)
    assert len({tuple(first(n, s)) for n in (4, 5) for s in (0, 1, 2)}) == 6


@pytest.mark.parametrize("rules", RULES)
def test_a_coarse_class_smaller_than_the_episode_gives_all_it_has(rules):
    labels = np.repeat(np.arange(3), 20)
    sampler = EpisodeSampler(labels, np.zeros(60, dtype=int), rules)
    episode = sampler.draw(Protocol(5, intra_class=True), 0)
    assert sorted(episode.classes) == [0, 1, 2]


def test_all_classes_that_are_too_small_are_named():
    labels = np.repeat(np.arange(3), [5, 30, 2])
    sampler = EpisodeSampler(labels, class_names=("ant", "bee", "cat"))
    with refuses("16", "'ant'", "5", "'cat'", "2", "--n-queries") as error:
        sampler.check(Protocol(equal_queries=True))
    assert "bee" not in str(error.value)


@pytest.mark.parametrize("name", ["n_ways", "n_shots", "n_queries", "n_augmentations"])
def test_protocol_refuses_nothing(name):
    flag = {"n_copies": "n-(copies|aug-support-samples)"}.get(name, name.replace("_", "-"))
    with refuses(re.compile(rf"--{flag} 0\b"), "1"):
        Protocol(**{name: 0})
