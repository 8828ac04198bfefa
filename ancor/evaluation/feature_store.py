"""Features of a plan's episodes, in bounded memory.

What fits into `KEPT_BYTES` is computed once and kept; where a plan needs more (fresh views for
every use), it is computed for one chunk of episodes after the other, and what several chunks use is
kept first. So a store holds at most KEPT_BYTES + CHUNK_BYTES, or one episode's features if they are
more, whatever the numbers of classes, views and episodes. A baseline has a store of its own.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ancor.evaluation.plan import Plan
from ancor.evaluation.rows import RowReader

KEPT_BYTES = 2**31
CHUNK_BYTES = 2**28


class FeatureSource(Protocol):
    """What gives features of (image, view) pairs: `ancor.evaluation.feature_bank.FeatureBank`."""

    width: int
    device: torch.device

    def stream(self, pairs: np.ndarray) -> Iterator[Tensor]:
        """Yield features of pairs (P, 2) in order, (n, width) at a time."""


class Chunk(NamedTuple):
    """Consecutive episodes whose features are in memory together.

    Attributes:
        which: number of their evaluation.
        numbers: theirs in it.
        rows: rows of the plan's pairs that they need and that are not kept throughout.
    """

    which: int
    numbers: range
    rows: np.ndarray


class FeatureStore:
    """Holds features of the rows that episodes ask for.

    Args:
        plan: the episodes.
        sources: one a model.
        device: where features lie.
    """

    def __init__(self, plan: Plan, sources: Sequence[FeatureSource], device: torch.device) -> None:
        self.device = device
        self.row_bytes = 4 * sum(source.width for source in sources)
        kept, self._chunks = _divide(plan, self.row_bytes)
        order = np.concatenate([kept, *(chunk.rows for chunk in self._chunks)])
        self._readers = [RowReader(source.stream(plan.pairs[order])) for source in sources]
        self._kept = len(kept)
        size = self._kept + max(len(chunk.rows) for chunk in self._chunks)
        self.features = [
            torch.empty((size, source.width), dtype=torch.float32, device=device)
            for source in sources
        ]
        self._slot = np.empty(len(plan.pairs), dtype=np.int64)
        self._slot[kept] = np.arange(self._kept)
        self._fill(0, self._kept)

    def chunks(self, which: int) -> list[Chunk]:
        """Chunks of an evaluation; to be loaded in order, all those of evaluation 0 first."""
        return [chunk for chunk in self._chunks if chunk.which == which]

    def load(self, chunk: Chunk) -> None:
        """Bring a chunk's features into memory, in place of the last one's."""
        end = self._kept + len(chunk.rows)
        self._slot[chunk.rows] = np.arange(self._kept, end)
        self._fill(self._kept, end)

    def slots(self, rows: np.ndarray) -> Tensor:
        """Positions in `features` of rows of the plan's pairs, of any shape."""
        return torch.from_numpy(self._slot[rows]).to(self.device)

    def close(self) -> None:
        """End the streams; the processes behind them stop."""
        for reader in self._readers:
            reader.close()

    def _fill(self, start: int, end: int) -> None:
        for reader, features in zip(self._readers, self.features, strict=True):
            reader.read_into(features[start:end])


def _divide(plan: Plan, row_bytes: int) -> tuple[np.ndarray, list[Chunk]]:
    """Return the rows that are kept throughout, and the chunks of episodes."""
    room = KEPT_BYTES // row_bytes
    if len(plan.pairs) <= room:
        nothing = np.empty(0, dtype=np.int64)
        whole = [
            Chunk(which, range(len(episodes)), nothing)
            for which, episodes in enumerate(plan.episodes)
        ]
        return np.arange(len(plan.pairs)), whole
    chunks = []
    for which, episodes in enumerate(plan.episodes):
        largest = max(len(episode.support) + len(episode.query) for episode in episodes)
        size = max(1, CHUNK_BYTES // (largest * row_bytes))
        for start in range(0, len(episodes), size):
            numbers = range(start, min(start + size, len(episodes)))
            chunks.append(Chunk(which, numbers, _rows(plan, which, numbers)))
    uses = np.zeros(len(plan.pairs), dtype=np.int32)
    for chunk in chunks:
        uses[chunk.rows] += 1
    kept = np.argsort(-uses, kind="stable")[:room]
    kept = np.sort(kept[uses[kept] > 1])
    return kept, [
        chunk._replace(rows=np.setdiff1d(chunk.rows, kept, assume_unique=True)) for chunk in chunks
    ]


def _rows(plan: Plan, which: int, numbers: range) -> np.ndarray:
    """Rows that some episodes need, each once, in order."""
    used = [
        rows[which][number] for number in numbers for rows in (plan.support_rows, plan.query_rows)
    ]
    return np.unique(np.concatenate(used))
