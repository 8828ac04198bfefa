"""The plan of an evaluation: all episodes, drawn before anything is computed."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from ancor.data.episodes import MOST_VIEWS, Episode, EpisodeSampler, Protocol
from ancor.data.transform_spec import TransformSpec
from ancor.data.views import MIRROR_VIEW, QUERY_VIEW, distinct_views
from ancor.errors import InputError
from ancor.runtime.seeding import address_seed

MOST_EPISODES = 1_000_000  # all are drawn before any is scored


@dataclass(frozen=True)
class Plan:
    """The episodes of one or more evaluations, and the features that they need.

    Attributes:
        episodes: for each evaluation its episodes.
        pairs: the distinct (image, view) pairs of all of them, (P, 2).
        support_rows: for each evaluation and episode the rows of `pairs` of its support list.
        query_rows: the same for its queries.
        notes: lines on classes that are left out or of which there are fewer queries.
    """

    episodes: list[list[Episode]]
    pairs: np.ndarray
    support_rows: list[list[np.ndarray]]
    query_rows: list[list[np.ndarray]]
    notes: tuple[str, ...] = ()

    def ways(self, which: int) -> np.ndarray:
        """Classes of each episode of an evaluation, (episodes,)."""
        return np.array([len(episode.classes) for episode in self.episodes[which]])

    def queries(self, which: int) -> list[int]:
        """Fewest and most queries of a class in an evaluation's episodes."""
        counts = [np.bincount(episode.query_labels) for episode in self.episodes[which]]
        return [int(min(map(np.min, counts))), int(max(map(np.max, counts)))]


def support_views(
    episode: Episode, protocol: Protocol, views: int, number: int, seed: int
) -> np.ndarray:
    """View numbers of an episode's support list, (S,), in the list's order.

    Args:
        episode: the episode.
        protocol: its protocol, for the number of copies a.
        views: V > 0: each image has V views, and its a copies are a different a of them;
            0: every use of an image is a new view.
        number: of the episode, over all evaluations of a plan.
        seed: of the evaluation.
    """
    copies = protocol.n_augmentations
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
    transforms: TransformSpec | None = None,
) -> Plan:
    """Draw `count` episodes of each protocol and list the features that they need.

    Args:
        sampler: draws from the partition.
        protocols: of the evaluations.
        count: episodes of each.
        views: see `support_views`.
        seed: of episodes and views.
        transforms: if given, views that show the same are listed once (`distinct_views`).

    Raises:
        InputError: there are too few images or classes, or fewer views than copies.
    """
    if not 2 <= count <= MOST_EPISODES:
        raise InputError(
            f"{count} episodes: at least 2 are needed for an interval, at most {MOST_EPISODES}"
        )
    if not 0 <= views <= MOST_VIEWS:
        raise InputError(f"`support_views` {views}: accepted: 0 to {MOST_VIEWS}")
    for protocol in protocols:
        sampler.check(protocol)
        if 0 < views < protocol.n_augmentations:
            raise InputError(
                f"`support_views` {views} is less than the {protocol.n_augmentations} copies of a "
                "support image (`n_augmentations`); give more, or 0 for fresh views"
            )
    episodes = [[sampler.draw(p, number, seed) for number in range(count)] for p in protocols]
    uses = []  # (image, view) of every position of every support and query list
    for which, protocol in enumerate(protocols):
        for number, episode in enumerate(episodes[which]):
            drawn = support_views(episode, protocol, views, which * count + number, seed)
            uses.append(np.stack([episode.support, drawn], axis=1))
            uses.append(np.stack([episode.query, np.full_like(episode.query, QUERY_VIEW)], axis=1))
    pairs, rows = _unique_pairs(np.concatenate(uses))
    if transforms is not None:
        pairs, merged = _unique_pairs(distinct_views(pairs, transforms, seed))
        rows = merged[rows]
    split = np.split(rows, np.cumsum([len(use) for use in uses])[:-1])
    support, query = split[0::2], split[1::2]
    by_evaluation = [slice(which * count, (which + 1) * count) for which in range(len(protocols))]
    return Plan(
        episodes,
        pairs,
        [support[part] for part in by_evaluation],
        [query[part] for part in by_evaluation],
        tuple(dict.fromkeys(line for protocol in protocols for line in sampler.notes(protocol))),
    )


def _unique_pairs(uses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows of (U, 2), in order, and each row's position among them."""
    lowest = min(QUERY_VIEW, MIRROR_VIEW)
    width = uses[:, 1].max() - lowest + 1
    codes, rows = np.unique(uses[:, 0] * width + uses[:, 1] - lowest, return_inverse=True)
    return np.stack([codes // width, codes % width + lowest], axis=1), rows


def mean_and_interval(scores: np.ndarray) -> tuple[float, float]:
    """Mean, and half the width of its 95% interval: t_{0.975, n-1} * sd / sqrt(n)."""
    scores = np.asarray(scores, dtype=np.float64)
    half = stats.t.ppf(0.975, len(scores) - 1) * stats.sem(scores)
    return float(scores.mean()), float(half)
