"""The plan of an evaluation: all episodes, drawn before anything is computed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan

import numpy as np

from ancor.data.episodes import MOST_VIEWS, Episode, EpisodeSampler, Protocol
from ancor.data.transform_spec import TransformSpec
from ancor.data.views import MIRROR_VIEW, QUERY_VIEW, distinct_views
from ancor.errors import InputError
from ancor.runtime.lazy import Lazy
from ancor.runtime.seeding import address_seed

special = Lazy("scipy.special")
MOST_EPISODES = 1_000_000  # all are drawn before any is scored
LOWEST_VIEW = min(QUERY_VIEW, MIRROR_VIEW)
WIDTH = 2**37  # more than there can be views of an image: every use of all episodes a new one
BLOCK = 2**20  # uses that are sorted at once


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
    support_rows: list[Sequence[np.ndarray]]
    query_rows: list[Sequence[np.ndarray]]
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
        protocol: its protocol, for the number of copies a; 0: images are seen as queries are.
        views: V > 0: each image has V views, and its a copies are a different a of them;
            0: every use of an image is a new view.
        number: of the episode, over all evaluations of a plan.
        seed: of the evaluation.
    """
    if protocol.n_augmentations == 0:
        return np.full(len(episode.support), QUERY_VIEW)
    copies = protocol.copies
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
        transforms: if given, views that show the same are listed once (`distinct_views`), to all
            encoders that see the images.

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
    uses = _Uses(episodes, protocols, views, seed)
    distinct = uses.distinct()
    pairs = _pairs(distinct)
    merged = None
    if transforms is not None:
        shown, merged = np.unique(
            _codes(*distinct_views(pairs, transforms, seed).T), return_inverse=True
        )
        pairs = _pairs(shown)
    which = range(len(protocols))
    return Plan(
        episodes,
        pairs,
        [_Rows(partial(uses.support, number), count, distinct, merged) for number in which],
        [_Rows(partial(uses.query, number), count, distinct, merged) for number in which],
        tuple(dict.fromkeys(line for protocol in protocols for line in sampler.notes(protocol))),
    )


@dataclass(frozen=True)
class _Uses:
    """The (image, view) of each position of episodes' lists, as numbers in the order of pairs.

    They are made when asked for, as are rows of them: of 1,000 episodes of 1,000 classes there are
    20 million.
    """

    episodes: list[list[Episode]]
    protocols: list[Protocol]
    views: int
    seed: int

    def support(self, which: int, number: int) -> np.ndarray:
        """Return those of the support list of an evaluation's episode."""
        episode, running = self.episodes[which][number], which * len(self.episodes[which]) + number
        views = support_views(episode, self.protocols[which], self.views, running, self.seed)
        return _codes(episode.support, views)

    def query(self, which: int, number: int) -> np.ndarray:
        """Return those of its queries."""
        return _codes(self.episodes[which][number].query, QUERY_VIEW)

    def distinct(self) -> np.ndarray:
        """Return all that there are, each once, sorted."""
        found, waiting = np.empty(0, dtype=np.int64), []
        for which, of_one in enumerate(self.episodes):
            for number in range(len(of_one)):
                waiting += [self.support(which, number), self.query(which, number)]
                if sum(map(len, waiting)) > BLOCK:
                    found, waiting = _with(found, waiting), []
        return _with(found, waiting)


class _Rows(Sequence):
    """For each episode of an evaluation, the rows of the plan's pairs of one of its lists."""

    def __init__(
        self,
        codes: Callable[[int], np.ndarray],
        count: int,
        distinct: np.ndarray,
        merged: np.ndarray | None,
    ) -> None:
        self.codes, self.count, self.distinct, self.merged = codes, count, distinct, merged

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int | slice) -> np.ndarray | list[np.ndarray]:
        chosen = range(self.count)[number]
        if isinstance(chosen, range):
            return [self[each] for each in chosen]
        rows = np.searchsorted(self.distinct, self.codes(chosen))
        return rows if self.merged is None else self.merged[rows]


def _with(found: np.ndarray, codes: list[np.ndarray]) -> np.ndarray:
    """Return sorted distinct numbers with those of some lists among them."""
    added = np.sort(np.concatenate([*codes, found[:0]]))
    added = added[np.append(True, added[1:] != added[:-1])[: len(added)]]
    at = np.searchsorted(found, added)
    fresh = np.append(found, -1)[at] != added
    return np.insert(found, at[fresh], added[fresh])


def _codes(images: np.ndarray, views: np.ndarray | int) -> np.ndarray:
    """Return numbers in the order of (image, view)."""
    return images.astype(np.int64) * WIDTH + (views - LOWEST_VIEW)


def _pairs(codes: np.ndarray) -> np.ndarray:
    """Return the (image, view) of numbers (P,), (P, 2)."""
    pairs = np.empty((len(codes), 2), dtype=np.int64)
    np.floor_divide(codes, WIDTH, out=pairs[:, 0])
    np.remainder(codes, WIDTH, out=pairs[:, 1])
    pairs[:, 1] += LOWEST_VIEW
    return pairs


def mean_and_interval(scores: np.ndarray) -> tuple[float, float]:
    """Mean, and half the width of its 95% interval: t_{0.975, n-1} * sd / sqrt(n).

    What fewer than two scores do not tell is not a number.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if len(scores) < 2:
        return (float(scores[0]) if len(scores) else nan), nan
    quantile = special.stdtrit(len(scores) - 1, 0.975)
    half = quantile * (scores.std(ddof=1) / np.sqrt(len(scores)))
    return float(scores.mean()), float(half)
