"""Where an encoder looks, as a heat map over the image."""

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ancor.plots.grid import grid, show
from ancor.plots.style import LONGEST_TITLE, finished, plain

MAP = "viridis"  # even in lightness, so that it reads without colour too
PAIRS = 4  # images in a row, each beside its heat map


def localize_figure(
    images: Sequence[np.ndarray], norms: np.ndarray, names: Sequence[str], title: str, label: str
) -> Figure:
    """Draw each image, and beside it its heat map over the image in grey.

    Args:
        images: bytes (H, W, 3) each.
        norms: (N, h, w); each image's own smallest and largest norm are the ends of its colours.
        names: of the images.
        title: of the figure.
        label: of the colours.
    """
    wide = min(PAIRS, len(images))
    rows = -(-len(images) // wide)
    figure, every = grid(rows, 2 * wide, side=1.5, gaps=range(2, 2 * wide, 2), above=0.17)
    places = every.reshape(-1, 2)
    for (beside, over), image, norm, name in zip(places, images, norms, names, strict=False):
        height, width = image.shape[:2]
        show(beside, image, plain(name, 22))
        show(over, np.repeat(image.mean(2, keepdims=True).astype(np.uint8), 3, axis=2))
        low, high = norm.min(), norm.max()
        over.imshow(
            norm,
            cmap=MAP,
            vmin=low,
            vmax=high,
            alpha=0.6,
            interpolation="bilinear",
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )
        over.set_title(f"{low:.3g} to {high:.3g}", fontsize=8, pad=3)
    tall = figure.get_figheight()
    bar = figure.add_axes((0.3, -0.35 / tall, 0.4, 0.12 / tall))
    colours = figure.colorbar(
        ScalarMappable(Normalize(0, 1), MAP), cax=bar, orientation="horizontal", alpha=0.6
    )
    colours.set_ticks([0, 1], labels=["lowest in the image", "highest"], fontsize=8)
    colours.set_label(label, fontsize=9)
    figure.suptitle(plain(title, LONGEST_TITLE), y=1 + 0.3 / tall, va="bottom", fontsize=11)
    return finished(figure)
