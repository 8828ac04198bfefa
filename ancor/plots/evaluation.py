"""Pictures of an evaluation: accuracy over its episodes, and what is taken for what."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ancor.data.partition import Partition
from ancor.evaluation.report import Result
from ancor.plots.captions import titled
from ancor.plots.style import COLORS, finished, plain

NAMED_CLASSES = 70  # a confusion matrix of more names only the coarse classes


def figures(
    results: Sequence[Result], partition: Partition, level: str, caption: str = ""
) -> Iterator[tuple[str, Figure]]:
    """Yield plots of results with their names: a histogram of each, of all-way its confusion too.

    Args:
        results: of one evaluation.
        partition: what episodes were drawn from.
        level: `fine` or `coarse`, the classes that were asked for.
        caption: what was evaluated, a line of each title (`caption_of`).
    """
    hierarchy = partition.hierarchy
    for result in results:
        name = f"{result.mode.lower()}_{result.protocol.n_shots}shot"
        shots = result.protocol.n_shots
        about = f"{partition.dataset}, {partition.name}: {result.mode}, {result.n_ways} ways, "
        about += f"{shots} shot{'s' * (shots > 1)}, {len(result.scores)} episodes"
        interval = result.accuracy / 100, result.ci95 / 100
        yield f"histogram_{name}", histogram_figure(result.scores, *interval, about, caption)
        if result.mode == "All-Way":
            coarse = hierarchy.coarse_of_fine if level == "fine" else None
            names = hierarchy.names(level), hierarchy.coarse_names
            told = result.errors_in_coarse, about, caption
            yield f"confusion_{name}", confusion_figure(result.confusion, *names, coarse, *told)


def histogram_figure(
    accuracies: np.ndarray, mean: float, half: float, title: str, caption: str = ""
) -> Figure:
    """Draw how the accuracies of episodes spread, with their mean and its interval.

    Args:
        accuracies: (episodes,), in 0-1.
        mean, half: their mean and half the interval's width, in 0-1.
        title, caption: the lines above the picture.
    """
    mean, half = 100 * mean, 100 * half
    figure = Figure(figsize=(7, 4))
    axes = figure.add_subplot()
    axes.hist(
        100 * accuracies,
        100 * _bins(accuracies),
        color=COLORS[5],
        edgecolor="white",
        linewidth=0.5,
    )
    label = f"mean {mean:.2f} ± {half:.2f} (95% interval)"
    axes.axvspan(mean - half, mean + half, color=COLORS[3], alpha=0.3, linewidth=0)
    axes.axvline(mean, color=COLORS[3], linewidth=1.5, label=label)
    axes.set_xlabel("accuracy of an episode, %")
    axes.set_ylabel("episodes")
    axes.set_title(titled(title, caption), fontsize=10, pad=24)
    # Above the bars, which may be anywhere.
    above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "borderpad": 0.2}
    axes.legend(**above, frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return finished(figure)


def _bins(accuracies: np.ndarray, most: int = 25) -> np.ndarray:
    """Edges between the values that accuracies can take, with equally many values in each bin."""
    values = np.unique(accuracies.round(9))
    step = np.diff(values).min() if len(values) > 1 else 0.01
    width = step * max(1, np.ceil((values[-1] - values[0]) / step / most))
    return np.arange(values[0] - step / 2, values[-1] + width, width)


def confusion_figure(
    counts: np.ndarray,
    names: Sequence[str],
    coarse_names: Sequence[str],
    coarse_of_fine: Sequence[int] | None,
    errors_in_coarse: float | None,
    title: str,
    caption: str = "",
) -> Figure:
    """Draw which class is taken for which, in percent of a class's queries.

    Args:
        counts: (C, C): queries of class i that were taken for class j.
        names: of the classes.
        coarse_names: of the coarse classes.
        coarse_of_fine: coarse class of each class, by which classes are ordered and framed; None:
            neither.
        errors_in_coarse: share of the errors inside the right coarse class, for the title.
        title, caption: the lines above the picture.
    """
    present = np.flatnonzero(counts.sum(1))
    coarse = np.zeros(len(counts), int) if coarse_of_fine is None else np.array(coarse_of_fine)
    order = present[np.argsort(coarse[present], kind="stable")]
    shares = counts[np.ix_(order, order)]
    shares = 100 * shares / shares.sum(1, keepdims=True)
    side = min(12.0, 5 + 0.09 * len(order))
    figure = Figure(figsize=(side + 1.5, side))
    axes = figure.add_subplot()
    picture = axes.imshow(shares, cmap="magma_r", vmin=0, vmax=100, interpolation="nearest")
    figure.colorbar(picture, ax=axes, shrink=0.8, label="% of the class's queries")
    named = len(order) <= NAMED_CLASSES
    if named:
        shown = [plain(names[c]) for c in order]
        axes.set_xticks(range(len(order)), shown, rotation=90, fontsize=7)
        axes.set_yticks(range(len(order)), shown, fontsize=7)
    if len(order) <= 12:
        _write_shares(axes, shares)
    if coarse_of_fine is not None:
        _frame_blocks(axes, coarse[order], coarse_names, above=named)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    title = titled(title, caption)
    if errors_in_coarse is not None:
        title += f"\n{100 * errors_in_coarse:.1f}% of the errors stay in the right coarse class"
    axes.set_title(title, fontsize=10)
    return finished(figure)


def _write_shares(axes: Axes, shares: np.ndarray) -> None:
    for (row, column), share in np.ndenumerate(shares):
        color = "white" if share > 50 else "black"
        axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=color, fontsize=7)


def _frame_blocks(axes: Axes, coarse: np.ndarray, names: Sequence[str], above: bool) -> None:
    """Frame the blocks of each coarse class in a sorted list (C,); name them along the axes.

    Args:
        axes: of the matrix.
        coarse: coarse class of each row.
        names: of the coarse classes.
        above: whether names go above the matrix, and not to where those of the classes would be.
    """
    starts = np.flatnonzero(np.diff(coarse, prepend=-1))
    ends = np.append(starts[1:], len(coarse))
    for start, end in zip(starts, ends, strict=True):
        corner, size = start - 0.5, end - start
        axes.add_patch(
            Rectangle((corner, corner), size, size, fill=False, color=COLORS[0], linewidth=1.8)
        )
    middles, labels = (starts + ends - 1) / 2, [plain(names[coarse[start]]) for start in starts]
    if not above:
        axes.set_xticks(middles, labels, rotation=90, fontsize=8)
        axes.set_yticks(middles, labels, fontsize=8)
        return
    beside = axes.secondary_xaxis("top")
    turned = {"rotation": 45, "ha": "left", "rotation_mode": "anchor"} if len(starts) > 4 else {}
    beside.set_xticks(middles, labels, fontsize=8, color=COLORS[0], **turned)
    beside.tick_params(length=0)
