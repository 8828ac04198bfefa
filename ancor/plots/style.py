"""What all figures share: colours and markers that tell classes apart, also without colour."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colour-blind-safe set, its yellow darkened to be seen on white.
COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#8A7F00",
    "#000000",
)
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d", "8")


def look(number: int) -> dict[str, str]:
    """Return a colour and a marker for class `number`; 104 pairs before the first repeats."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def line(number: int) -> dict[str, str]:
    """Return a colour and a line style for curve `number`; 8 pairs before the first repeats."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": LINES[number % len(LINES)]}


def legend_columns(names: int) -> int:
    """Tell in how many columns a legend beside a picture has room for so many names."""
    return -(-names // 24)


def legend_beside(axes: "Axes") -> None:
    """Put the legend right of the axes, in as many columns as its entries need."""
    handles, names = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        ncols=legend_columns(len(names)),
        frameon=False,
        fontsize=9,
        borderaxespad=0,
    )
