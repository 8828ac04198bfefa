"""From a plan and the models' features to predictions, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from ancor.data.episodes import Episode
from ancor.evaluation.calibration import Calibration, episode_sums
from ancor.evaluation.episode_batch import EpisodeBatch
from ancor.evaluation.feature_store import Chunk, FeatureSource, FeatureStore
from ancor.evaluation.plan import Plan
from ancor.evaluation.predictors import Likeliest, Predictor
from ancor.runtime.logging import progress

# Features of the episodes that are classified at once: much work for a GPU, near caches for a CPU.
BATCH_BYTES = {"cpu": 2**25, "cuda": 2**30}
# From what the models see of some episodes, and the right labels (E, Q) of their queries, -1 for
# padding, to tensors whose rows are the episodes.
Measure = Callable[[Sequence[EpisodeBatch], Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Scored:
    """What came out of one evaluation of a plan.

    Attributes:
        predictions: for each episode the predicted episode labels, (Q,).
        accuracies: of each episode (`accuracy`), (episodes,), in 0-1.
        seconds: time taken; the features that all evaluations share are in the first one's.
        calibration: what the probabilities are worth; None where there are none.
    """

    predictions: list[np.ndarray]
    accuracies: np.ndarray
    seconds: float
    calibration: Calibration | None = None


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
    measured = measure_episodes(plan, sources, partial(_answers, predict), quiet)
    for episodes, rows in zip(plan.episodes, measured, strict=True):
        pairs = [(row[0][: len(e.query)], e) for row, e in zip(rows, episodes, strict=True)]
        accuracies = [accuracy(found, episode.query_labels) for found, episode in pairs]
        calibration = Calibration.of(np.stack([row[1] for row in rows])) if rows[0][1:] else None
        predictions = [found for found, _ in pairs]
        yield Scored(predictions, np.array(accuracies), perf_counter() - started, calibration)
        started = perf_counter()


def _answers(predict: Predictor, batches: Sequence[EpisodeBatch], labels: Tensor) -> list[Tensor]:
    """Return predicted labels (E, Q) and, of probabilities, what `episode_sums` makes of them."""
    if not isinstance(predict, Likeliest):
        return [predict(batches).int()]
    probabilities = predict.probabilities(batches)
    found = probabilities.argmax(2)
    return [found.int(), episode_sums(probabilities, found, labels)]


def measure_episodes(
    plan: Plan, sources: Sequence[FeatureSource], measure: Measure, quiet: bool = False
) -> Iterator[list[tuple[np.ndarray, ...]]]:
    """Measure every episode, one evaluation after the other; yield each one's rows, in order."""
    device = sources[0].device
    device = device if device.type == "cuda" else torch.device("cpu")  # MPS has no fp64
    with closing(FeatureStore(plan, sources, device)) as store:
        for which, episodes in enumerate(plan.episodes):
            rows: list[tuple[np.ndarray, ...]] = []
            with progress(None, quiet, total=len(episodes), desc="episodes") as bar:
                for chunk in store.chunks(which):
                    rows += _measure_chunk(plan, store, chunk, measure, bar.update)
            yield rows


def accuracy(found: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers (Q,) of an episode; of unequal classes the mean of each one's own."""
    return _mean_over_classes(found == labels, labels)


def coarse_accuracies(
    episodes: Sequence[Episode], predictions: Sequence[np.ndarray], coarse_of: np.ndarray
) -> np.ndarray:
    """Of each episode of fine classes, how often the answer is of the right coarse class.

    Args:
        episodes: theirs.
        predictions: of each the episode labels (Q,).
        coarse_of: the coarse class of each fine class.

    Returns:
        (episodes,), in 0-1; the mean over queries or fine classes as in `accuracy`.
    """
    found = []
    for episode, answers in zip(episodes, predictions, strict=True):
        coarse = coarse_of[episode.classes]
        right = coarse[answers] == coarse[episode.query_labels]
        found.append(_mean_over_classes(right, episode.query_labels))
    return np.array(found)


def _mean_over_classes(right: np.ndarray, labels: np.ndarray) -> float:
    counts = np.bincount(labels)
    if counts.min() == counts.max():
        return np.mean(right)
    return np.mean(np.bincount(labels, weights=right) / counts)


def _measure_chunk(
    plan: Plan, store: FeatureStore, chunk: Chunk, measure: Measure, done: Callable
) -> list[tuple[np.ndarray, ...]]:
    """Measure the episodes of a chunk, many at a time; return their rows in order."""
    store.load(chunk)
    episodes = plan.episodes[chunk.which]

    def measure_some(numbers: list[int]) -> list[np.ndarray]:
        ways = len(episodes[numbers[0]].classes)
        batches = _batches(plan, store, chunk.which, numbers, ways)
        labels = np.full(batches[0].query.shape[:2], -1)
        for row, number in zip(labels, numbers, strict=True):
            row[: len(episodes[number].query)] = episodes[number].query_labels
        parts = measure(batches, torch.from_numpy(labels).to(store.device))
        return [part.cpu().numpy() for part in parts]

    found: dict[int, tuple[np.ndarray, ...]] = {}
    groups = list(_groups(plan, store, chunk))
    for numbers, parts in zip(
        groups, run_parallel(measure_some, groups, store.device), strict=True
    ):
        # Copies, made in this thread: what threads leave behind pins the memory that they used.
        found |= zip(numbers, zip(*map(np.array, parts), strict=True), strict=True)
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
    listed = np.stack([plan.support_rows[which][number] for number in numbers])
    support = store.slots(listed)
    images = torch.from_numpy(plan.pairs[listed, 0]).to(store.device)
    queries = [plan.query_rows[which][number] for number in numbers]
    counts = torch.tensor([len(rows) for rows in queries], device=store.device)
    longest = max(map(len, queries))
    queries = [np.pad(rows, (0, longest - len(rows)), "edge") for rows in queries]
    query = store.slots(np.stack(queries))
    labels = np.stack([plan.episodes[which][number].support_labels for number in numbers])
    labels = torch.from_numpy(labels).to(store.device)
    return [
        EpisodeBatch(
            features[support],
            labels,
            support,
            features[query],
            ways,
            images=images,
            n_queries=counts,
        )
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
