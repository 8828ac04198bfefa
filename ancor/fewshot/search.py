"""Search: the nearest pictures of a folder for each query picture, by an encoder's features."""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ancor.data.hierarchy import Hierarchy
from ancor.data.images import ImageFiles
from ancor.data.partition import Partition
from ancor.data.views import QUERY_VIEW
from ancor.errors import InputError
from ancor.evaluation.dependencies import dependencies
from ancor.evaluation.feature_bank import FeatureBank
from ancor.evaluation.feature_cache import FeatureCache
from ancor.evaluation.neighbors import nearest
from ancor.fewshot import inputs
from ancor.fewshot.image_encoder import ImageEncoder
from ancor.runtime.text import columns, printable

log = logging.getLogger(__name__)


def search(
    encoder: ImageEncoder,
    queries: Sequence[str],
    gallery: str | os.PathLike,
    k: int = 5,
    cache: Path | None = None,
) -> list[dict[str, Any]]:
    """Find the nearest pictures of a folder for each query, by the cosine of features.

    Args:
        encoder: whose features they are.
        queries: paths of image files. One that is in the gallery itself, by its path with links
            followed, is no answer to itself; copies of it are.
        gallery: a folder of image files, also nested.
        k: how many are found, or all there are.
        cache: folder that the gallery's features are kept in; None: nowhere.

    Returns:
        For each query its `path` and its `matches`, nearest first: the `path`, `similarity` (-1 to
        1) and `class` of each, which is the name of its folder inside the gallery, or None.

    Raises:
        InputError: `k` is below 1, there is no such file or folder, or an image cannot be read.
    """
    if k < 1:
        raise InputError(f"`k` {k}: at least 1 is needed")
    numbers, paths = _distinct(inputs.image_paths(gallery))
    own = torch.tensor([numbers.get(os.path.realpath(query), -1) for query in queries])
    inside = int((own >= 0).sum())
    if inside:
        log.warning(
            "Notice: %d of %d queries are files of the gallery: left out of their own answers",
            *(inside, len(queries)),
        )
    if k > len(paths) - bool(inside):
        log.warning("Notice: `k` %d: the gallery holds %d images, all are listed", k, len(paths))
    asked = _computed(encoder, queries)
    found = nearest(_features(encoder, paths, cache), asked, min(k, len(paths)), own)
    root = os.fspath(gallery)
    return [
        {
            "path": query,
            "matches": [
                {"path": paths[n], "similarity": similarity, "class": _folder(paths[n], root)}
                for similarity, n in zip(similarities, rows, strict=True)
                if similarity > -np.inf  # a query's own file, which comes last
            ],
        }
        for query, similarities, rows in zip(queries, *map(Tensor.tolist, found), strict=True)
    ]


def _distinct(paths: list[str]) -> tuple[dict[str, int], list[str]]:
    """Return each file once: its number by its real path, and the paths in order."""
    found: dict[str, str] = {}
    for path in paths:
        found.setdefault(os.path.realpath(path), path)
    if len(found) < len(paths):
        log.warning(
            "Notice: %d links to files of the gallery that it holds already: left out",
            len(paths) - len(found),
        )
    return {real: number for number, real in enumerate(found)}, list(found.values())


def _computed(encoder: ImageEncoder, paths: Sequence[str]) -> Tensor:
    return torch.from_numpy(encoder.encode(list(paths)))


def _features(encoder: ImageEncoder, paths: Sequence[str], cache: Path | None) -> Tensor:
    """Return the features (N, F) of files, from a cache where it has them."""
    if cache is None:
        return _computed(encoder, paths)
    listed = [os.path.split(os.path.abspath(path)) for path in paths]
    images = ImageFiles([(folder, [name]) for folder, name in listed], upright=True)
    labels = np.zeros(len(paths), dtype=np.int64)
    partition = Partition("search", "gallery", images, labels, None, Hierarchy(("",)))
    bank = FeatureBank(
        encoder.network, images, encoder.transforms, encoder.runtime, kind=encoder.kind
    )

    def compute(pairs: np.ndarray) -> Iterator[Tensor]:
        yield _computed(encoder, [paths[number] for number in pairs[:, 0].tolist()])

    every = np.arange(len(paths))
    pairs = np.stack([every, np.full_like(every, QUERY_VIEW)], axis=1)
    kept = FeatureCache(cache, dependencies(bank, partition), bank.width)
    return torch.cat(list(kept.stream(pairs, compute)))


def _folder(path: str, root: str) -> str | None:
    """Return the name of the folder inside the gallery that a file is in; None: in none."""
    return os.path.basename(os.path.dirname(os.path.relpath(path, root))) or None


def table(rows: list[dict[str, Any]]) -> tuple[list[str], Iterator[list[Any]]]:
    """Return the titles of the table of matches, and its rows, similarities with six decimals."""
    return ["query", "rank", "path", "similarity", "class"], (
        [row["path"], rank, match["path"], f"{match['similarity']:.6f}", match["class"] or ""]
        for row in rows
        for rank, match in enumerate(row["matches"], start=1)
    )


def lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Lay the matches out for people: each query, and below it what was found."""
    for row in rows:
        yield printable(row["path"])
        cells = [
            [f"{m['similarity']:.3f}", printable(m["class"] or "-"), printable(m["path"])]
            for m in row["matches"]
        ]
        yield from (f"  {line}" for line in columns(cells)) if cells else ["  nothing else there"]
