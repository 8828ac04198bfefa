"""Which images are the same picture: copies, and copies resized, recompressed or made lighter.

A picture is compared by 128 signs of difference between neighboring fields of a small gray copy
(dHash: Krawetz, 2013), which find the candidates, and by the correlation of a small color copy,
which decides. Mirrored, turned and clearly cropped copies are other pictures to it.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from torch import Tensor

from ancor.data.images import ImageFiles
from ancor.data.partition import Images
from ancor.errors import InputError, RunError
from ancor.runtime.lazy import Lazy

sparse, csgraph = Lazy("scipy.sparse"), Lazy("scipy.sparse.csgraph")
SIDE = 9  # fields of a small copy, along each side
GRAY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
# Looked at by eye: all 20 pairs that correlate as much among 5,421 photographs of groceries show
# one scene, and nearly all of 40 of CIFAR-100's; below 0.95 objects differ.
ALIKE = 0.97
MOST_SIGNS = 16  # of 128 that differ; a copy of 0.7 times the side changes up to 7
MOST_SHARING = 1000  # images with 16 equal signs: more are no candidates by these alone
CHUNK = 256  # images that a thread looks at in a row
BITS = np.array([bin(number).count("1") for number in range(256)], dtype=np.uint8)


def groups_of_near_duplicates(paths: Sequence[str | os.PathLike]) -> np.ndarray:
    """Number image files, equal pictures equally: (N,) of int64, from 0, in order of appearance.

    A file that cannot be read is a group of its own.
    """
    listed = [os.path.split(path) for path in map(os.fspath, paths)]
    return near_duplicates(ImageFiles([(folder, [name]) for folder, name in listed], upright=True))


def near_duplicates(images: Images) -> np.ndarray:
    """Number images as `groups_of_near_duplicates` does; each is read once, by several threads."""
    count = len(images)
    if not count:
        return np.zeros(0, dtype=np.int64)
    small = np.zeros((count, SIDE, SIDE, 3), dtype=np.uint8)
    read = np.zeros(count, dtype=bool)
    for index, copy in enumerate(_small_copies(images)):
        if copy is not None:
            small[index], read[index] = copy, True
    # Equal copies are one candidate, or thousands of them would all be compared with each other.
    own = np.where(read, -1, np.arange(count))
    keys = np.concatenate([small.reshape(count, -1), own.view(np.uint8).reshape(count, -1)], axis=1)
    _, first, same = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    same = same.reshape(-1)
    pairs = _similar(small[first], read[first])
    ones = np.ones(len(pairs), dtype=bool)
    graph = sparse.coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(len(first), len(first)))
    group = csgraph.connected_components(graph, directed=False)[1][same]
    _, first, numbers = np.unique(group, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return rank[numbers.reshape(-1)].astype(np.int64)


def _small_copies(images: Images) -> Iterator[np.ndarray | None]:
    """Yield a small copy (SIDE, SIDE, 3) of each image, or None where it cannot be read."""

    def look(start: int) -> list[np.ndarray | None]:
        stop = min(start + CHUNK, len(images))
        return [_small_copy(images, index) for index in range(start, stop)]

    with ThreadPoolExecutor() as pool:
        for chunk in pool.map(look, range(0, len(images), CHUNK)):
            yield from chunk


def _small_copy(images: Images, index: int) -> np.ndarray | None:
    try:
        image = images[index]
    except (InputError, RunError):
        return None
    if isinstance(image, Tensor):
        image = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))


def _signs(small: np.ndarray) -> np.ndarray:
    """Return 128 signs an image as bytes (N, 16): is a field lighter than the one before it?"""
    gray = small.astype(np.float32) @ GRAY
    across = gray[:, :8, 1:] > gray[:, :8, :-1]
    down = gray[:, 1:, :8] > gray[:, :-1, :8]
    return np.packbits(np.stack([across, down], axis=1).reshape(len(small), -1), axis=1)


def _similar(small: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Return the pairs (P, 2) of positions of equal pictures among small copies.

    Two whose signs differ in at most 7 of 128 have one of eight parts of 16 signs in common, and
    are found; those of 8 to `MOST_SIGNS` mostly.
    """
    signs = _signs(small)
    parts = np.ascontiguousarray(signs).view(np.uint16)
    colors = small.reshape(len(small), -1).astype(np.float32)
    colors -= colors.mean(axis=1, keepdims=True)
    colors /= np.maximum(np.linalg.norm(colors, axis=1, keepdims=True), 1e-6)
    found = [np.empty((0, 2), dtype=np.int64)]
    for part in parts.T:
        for one, other in _sharing(part, read):
            near = BITS[signs[one] ^ signs[other]].sum(axis=1) <= MOST_SIGNS
            one, other = one[near], other[near]
            alike = np.einsum("nd,nd->n", colors[one], colors[other]) >= ALIKE
            found.append(np.stack([one[alike], other[alike]], axis=1))
    return np.concatenate(found)


def _sharing(part: np.ndarray, read: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all pairs of images with an equal part of their signs, as two lists of positions."""
    known = np.flatnonzero(read & (np.bincount(part)[part] <= MOST_SHARING))
    order = known[np.argsort(part[known], kind="stable")]
    at = np.arange(len(order))
    for distance in range(1, MOST_SHARING):
        at = at[at + distance < len(order)]
        at = at[part[order[at]] == part[order[at + distance]]]
        if not len(at):
            return
        yield order[at], order[at + distance]
