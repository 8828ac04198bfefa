"""t-SNE pictures of an encoder's features (van der Maaten and Hinton, JMLR 2008)."""

import numpy as np

from ancor.plots.style import legend_beside, look


def project(
    features: np.ndarray, weights: np.ndarray | None, perplexity: float = 30.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Lay features, and class weights among them, out in the plane by their cosine distances.

    Args:
        features: (N, F).
        weights: (C, F), or None.
        perplexity: of t-SNE; lowered where there are too few points for it.
        seed: of t-SNE.

    Returns:
        Points of the features, (N, 2), and of the weights, (C, 2) or (0, 2).
    """
    from sklearn.manifold import TSNE

    together = features if weights is None else np.concatenate([features, weights])
    together = together / np.linalg.norm(together, axis=1, keepdims=True)
    model = TSNE(
        metric="cosine",
        perplexity=min(perplexity, (len(together) - 1) / 3),
        init="pca",
        random_state=seed,
    )
    points = model.fit_transform(together)
    return points[: len(features)], points[len(features) :]


def _scatter(axes, points: np.ndarray, labels: np.ndarray, names: list[str]) -> None:
    for number, name in enumerate(names):
        own = points[labels == number]
        axes.scatter(
            *own.T, s=22, alpha=0.75, linewidths=0.3, edgecolors="white", label=name, **look(number)
        )


def _star(axes, point: np.ndarray, colour: str) -> None:
    axes.scatter(
        *point, marker="*", s=420, color=colour, edgecolors="black", linewidths=1.2, zorder=3
    )


def _star_legend(axes, label: str) -> None:
    axes.plot([], [], "*", color="white", markeredgecolor="black", markersize=11, label=label)


def _canvas(title: str):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7))
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    return figure, axes


def coarse_figure(
    points: np.ndarray, labels: np.ndarray, names: list[str], stars: np.ndarray, title: str
):
    """Draw points (N, 2) by coarse class, and the class weights (C, 2) as stars."""
    figure, axes = _canvas(title)
    _scatter(axes, points, labels, names)
    for number, star in enumerate(stars):
        _star(axes, star, look(number)["color"])
    if len(stars):
        _star_legend(axes, "class weights")
    legend_beside(axes)
    return figure


def fine_figure(
    points: np.ndarray, labels: np.ndarray, names: list[str], star: np.ndarray | None, title: str
):
    """Draw points (N, 2) by fine class; from the coarse weight's star an arrow to each median."""
    figure, axes = _canvas(title)
    _scatter(axes, points, labels, names)
    if star is not None:
        for number in range(len(names)):
            axes.annotate(
                "",
                xy=np.median(points[labels == number], axis=0),
                xytext=star,
                arrowprops={"arrowstyle": "-|>", "lw": 2, "color": look(number)["color"]},
                zorder=2,
            )
        _star(axes, star, "white")
        _star_legend(axes, "coarse class weight")
    legend_beside(axes)
    return figure
