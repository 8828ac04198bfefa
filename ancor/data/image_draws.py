"""Drawing the support images and queries of an episode's classes, in two ways.

`class_by_class` is the paper's, which permutes all images of a class twice. `all_at_once` (ours)
takes the first steps of a shuffle for all classes together, so that its time does not grow with the
classes' images; it draws others. Which one is asked for is a matter of `LARGEST`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

# Images of tieredImageNet's training partition, the most that a set of the paper has: an episode of
# classes that hold more was never drawn by its code.
LARGEST = 448_695


class Drawn(NamedTuple):
    """Images of an episode, class by class.

    Attributes:
        support: (n * shots,).
        query: (Q,).
        sizes: queries of each class, (n,) of int64.
    """

    support: np.ndarray
    query: np.ndarray
    sizes: np.ndarray


def class_by_class(
    images_of: Sequence[np.ndarray],
    n_shots: int,
    n_queries: int,
    equal_queries: bool,
    rng: np.random.RandomState,
) -> Drawn:
    """Draw one class after the other, as the paper's code does.

    Args:
        images_of: the images of each class.
        n_shots: support images of a class, fewer than it has images.
        n_queries: queries of a class, or as many as are left.
        equal_queries: whether a class that has fewer is an error, a ValueError.
        rng: draws them.
    """
    support, query = [], []
    for images in images_of:
        chosen = rng.choice(len(images), n_shots, replace=False)
        rest = np.delete(np.arange(len(images)), chosen)
        support.append(images[chosen])
        size = n_queries if equal_queries else min(n_queries, len(rest))
        query.append(images[rng.choice(rest, size, replace=False)])
    sizes = np.array([len(own) for own in query], dtype=np.int64)
    return Drawn(np.concatenate(support), np.concatenate(query), sizes)


def all_at_once(
    images_of: Sequence[np.ndarray],
    n_shots: int,
    n_queries: int,
    equal_queries: bool,
    rng: np.random.RandomState,
) -> Drawn:
    """Draw by a shuffle (Fisher and Yates's) that is left off after the images that are needed.

    See `class_by_class`; the images are int32, as a plan holds tens of millions of them.
    """
    wanted, counts = n_shots + n_queries, np.array([len(images) for images in images_of])
    if equal_queries and counts.min() < wanted:
        raise ValueError(f"a class has {counts.min()} images, and {wanted} are asked for")
    shuffled = np.concatenate(images_of, dtype=np.int32)
    first = np.cumsum(counts) - counts
    for step in range(wanted):
        place = first + np.minimum(step, counts - 1)  # a class that is used up stays as it is
        left = np.maximum(counts - step, 1)
        other = place + (rng.random_sample(len(counts)) * left).astype(np.int64)
        shuffled[place], shuffled[other] = shuffled[other], shuffled[place]
    steps = np.arange(wanted)
    drawn = shuffled[first[:, None] + np.minimum(steps, counts[:, None] - 1)]
    there = steps[n_shots:] < counts[:, None]
    return Drawn(drawn[:, :n_shots].ravel(), drawn[:, n_shots:][there], there.sum(1))


@lru_cache(maxsize=16)
def episode_labels(n_shots: int, copies: int, sizes: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return the support and query labels of an episode, which all of the same sizes share.

    Args:
        n_shots: support images of a class.
        copies: how often the support list is repeated.
        sizes: queries of each class, int64.
    """
    queries = np.frombuffer(sizes, dtype=np.int64)
    ways = np.arange(len(queries))
    support, query = np.tile(np.repeat(ways, n_shots), copies), np.repeat(ways, queries)
    for labels in (support, query):
        labels.flags.writeable = False
    return support, query
