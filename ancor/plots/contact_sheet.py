"""A contact sheet: images beside the query and key views that training draws of them."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from ancor.data.partition import Partition
from ancor.data.transform_spec import TransformSpec
from ancor.data.views import TrainingViews
from ancor.plots.grid import grid, show
from ancor.plots.style import LONGEST_TITLE, finished, plain
from ancor.plots.thumbnails import picture
from ancor.runtime.seeding import address_seed

VIEWS = ("original", "query", "key")


def rows(
    partition: Partition, transforms: TransformSpec, count: int, seed: int, epoch: int
) -> Iterator[tuple[str, list[list[np.ndarray]]]]:
    """Yield each coarse class's name, and of its images the original and both views.

    Args:
        partition: whose images are drawn.
        transforms: how a network sees them.
        count: images of each class.
        seed: draws images and views, as a run's seed does.
        epoch: of the views.
    """
    labels, images = partition.coarse_labels, partition.images
    views = TrainingViews(images, labels, transforms, ("strong", "strong"), seed)
    for label in np.unique(labels).tolist():
        own = np.flatnonzero(labels == label)
        rng = np.random.default_rng(address_seed(seed, "contact sheet", label))
        drawn = np.sort(rng.choice(own, min(count, len(own)), replace=False)).tolist()
        yield (
            partition.hierarchy.coarse_names[label],
            [[picture(image) for image in (images[i], *views[epoch, i][0])] for i in drawn],
        )


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[Sequence[np.ndarray]]]], title: str, drawn: str = ""
) -> Figure:
    """Draw a row for each class.

    Args:
        rows: of each class its name, and of each of its images the original and both views, bytes
            (H, W, 3).
        title: of the sheet.
        drawn: what the views are drawn by, for a line of its own.
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
    lines = "\n".join(plain(line, LONGEST_TITLE) for line in (title, drawn) if line)
    figure.suptitle(lines, y=1 + 0.4 / figure.get_figheight(), va="bottom", fontsize=11)
    return finished(figure)
