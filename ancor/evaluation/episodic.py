"""Episodic evaluation: all episodes are drawn first, then features, then scores."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ancor.data.episodes import Episode, EpisodeSampler, Protocol
from ancor.data.partition import QUERY_VIEW
from ancor.errors import InputError
from ancor.seeding import address_seed


@dataclass(frozen=True)
class Plan:
    """The episodes of one or more evaluations, and the features that they need.

    Attributes:
        episodes: for each evaluation its episodes.
        pairs: the distinct (image, view) pairs of all of them, (P, 2).
        support_rows: for each evaluation and episode the rows of `pairs` of its support list.
        query_rows: the same for its queries.
    """

    episodes: list[list[Episode]]
    pairs: np.ndarray
    support_rows: list[list[np.ndarray]]
    query_rows: list[list[np.ndarray]]


class EpisodeFeatures(NamedTuple):
    """What a predictor sees of an episode.

    Attributes:
        support: features of the support list, (S, F).
        support_labels: episode labels, (S,).
        query: features of the queries, (Q, F).
        n_ways: classes of the episode.
    """

    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    n_ways: int


Predictor = Callable[[EpisodeFeatures], np.ndarray]


def support_views(episode: Episode, protocol: Protocol, views: int, number: int, seed: int):
    """View numbers of an episode's support list, (S,), in the list's order.

    Args:
        episode: the episode.
        protocol: its protocol, for the number of copies a.
        views: V > 0: each image has V views, and its a copies are a different a of them;
            0: every use of an image is a new view.
        number: of the episode, over all evaluations of a plan.
        seed: of the evaluation.
    """
    copies = protocol.n_copies
    images = len(episode.support) // copies
    if views == 0:
        return np.repeat(np.arange(number * copies, (number + 1) * copies), images)
    rng = np.random.default_rng(address_seed(seed, "episode views", number))
    chosen = rng.permuted(np.tile(np.arange(views), (images, 1)), axis=1)[:, :copies]
    return chosen.T.reshape(-1)


def plan_evaluations(
    sampler: EpisodeSampler,
    protocols: list[Protocol],
    count: int,
    views: int = 10,
    seed: int = 0,
) -> Plan:
    """Draw `count` episodes of each protocol and list the features that they need.

    Raises:
        InputError: a class has too few images, or there are fewer views than copies.
    """
    if count < 2:
        raise InputError(f"{count} episodes: at least 2 are needed for an interval")
    for protocol in protocols:
        sampler.check(protocol)
        if 0 < views < protocol.n_copies:
            raise InputError(
                f"--support-views {views} is less than the {protocol.n_copies} copies of each "
                "support image (--n-aug-support-samples); give more, or 0 for fresh views"
            )
    episodes = [[sampler.draw(p, number, seed) for number in range(count)] for p in protocols]
    uses = []  # (image, view) of every position of every support and query list
    for which, protocol in enumerate(protocols):
        for number, episode in enumerate(episodes[which]):
            drawn = support_views(episode, protocol, views, which * count + number, seed)
            uses.append(np.stack([episode.support, drawn], axis=1))
            uses.append(np.stack([episode.query, np.full_like(episode.query, QUERY_VIEW)], axis=1))
    pairs, rows = _unique_pairs(np.concatenate(uses))
    split = np.split(rows, np.cumsum([len(use) for use in uses])[:-1])
    support, query = split[0::2], split[1::2]
    by_evaluation = [slice(which * count, (which + 1) * count) for which in range(len(protocols))]
    return Plan(
        episodes,
        pairs,
        [support[part] for part in by_evaluation],
        [query[part] for part in by_evaluation],
    )


def _unique_pairs(uses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows of (U, 2), in order, and each row's position among them."""
    width = uses[:, 1].max() + 2  # views start at -1
    codes, rows = np.unique(uses[:, 0] * width + uses[:, 1] + 1, return_inverse=True)
    return np.stack([codes // width, codes % width - 1], axis=1), rows


def accuracies(plan: Plan, which: int, features: np.ndarray, predict: Predictor) -> np.ndarray:
    """Accuracy of every episode of evaluation `which`, (episodes,), in 0-1.

    Args:
        plan: the plan.
        which: number of the evaluation within it.
        features: features of `plan.pairs`, (P, F).
        predict: from an episode's features to episode labels (Q,).
    """
    scores = np.empty(len(plan.episodes[which]))
    for number, episode in enumerate(plan.episodes[which]):
        predicted = predict(
            EpisodeFeatures(
                features[plan.support_rows[which][number]],
                episode.support_labels,
                features[plan.query_rows[which][number]],
                len(episode.classes),
            )
        )
        scores[number] = np.mean(predicted == episode.query_labels)
    return scores


def mean_and_interval(scores: np.ndarray) -> tuple[float, float]:
    """Mean, and half the width of its 95% interval: t_{0.975, n-1} * sd / sqrt(n)."""
    from scipy import stats

    scores = np.asarray(scores, dtype=np.float64)
    half = stats.t.ppf(0.975, len(scores) - 1) * stats.sem(scores)
    return float(scores.mean()), float(half)
