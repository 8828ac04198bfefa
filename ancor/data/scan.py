"""Looking at every image of a partition once: readable or not, size, content."""

import hashlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ancor.data.decode import stored_mode
from ancor.data.partition import Images, Partition
from ancor.errors import InputError, RunError

log = logging.getLogger(__name__)
CHUNK = 256
FAINT = 32  # of 256 levels


class Finding(NamedTuple):
    """What an image is.

    Attributes:
        size: width and height in pixels; None where it cannot be read.
        digest: equal only for equal images; None likewise.
        problem: why it cannot be read, in one line; None where it can.
        mode: how a file stores it, in Pillow's words; None where it is no file.
        faint: whether it is gray of 16 bits of which it uses less than an eighth, so that next to
            nothing is left of it.
    """

    size: tuple[int, int] | None
    digest: bytes | None
    problem: str | None
    mode: str | None = None
    faint: bool = False


def inspect(images: Images, index: int) -> Finding:
    """Read an image whole."""
    try:
        image = images[index]
        content = images.content(index)
    except (InputError, RunError) as error:
        return Finding(None, None, str(error))
    size = image.size if hasattr(image, "getbands") else tuple(image.shape[:0:-1])
    mode = stored_mode(content) if hasattr(image, "getbands") else None
    faint = mode is not None and " I" in mode and int(np.ptp(image)) < FAINT
    return Finding(size, hashlib.blake2b(content, digest_size=16).digest(), None, mode, faint)


def findings(images: Images, threads: int | None = None) -> Iterator[Finding]:
    """Read all images, in order, by several threads: decoding leaves Python's lock."""

    def look(start: int) -> list[Finding]:
        stop = min(start + CHUNK, len(images))
        return [inspect(images, index) for index in range(start, stop)]

    with ThreadPoolExecutor(threads) as pool:
        for chunk in pool.map(look, range(0, len(images), CHUNK)):
            yield from chunk


def problems_of(partition: Partition) -> list[str | None]:
    """Return why each image cannot be read, in order; None where it can."""
    return [finding.problem for finding in findings(partition.images)]


def without_unreadable(partition: Partition) -> Partition:
    """Return the partition without the images that cannot be read; it lists them as `skipped`.

    They go before any episode or batch is drawn, so a result does not depend on who met them.

    Raises:
        InputError: no image of the partition can be read.
    """
    problems = problems_of(partition)
    kept = np.array([problem is None for problem in problems])
    if kept.all():
        return partition
    if not kept.any():
        raise InputError(
            f"no image of partition {partition.name!r} can be read; the first: {problems[0]}"
        )
    skipped = tuple(problem for problem in problems if problem is not None)
    return partition.subset(np.flatnonzero(kept), skipped)


def report_skipped(partition: Partition) -> None:
    """Log what `without_unreadable` left out, at the end of a run."""
    if partition.skipped:
        log.warning("%d images were left out:", len(partition.skipped))
    for problem in partition.skipped:
        log.warning("  %s", problem)
