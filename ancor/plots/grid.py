"""Tables of pictures: an axes without ticks for each image, framed where a meaning asks for it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ancor.plots.style import COLORS

# Frames told apart by color and by line style.
RIGHT = {"color": COLORS[0], "linestyle": "-", "linewidth": 2.5}
PLAIN = {"color": "#b0b0b0", "linestyle": "-", "linewidth": 0.6}  # a white image has an edge too
WRONG = {"color": COLORS[3], "linestyle": (0, (2, 1.5)), "linewidth": 2.5}


def grid(
    rows: int, columns: int, side: float = 1.0, gaps: Sequence[int] = (), above: float = 0.1
) -> tuple[Figure, np.ndarray]:
    """Return a figure and axes (rows, columns), all bare.

    Args:
        rows, columns: pictures.
        side: of a picture, in inches.
        gaps: columns before which some room is left.
        above: room above each picture for its name, as a share of its side.
    """
    ratios: list[float] = []
    places = []
    for column in range(columns):
        if column in gaps:
            ratios.append(0.25)
        places.append(len(ratios))
        ratios.append(1)
    figure = Figure(figsize=(side * (sum(ratios) * 1.06), side * rows * (1.06 + above)))
    spec = {"width_ratios": ratios, "wspace": 0.06, "hspace": 0.06 + above}
    spec |= {"left": 0, "right": 1, "bottom": 0, "top": 1}
    every = figure.subplots(rows, len(ratios), squeeze=False, gridspec_kw=spec)
    for axes in every.ravel():
        axes.set_axis_off()
    return figure, every[:, places]


def show(axes: Axes, pixels: np.ndarray, name: str = "", frame: dict | None = None) -> None:
    """Put an image, bytes (H, W, 3), into its place, under a name and in a frame."""
    axes.imshow(pixels, interpolation="nearest" if max(pixels.shape) < 100 else "antialiased")
    axes.set_title(name, fontsize=8, pad=3)
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(**(frame or PLAIN))
