"""Images beside their nearest neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ancor.plots.grid import RIGHT, WRONG, grid, show
from ancor.plots.style import LONGEST_TITLE, finished, plain


@dataclass(frozen=True)
class Shown:
    """An image and its class."""

    pixels: np.ndarray
    class_name: str
    number: int


def neighbours_figure(rows: Sequence[tuple[Shown, Sequence[Shown]]], title: str) -> Figure:
    """Draw an image a row and its neighbours, nearest first, right and wrong classes framed."""
    figure, every = grid(len(rows), 1 + len(rows[0][1]), side=1.15, gaps=(1,), above=0.22)
    for axes, (query, found) in zip(every, rows, strict=True):
        show(axes[0], query.pixels, plain(query.class_name, 14))
        axes[0].text(
            -0.06,
            0.5,
            f"image {query.number}",
            transform=axes[0].transAxes,
            ha="right",
            va="center",
            fontsize=8,
            rotation=90,
        )
        for place, one in zip(axes[1:], found, strict=True):
            right = one.class_name == query.class_name
            name = f"{'✓' if right else '✗'} {plain(one.class_name, 14)}"
            show(place, one.pixels, name, RIGHT if right else WRONG)
    height = figure.get_figheight()
    frames = [Line2D([], [], **frame) for frame in (RIGHT, WRONG)]
    figure.legend(
        frames,
        ["✓ the same class", "✗ another class"],
        loc="lower center",
        bbox_to_anchor=(0.5, 1 + 0.25 / height),
        ncols=2,
        frameon=False,
        fontsize=9,
        handlelength=3,
    )
    figure.suptitle(plain(title, LONGEST_TITLE), y=1 + 0.6 / height, va="bottom", fontsize=11)
    return finished(figure)
