"""What all figures share: colours and markers that tell classes apart, also without colour."""

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
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d", "8")


def look(number: int) -> dict[str, str]:
    """Return a colour and a marker for class `number`; 104 pairs before the first repeats."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def legend_beside(axes) -> None:
    """Put the legend right of the axes, in as many columns as its entries need."""
    handles, names = axes.get_legend_handles_labels()
    columns = -(-len(names) // 24)
    axes.legend(
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        ncols=columns,
        frameon=False,
        fontsize=9,
        borderaxespad=0,
    )
