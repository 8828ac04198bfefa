"""Plans of many large episodes: what they hold, in which time and memory."""

import subprocess
import sys

import numpy as np
import pytest

from ancor.data.episodes import EpisodeSampler, Protocol
from ancor.evaluation.plan import mean_and_interval, plan_evaluations, support_views

PROTOCOLS = [Protocol(3, 2, 4, 2), Protocol(1000, 1, 3, 5)]


@pytest.mark.parametrize("views", [0, 5, 9])
def test_rows_lead_to_the_pairs_that_episodes_use(views):
    """Against a dict of pairs; each pair is listed once, in order."""
    sampler = EpisodeSampler(np.random.default_rng(1).integers(0, 6, 90))
    plan = plan_evaluations(sampler, PROTOCOLS, 8, views, seed=2)
    used = set()
    for which, protocol in enumerate(PROTOCOLS):
        assert len(plan.support_rows[which]) == len(plan.query_rows[which]) == 8
        for number, episode in enumerate(plan.episodes[which]):
            shown = support_views(episode, protocol, views, 8 * which + number, 2)
            support = np.stack([episode.support, shown], axis=1)
            query = np.stack([episode.query, np.full(len(episode.query), -1)], axis=1)
            assert np.array_equal(plan.pairs[plan.support_rows[which][number]], support)
            assert np.array_equal(plan.pairs[plan.query_rows[which][number]], query)
            used |= {*map(tuple, support.tolist()), *map(tuple, query.tolist())}
    assert list(map(tuple, plan.pairs.tolist())) == sorted(used)


def test_support_images_without_augmentations_are_seen_as_queries_are():
    sampler = EpisodeSampler(np.repeat(np.arange(4), 20))
    plan = plan_evaluations(sampler, [Protocol(3, 2, 4, 0)], 5)
    assert {view for _, view in plan.pairs.tolist()} == {-1}
    for episode, rows in zip(plan.episodes[0], plan.support_rows[0], strict=True):
        assert np.array_equal(plan.pairs[rows][:, 0], episode.support)
        assert np.array_equal(episode.support_labels, np.repeat(np.arange(3), 2))


def test_rows_are_a_sequence_of_the_episodes():
    plan = plan_evaluations(EpisodeSampler(np.repeat(np.arange(4), 20)), PROTOCOLS, 3)
    rows = plan.query_rows[0]
    assert [len(each) for each in rows] == [12] * 3
    assert np.array_equal(rows[-1], rows[2:][0])
    with pytest.raises(IndexError):
        rows[3]


def test_the_interval_is_students():
    """95% of a t distribution of 2 degrees of freedom lie within 4.302653 deviations."""
    mean, half = mean_and_interval(np.array([1.0, 2.0, 3.0]))
    assert mean == 2
    assert half == pytest.approx(4.302653 / 3**0.5, rel=1e-6)


@pytest.mark.filterwarnings("error")
def test_one_score_has_no_interval():
    mean, half = mean_and_interval(np.array([0.25]))
    assert (mean, np.isnan(half)) == (0.25, True)
    assert np.isnan(mean_and_interval(np.array([]))).all()


MADE = """
import resource
import numpy as np
from ancor.data.episodes import EpisodeSampler, Protocol
from ancor.evaluation.plan import plan_evaluations
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
before = peak()
sampler = EpisodeSampler(np.repeat(np.arange(1000), 1300))
plan = plan_evaluations(sampler, [Protocol(n_ways=1000)], 100)
assert len(plan.pairs) > 1_000_000
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
def test_all_way_plans_over_many_images_stay_small():
    """100 episodes of 1000 classes of 1300 images; by lists of pairs these were 370 MB."""
    shown = subprocess.run([sys.executable, "-c", MADE], capture_output=True, text=True, check=True)
    assert float(shown.stdout) < 220
