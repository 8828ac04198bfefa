"""Pictures of an encoder's features in the plane, by t-SNE or UMAP."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ancor.plots.captions import titled
from ancor.plots.style import finished, legend_beside, look


@dataclass(frozen=True)
class Layout:
    """A picture of features in the plane, as data.

    Attributes:
        title: of the picture.
        points: the features in the plane, (N, 2).
        labels: class of each, (N,).
        names: of the classes.
        images: number of each image in its partition, (N,).
        stars: class weights in the plane: one a class, or one with arrows to each class's median,
            or none; (C, 2), (1, 2) or (0, 2).
        arrows: whether the star has them.
        caption: what the features are of, the line below the title (`ancor.plots.captions`).
    """

    title: str
    points: np.ndarray
    labels: np.ndarray
    names: Sequence[str]
    images: np.ndarray
    stars: np.ndarray
    arrows: bool = False
    caption: str = ""

    @property
    def star_name(self) -> str:
        """What the legend calls the stars."""
        return "coarse class weight" if self.arrows else "class weights"

    def medians(self) -> list[np.ndarray]:
        """Median of the points of each class that has any, in order of the classes: (2,) each."""
        return [np.median(self.points[self.labels == n], axis=0) for n in np.unique(self.labels)]


def figure(layout: Layout) -> Figure:
    """Draw points by class, class weights as stars, and arrows from one to the classes' medians."""
    drawn = Figure(figsize=(8, 7))
    axes = drawn.add_subplot()
    axes.set(xticks=[], yticks=[])
    axes.set_title(titled(layout.title, layout.caption), fontsize=10)
    axes.set_aspect("equal", adjustable="datalim")
    names = list(layout.names)
    handles = [
        axes.scatter(
            *layout.points[layout.labels == number].T,
            s=22,
            alpha=0.75,
            linewidths=0.3,
            edgecolors="white",
            **look(number),
        )
        for number in range(len(names))
    ]
    if layout.arrows:
        _arrows(axes, layout)
    for number, star in enumerate(layout.stars):
        axes.scatter(*star, marker="*", s=480, color="white", edgecolors="black", zorder=3)
        if not layout.arrows:
            axes.scatter(*star, s=30, zorder=4, **look(number))
    if len(layout.stars):
        handles += axes.plot([], [], "*", color="white", markeredgecolor="black", ms=14)
        names.append(layout.star_name)
    legend_beside(axes, handles, names)
    return finished(drawn)


def _arrows(axes: Axes, layout: Layout) -> None:
    for number, median in zip(np.unique(layout.labels), layout.medians(), strict=True):
        color = look(number)["color"]
        axes.annotate(
            "",
            xy=median,
            xytext=layout.stars[0],
            arrowprops={"arrowstyle": "-|>", "lw": 2, "color": color},
            zorder=2,
        )
