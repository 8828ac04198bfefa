"""Images beside their nearest neighbors."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ancor.data.decode import read_image
from ancor.data.partition import Partition
from ancor.plots.captions import titled
from ancor.plots.grid import RIGHT, WRONG, grid, show
from ancor.plots.style import finished, plain
from ancor.plots.thumbnails import picture, thumbnail

log = logging.getLogger(__name__)

MOST_ROWS, SIDE = 20, 160  # of a picture of files: queries, and pixels of each image
FRAMES = {True: RIGHT, False: WRONG, None: None}


@dataclass(frozen=True)
class Shown:
    """A picture of the table.

    Attributes:
        pixels: bytes (H, W, 3).
        title: what stands above it.
        right: whether it is framed as right or wrong; None: without a frame.
        name: what stands beside it at the head of a row.
    """

    pixels: np.ndarray
    title: str
    right: bool | None = None
    name: str = ""


def right_share(labels: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Share of each image's neighbors (N, k) that are of its class, (N,), in 0-1."""
    return (labels[found] == labels[:, None]).mean(1)


def rows(
    partition: Partition, mode: str, images: np.ndarray, found: np.ndarray
) -> Iterator[tuple[Shown, list[Shown]]]:
    """Yield some images, and the neighbors of each, with their classes of the level `mode`."""
    labels, names = partition.labels(mode), partition.hierarchy.names(mode)

    def shown(number: int, **about: Any) -> Shown:
        return Shown(picture(partition.images[number]), names[labels[number]], **about)

    for number in images.tolist():
        others = found[number].tolist()
        yield (
            shown(number, name=f"image {number}"),
            [shown(other, right=bool(labels[other] == labels[number])) for other in others],
        )


def files_figure(found: Sequence[Mapping[str, Any]], title: str, caption: str = "") -> Figure:
    """Draw what `ancor.fewshot.search.search` found, at most `MOST_ROWS` queries of it."""
    if len(found) > MOST_ROWS:
        log.warning("Notice: the first %d of %d queries are drawn", MOST_ROWS, len(found))

    def shown(path: str, title: str = "", name: str = "") -> Shown:
        small = thumbnail(read_image(path, upright=True), SIDE)
        return Shown(np.asarray(small), title, name=name)

    drawn = [
        (
            shown(row["path"], name=os.path.basename(row["path"])),
            [shown(m["path"], f"{m['similarity']:.3f} {m['class'] or ''}") for m in row["matches"]],
        )
        for row in found[:MOST_ROWS]
    ]
    return neighbors_figure(drawn, title, caption)


def neighbors_figure(
    rows: Sequence[tuple[Shown, Sequence[Shown]]], title: str, caption: str = ""
) -> Figure:
    """Draw an image a row and its neighbors, nearest first, right and wrong classes framed.

    Args:
        rows: images, each with its neighbors.
        title, caption: the lines above the picture.
    """
    most = max(len(found) for _, found in rows)
    figure, every = grid(len(rows), 1 + most, side=1.15, gaps=(1,), above=0.22)
    for axes, (query, found) in zip(every, rows, strict=True):
        show(axes[0], query.pixels, plain(query.title, 14))
        axes[0].text(
            -0.06,
            0.5,
            plain(query.name, 24),
            transform=axes[0].transAxes,
            ha="right",
            va="center",
            fontsize=8,
            rotation=90,
        )
        for place, one in zip(axes[1:], found, strict=False):
            text = plain(one.title, 14)
            if one.right is not None:
                text = f"{'✓' if one.right else '✗'} {text}"
            show(place, one.pixels, text, FRAMES[one.right])
    height = figure.get_figheight()
    if any(one.right is not None for _, found in rows for one in found):
        figure.legend(
            [Line2D([], [], **frame) for frame in (RIGHT, WRONG)],
            ["✓ the same class", "✗ another class"],
            loc="lower center",
            bbox_to_anchor=(0.5, 1 + 0.25 / height),
            ncols=2,
            frameon=False,
            fontsize=9,
            handlelength=3,
        )
    figure.suptitle(titled(title, caption), y=1 + 0.6 / height, va="bottom", fontsize=11)
    return finished(figure)
