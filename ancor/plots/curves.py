"""Training curves of several runs side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ancor.plots.style import finished, legend, line, plain

Curves = Mapping[str, tuple[Sequence[int], Sequence[float]]]
# What a panel's axis is called, by the group of its figure.
GROUPS = {
    "loss": "loss",
    "top1": "top-1, %",
    "balanced": "balanced top-1, %",
    "validation": "validation, %",
    "health": "",
}
WIDE = 4  # panels in a row


def panels(runs: Mapping[str, Curves]) -> list[str]:
    """List the figures that any of the runs has, group by group, in the order they came up in."""
    names = dict.fromkeys(name for curves in runs.values() for name in curves)
    return [n for group in GROUPS for n in names if n.startswith(f"{group}/")]


def curves_figure(runs: Mapping[str, Curves], unit: str = "step") -> Figure:
    """Draw a panel for each figure, and in it a line for each run that has it.

    Args:
        runs: curves by name, of each run by its name.
        unit: what they go along.
    """
    names = panels(runs)
    wide = min(WIDE, len(names))
    rows = -(-len(names) // wide)
    figure = Figure(figsize=(3.4 * wide, 2.7 * rows), layout="constrained")
    every = np.atleast_1d(figure.subplots(rows, wide)).ravel()
    for axes, name in zip(every, names, strict=False):
        for number, curves in enumerate(runs.values()):
            if name in curves:
                steps, values = curves[name]
                dots = {"marker": ".", "markersize": 4} if len(steps) < 40 else {}
                axes.plot(steps, values, linewidth=1.4, **dots, **line(number))
        group, _, what = name.partition("/")
        axes.set_title(plain(what.replace("_", " ")), fontsize=10)
        axes.set_ylabel(GROUPS[group], fontsize=9)
        if what == "queue_fill":
            axes.set_ylim(0, 1.05)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in every[: len(names)][-wide:]:
        axes.set_xlabel(unit, fontsize=9)
    for axes in every[len(names) :]:
        axes.set_axis_off()
    _legend(figure, list(runs))
    return finished(figure)


def _legend(figure: Figure, names: Sequence[str]) -> None:
    lines = [Line2D([], [], linewidth=1.4, **line(number)) for number in range(len(names))]
    how = {"loc": "outside upper center", "ncols": min(3, len(names)), "frameon": False}
    legend(figure, lines, names, **how)
