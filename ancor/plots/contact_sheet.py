"""A contact sheet: images beside the query and key views that training draws of them."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ancor.plots.grid import grid, show
from ancor.plots.style import LONGEST_TITLE, finished, plain

VIEWS = ("original", "query", "key")


def contact_sheet(rows: Sequence[tuple[str, Sequence[Sequence[np.ndarray]]]], title: str) -> Figure:
    """Draw a row for each class.

    Args:
        rows: of each class its name, and of each of its images the original and both views, bytes
            (H, W, 3).
        title: of the sheet.
    """
    most = max(len(images) for _, images in rows)
    columns = most * len(VIEWS)
    figure, every = grid(len(rows), columns, gaps=range(len(VIEWS), columns, len(VIEWS)), above=0)
    for axes, (name, images) in zip(every, rows, strict=True):
        flat = [pixels for image in images for pixels in image]
        for place, pixels in zip(axes, flat, strict=False):
            show(place, pixels)
        axes[0].text(
            -0.08,
            0.5,
            plain(name, 28),
            transform=axes[0].transAxes,
            ha="right",
            va="center",
            fontsize=9,
        )
    for column, axes in enumerate(every[0]):
        axes.set_title(VIEWS[column % len(VIEWS)], fontsize=9)
    figure.suptitle(
        plain(title, LONGEST_TITLE), y=1 + 0.4 / figure.get_figheight(), va="bottom", fontsize=11
    )
    return finished(figure)
