"""From a plan and the models' features to predictions, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from ancor.evaluation.classifiers import EpisodeBatch
from ancor.evaluation.feature_store import Chunk, FeatureSource, FeatureStore
from ancor.evaluation.plan import Plan
from ancor.evaluation.predictors import Predictor
from ancor.runtime.logging import progress

# Features of the episodes that are classified at once: much work for a GPU, near caches for a CPU.
BATCH_BYTES = {"cpu": 2**25, "cuda": 2**30}


@dataclass(frozen=True)
class Scored:
    """What came out of one evaluation of a plan.

    Attributes:
        predictions: for each episode the predicted episode labels, (Q,).
        accuracies: of each episode (`accuracy`), (episodes,), in 0-1.
        seconds: time taken; the features that all evaluations share are in the first one's.
    """

    predictions: list[np.ndarray]
    accuracies: np.ndarray
    seconds: float


def score(
    plan: Plan, sources: Sequence[FeatureSource], predict: Predictor, quiet: bool = False
) -> Iterator[Scored]:
    """Predict every episode, one evaluation after the other.

    Args:
        plan: the episodes.
        sources: one a model, in the order that the predictor expects.
        predict: from what the models see of episodes to labels.
        quiet: whether to show no progress.
    """
    started = perf_counter()
    device = sources[0].device
    device = device if device.type == "cuda" else torch.device("cpu")  # MPS has no fp64
    with closing(FeatureStore(plan, sources, device)) as store:
        for which, episodes in enumerate(plan.episodes):
            predictions: list[np.ndarray] = []
            with progress(None, quiet, total=len(episodes), desc="episodes") as bar:
                for chunk in store.chunks(which):
                    predictions += _predict_chunk(plan, store, chunk, predict, bar.update)
            pairs = zip(predictions, episodes, strict=True)
            accuracies = [accuracy(found, episode.query_labels) for found, episode in pairs]
            yield Scored(predictions, np.array(accuracies), perf_counter() - started)
            started = perf_counter()


def accuracy(found: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers (Q,) of an episode; of unequal classes the mean of each one's own."""
    right, counts = found == labels, np.bincount(labels)
    if counts.min() == counts.max():
        return np.mean(right)
    return np.mean(np.bincount(labels, weights=right) / counts)


def _predict_chunk(
    plan: Plan, store: FeatureStore, chunk: Chunk, predict: Predictor, done: Callable
) -> list[np.ndarray]:
    """Predict the episodes of a chunk, many at a time; return them in order."""
    store.load(chunk)
    episodes = plan.episodes[chunk.which]

    def predict_some(numbers: list[int]) -> np.ndarray:
        ways = len(episodes[numbers[0]].classes)
        return predict(_batches(plan, store, chunk.which, numbers, ways)).cpu().numpy()

    found: dict[int, np.ndarray] = {}
    groups = list(_groups(plan, store, chunk))
    for numbers, labels in zip(
        groups, run_parallel(predict_some, groups, store.device), strict=True
    ):
        # A copy, made in this thread: what threads leave behind pins the memory that they used.
        for number, answers in zip(numbers, labels.astype(np.int32), strict=True):
            found[number] = answers[: len(episodes[number].query)]
        done(len(numbers))
    return [found[number] for number in chunk.numbers]


def _groups(plan: Plan, store: FeatureStore, chunk: Chunk) -> Iterator[list[int]]:
    """Yield numbers of episodes with equally many classes, as many as are classified at once.

    Those with like numbers of queries come together, as the shorter ones are padded.
    """
    episodes = plan.episodes[chunk.which]
    by_ways: dict[int, list[int]] = {}
    for number in sorted(chunk.numbers, key=lambda number: len(episodes[number].query)):
        by_ways.setdefault(len(episodes[number].classes), []).append(number)
    for numbers in by_ways.values():
        rows = len(episodes[numbers[0]].support) + len(episodes[numbers[-1]].query)
        size = max(1, BATCH_BYTES[store.device.type] // (rows * store.row_bytes))
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size]


def _batches(
    plan: Plan, store: FeatureStore, which: int, numbers: list[int], ways: int
) -> list[EpisodeBatch]:
    """Gather what each model sees of some episodes with equally many support vectors.

    The last query of an episode is repeated up to the longest's number.
    """
    support = store.slots(np.stack([plan.support_rows[which][number] for number in numbers]))
    queries = [plan.query_rows[which][number] for number in numbers]
    longest = max(map(len, queries))
    queries = [np.pad(rows, (0, longest - len(rows)), "edge") for rows in queries]
    query = store.slots(np.stack(queries))
    labels = np.stack([plan.episodes[which][number].support_labels for number in numbers])
    labels = torch.from_numpy(labels).to(store.device)
    return [
        EpisodeBatch(features[support], labels, support, features[query], ways)
        for features in store.features
    ]


def run_parallel(function: Callable, items: list, device: torch.device) -> Iterator:
    """Map over items: on a CPU in threads of one core each, which never wait for one another."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(items) == 1:
        yield from map(function, items)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(function, items)
    finally:
        torch.set_num_threads(threads)
