"""Properties of episodes; the golden tests hold their exact draws."""

import re

import numpy as np
import pytest

from ancor.data.episodes import RULES, EpisodeSampler, Protocol
from ancor.data.image_draws import LARGEST
from tests.refusals import refuses

COARSE_OF_FINE = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])


@pytest.fixture
def sampler():
    labels = np.random.RandomState(3).permutation(np.repeat(np.arange(9), 25))
    return EpisodeSampler(labels, COARSE_OF_FINE[labels])


@pytest.mark.parametrize(
    "protocol", [Protocol(), Protocol(1000, 5), Protocol(3, 2, 4, 1), Protocol(3, 2, 4, 0)]
)
def test_episode_holds_distinct_images_of_its_classes(sampler, protocol):
    episode = sampler.draw(protocol, 11)
    ways, shots = len(episode.classes), protocol.n_shots
    assert ways == min(protocol.n_ways, 9)
    assert len(set(episode.classes)) == ways
    once = episode.support[: ways * shots]
    assert np.array_equal(episode.support, np.tile(once, max(1, protocol.n_augmentations)))
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


@pytest.mark.parametrize("name", ["n_ways", "n_shots", "n_queries"])
def test_protocol_refuses_nothing(name):
    with refuses(re.compile(rf"--{name.replace('_', '-')} 0\b"), "1"):
        Protocol(**{name: 0})


SIZES = np.array([2, 9, 40, *[1300] * 400])  # of classes; more images than any set of the paper


@pytest.fixture(scope="module")
def large():
    return EpisodeSampler(np.random.default_rng(0).permutation(np.repeat(np.arange(403), SIZES)))


@pytest.mark.parametrize("shots", [1, 5])
def test_episodes_of_more_images_than_the_papers_sets_hold_have(large, shots):
    """Each class gives distinct images of its own, as many queries as asked for or as it has."""
    assert len(large.labels) > LARGEST
    protocol = Protocol(1000, shots, 15, 2)
    episode = large.draw(protocol, 3)
    assert np.array_equal(episode.classes, np.flatnonzero(shots < SIZES))
    once = np.split(episode.support, 2)
    assert np.array_equal(*once)
    assert np.array_equal(large.labels[episode.support], episode.classes[episode.support_labels])
    assert np.array_equal(large.labels[episode.query], episode.classes[episode.query_labels])
    queries = np.bincount(episode.query_labels)
    assert np.array_equal(queries, np.minimum(SIZES[episode.classes] - shots, 15))
    assert len({*once[0].tolist(), *episode.query.tolist()}) == len(once[0]) + len(episode.query)
    again = EpisodeSampler(large.labels).draw(protocol, 3)
    assert all(np.array_equal(one, other) for one, other in zip(episode, again, strict=True))
    assert not np.array_equal(large.draw(protocol, 4).query, episode.query)


def test_large_episodes_draw_every_image_alike(large):
    """Support image and queries of a class of 40, over 300 draws: each place equally likely."""
    place = {image: number for number, image in enumerate(large.images_of[2].tolist())}
    drawn = [large.draw(Protocol(1000, 1, 15, 1), number) for number in range(300)]
    queries = np.concatenate([e.query[e.query_labels == 2] for e in drawn])
    support = np.concatenate([e.support[e.support_labels == 2] for e in drawn])
    for images, each in ((support, 300 / 40), (queries, 300 * 15 / 40)):
        counts = np.bincount([place[image] for image in images.tolist()], minlength=40)
        assert ((counts - each) ** 2 / each).sum() < 80  # chi-square, 39 degrees: p = 0.0001


def test_few_classes_of_a_large_set_are_drawn_as_they_were(large):
    """An episode that the paper's way draws quickly is drawn in it, whatever set it is of."""
    rng = np.random.RandomState(5)
    classes = rng.choice(np.arange(403), 5, replace=False)
    first = large.images_of[classes[0]]
    chosen = rng.choice(len(first), 1, replace=False)
    rest = rng.choice(np.delete(np.arange(len(first)), chosen), 15, replace=False)
    episode = large.draw(Protocol(), 5)
    assert np.array_equal(episode.classes, classes)
    assert episode.support[0] == first[chosen[0]]
    assert np.array_equal(episode.query[:15], first[rest])


def test_unequal_classes_of_a_large_episode_are_no_draw_where_queries_have_to_be_equal(large):
    with refuses("2", "16", kind=ValueError):
        large.draw(Protocol(1000, 1, 15, equal_queries=True), 0)
