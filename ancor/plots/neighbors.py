"""Images beside their nearest neighbors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ancor.data.partition import Partition
from ancor.data.views import QUERY_VIEW
from ancor.evaluation.feature_bank import FeatureBank
from ancor.evaluation.neighbors import RECALL_AT, nearest, recall
from ancor.plots.grid import RIGHT, WRONG, grid, show
from ancor.plots.style import LONGEST_TITLE, finished, plain
from ancor.plots.thumbnails import picture


@dataclass(frozen=True)
class Shown:
    """An image and its class."""

    pixels: np.ndarray
    class_name: str
    number: int


def find(bank: FeatureBank, k: int) -> np.ndarray:
    """Return the numbers of the k nearest images of each image of a bank's partition, (N, k)."""
    every = np.arange(len(bank.images))
    features = bank.features(np.stack([every, np.full_like(every, QUERY_VIEW)], axis=1))
    return nearest(features, torch.arange(len(every)), k).numpy()


def right_share(labels: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Share of each image's neighbors (N, k) that are of its class, (N,), in 0-1."""
    return (labels[found] == labels[:, None]).mean(1)


def recall_words(labels: np.ndarray, found: np.ndarray) -> str:
    """Return recall at each K of `RECALL_AT` for which there are neighbors (N, k), as words."""
    counts = [count for count in RECALL_AT if count <= found.shape[1]]
    shares = recall(labels, found, counts)
    told = (f"{100 * share:.2f} at {count}" for count, share in zip(counts, shares, strict=True))
    return ", ".join(told)


def rows(
    partition: Partition, mode: str, images: np.ndarray, found: np.ndarray
) -> Iterator[tuple[Shown, list[Shown]]]:
    """Yield some images, and the neighbors of each, with their classes of the level `mode`."""
    labels, names = partition.labels(mode), partition.hierarchy.names(mode)

    def shown(number: int) -> Shown:
        return Shown(picture(partition.images[number]), names[labels[number]], number)

    for number in images.tolist():
        yield shown(number), [shown(other) for other in found[number].tolist()]


def neighbors_figure(rows: Sequence[tuple[Shown, Sequence[Shown]]], title: str) -> Figure:
    """Draw an image a row and its neighbors, nearest first, right and wrong classes framed."""
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
