"""Draw runs/method.png (copied to docs/images): what angular normalization does around a weight.

    python docs/figures/method.py

Embeddings of one coarse class are drawn by chance on the unit sphere around its class weight W; the
second panel is `ancor.methods.losses.angular` of them. Both look at the sphere from above W.
"""

import sys
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from ancor.methods.similarities import angular, normalize  # noqa: E402
from ancor.plots.style import look  # noqa: E402

W = torch.tensor([0.0, 0.0, 1.0])
DIRECTIONS = (18, 145, 280)  # of the fine classes as seen from W, in degrees
QUERY, KEY = (32.0, 0.62), (20.0, 0.26)  # direction in degrees, distance from W in radians
NAMES = ("fine class 1", "fine class 2", "fine class 3")
PULL, PUSH = "#333333", "#777777"


def on_sphere(degrees: Tensor, distance: Tensor) -> Tensor:
    """Return unit vectors (..., 3) in a direction from W, at an angle from it."""
    angle = torch.deg2rad(degrees)
    aside = torch.stack([angle.cos(), angle.sin()], -1) * distance.sin()[..., None]
    return torch.cat([aside, distance.cos()[..., None]], -1)


def embeddings() -> list[Tensor]:
    """Draw 12 embeddings of each fine class, near to and far from W: (12, 3) each."""
    made = torch.Generator().manual_seed(1)
    return [
        on_sphere(
            middle + 16 * torch.randn(12, generator=made),
            0.2 + 0.55 * torch.rand(12, generator=made),
        )
        for middle in DIRECTIONS
    ]


def arrow(
    axes: Axes, start: Tensor, end: Tensor, color: str, style: str, shrink: float = 6
) -> None:
    """Draw an arrow between two points as they are seen from above."""
    properties = {"arrowstyle": style, "color": color, "lw": 1.6, "shrinkA": shrink}
    axes.annotate(
        "", end[:2].tolist(), start[:2].tolist(), arrowprops={**properties, "shrinkB": shrink}
    )


def panel(axes: Axes, classes: list[Tensor], query: Tensor, key: Tensor, title: str) -> None:
    """Draw the points of one panel."""
    for number, points in enumerate(classes):
        axes.scatter(*points[:, :2].T, s=42, alpha=0.8, **look(number), label=NAMES[number])
    own = {**look(0), "s": 190, "edgecolors": "black", "linewidths": 1.8, "zorder": 4}
    axes.scatter(*query[:2], **own)
    axes.scatter(*key[:2], **own)
    axes.scatter(0, 0, marker="*", s=480, color="white", edgecolors="black", zorder=5)
    axes.add_patch(circle())
    axes.set_title(title, fontsize=13)
    axes.set_aspect("equal")
    axes.set_xlim(-1.12, 1.12)
    axes.set_ylim(-1.12, 1.12)
    axes.axis("off")


def circle() -> Circle:
    """Return the sphere's outline."""
    return Circle((0, 0), 1, fill=False, color="#bbbbbb", lw=1.2)


def label(axes: Axes, point: Tensor, text: str, offset: tuple[float, float], **style) -> None:
    """Write beside a point, over whatever lies there."""
    style = {"fontsize": 12, "ha": "center", **style}
    box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"}
    where = {"xytext": offset, "textcoords": "offset points"}
    axes.annotate(text, point[:2].tolist(), **where, **style, bbox=box, zorder=6)


def main() -> None:
    """Draw and write."""
    classes = embeddings()
    query, key = (on_sphere(*map(torch.tensor, place)) for place in (QUERY, KEY))
    figure = Figure(figsize=(12, 6.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    panel(left, classes, query, key, "Embeddings: the supervised loss pulls to the weight W")
    for points in classes:
        for point in points[points[:, 2].argsort()[:3]]:  # the farthest from W
            arrow(left, point, 0.5 * point, PULL, "->", shrink=4)
    label(left, query, "query e", (0, 15))
    label(left, key, "key k", (10, -26))
    label(left, W, "W", (-18, -14))
    turned = [angular(points, W.expand_as(points)) for points in classes]
    q, k = angular(query, W), angular(key, W)
    panel(right, turned, q, k, "Directions from W: what the contrastive loss compares")
    for points in turned[1:]:
        arrow(right, q, points[5], PUSH, "<->", shrink=9)
        label(right, (q + points[5]) / 2, "pushed apart", (0, -4), color=PUSH)
    for point in (q, k):
        arrow(right, torch.zeros(3), point, PULL, "-", shrink=9)
    label(right, W, "pulled together", (70, -10))
    label(right, q, "query e'", (30, 14))
    label(right, k, "key k'", (34, -4))
    label(right, W, "W", (-26, -5))
    assert torch.allclose(q, normalize(query - W))
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=12)
    path = ROOT / "runs" / "method.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
    print(f"Wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
