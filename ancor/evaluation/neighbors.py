"""Nearest neighbors by the cosine of features: exact, in bounded memory (ours)."""

from typing import NamedTuple

import torch
from torch import Tensor

QUERIES, GALLERY = 1024, 16_384  # images whose cosines with each other are in memory at once
# MKL sums the last columns of a product in another order than the others, by which a copy of an
# image may differ from it in the last bit. Rows that are passed over take these places.
PADDING = 64
FEW = 16  # picking at most 1 / `FEW` of the cosines of a row is quicker than `topk`


class Found(NamedTuple):
    """The neighbors of queries, nearest first; of equally near ones the lowest number first.

    Attributes:
        similarities: cosines, (Q, k).
        numbers: which images of the gallery, (Q, k) of int64.
    """

    similarities: Tensor
    numbers: Tensor


def nearest(gallery: Tensor, queries: Tensor, k: int, own: Tensor | None = None) -> Found:
    """Find the k nearest images of a gallery for each query.

    Args:
        gallery: features (N, F), of unit length.
        queries: features (Q, F), of unit length.
        k: neighbors, from 1 to N.
        own: number (Q,) of each query in the gallery, where it is passed over; -1: it is not there.
            With k = N it comes last, with a similarity of minus infinity. None: no query is there.
    """
    if own is None:
        own = torch.full((len(queries),), -1, device=queries.device)
    parts = zip(queries.split(QUERIES), own.split(QUERIES), strict=True)
    found = [_of_part(gallery, part, k, mine) for part, mine in parts]
    return Found(*map(torch.cat, zip(*found, strict=True)))


def nearest_others(features: Tensor, k: int) -> Tensor:
    """Return the numbers (N, k) of each image's nearest others, by features (N, F); k below N."""
    everyone = torch.arange(len(features), device=features.device)
    return nearest(features, features, k, everyone).numbers


def _of_part(gallery: Tensor, queries: Tensor, k: int, own: Tensor) -> Found:
    """Find the neighbors of at most `QUERIES` queries, one part of the gallery after the other."""
    found = Found(queries.new_empty(len(queries), 0), own.new_empty(len(queries), 0))
    for start in range(0, len(gallery), GALLERY):
        cosines = _cosines(gallery, queries, own, start)
        more = _nearer(cosines, found.similarities[:, k - 1 :], k)
        # A stable sort: of equal ones those found before, of lower numbers, stay before.
        both = torch.cat([found.similarities, more.similarities], dim=1)
        similarities, order = both.sort(dim=1, descending=True, stable=True)
        numbers = torch.cat([found.numbers, more.numbers + start], dim=1)
        found = Found(similarities[:, :k], numbers.gather(1, order[:, :k]))
    return found


def _cosines(gallery: Tensor, queries: Tensor, own: Tensor, start: int) -> Tensor:
    """Return those with the part of a gallery that begins at the number `start`."""
    block = gallery[start : start + GALLERY + PADDING]
    count = min(GALLERY, len(gallery) - start)
    if len(block) < count + PADDING:
        block = torch.cat([block, block.new_zeros(PADDING, block.shape[1])])
    cosines = (queries @ block.T)[:, :count]
    here = torch.nonzero((own >= start) & (own < start + count))[:, 0]
    cosines[here, own[here] - start] = -torch.inf
    return cosines


def _nearer(cosines: Tensor, found: Tensor, k: int) -> Found:
    """Return those that may be among the k nearest; rows with fewer of them end in -infinity.

    Args:
        cosines: with a part of the gallery, (Q, G).
        found: the k-th largest of the parts before, (Q, 1); (Q, 0): they were not so many.
        k: at most so many count.
    """
    above = cosines > found if found.shape[1] else None
    if above is not None and int(above.count_nonzero()) * FEW <= cosines.numel():
        rows, columns = above.nonzero(as_tuple=True)
        counts = torch.bincount(rows, minlength=len(cosines))
        widest = int(counts.max())
        if widest * FEW <= cosines.shape[1]:
            places = torch.arange(len(rows), device=rows.device)
            places -= (counts.cumsum(0) - counts)[rows]
            similarities = cosines.new_full((len(cosines), widest), -torch.inf)
            numbers = rows.new_zeros(similarities.shape)
            similarities[rows, places], numbers[rows, places] = cosines[rows, columns], columns
            return Found(similarities, numbers)
    return Found(*_largest(cosines, min(k, cosines.shape[1])))


def _largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row, largest first, and their columns.

    `topk` leaves open which of equal values it takes, and in which order.
    """
    found, columns = values.topk(min(k + 1, values.shape[1]), dim=1)
    last, next_ = found[:, k - 1], found[:, k:]
    columns, order = columns[:, :k].sort(dim=1)
    found, order = found.gather(1, order).sort(dim=1, descending=True, stable=True)
    columns = columns.gather(1, order)
    open_ = torch.nonzero((next_ == last[:, None]).any(dim=1))[:, 0]
    if len(open_):  # the last one taken has equals that were not
        ordered, order = values[open_].sort(dim=1, descending=True, stable=True)
        found[open_], columns[open_] = ordered[:, :k], order[:, :k]
    return found, columns
