"""t-SNE pictures as one HTML page, complete in itself, that shows the image under the mouse."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ancor.data.partition import Partition
from ancor.errors import InputError
from ancor.plots.style import MARKERS, legend_columns, look
from ancor.plots.thumbnails import data_uri
from ancor.plots.tsne import Layout

if TYPE_CHECKING:
    from bokeh.models import GlyphRenderer
    from bokeh.plotting import figure

SIDE = 64  # of a thumbnail, in pixels
# What bokeh calls the markers of `ancor.plots.style`; each is drawn another way.
SHAPES = dict(
    zip(
        MARKERS,
        (
            *("circle", "square", "triangle", "diamond", "inverted_triangle", "plus", "x"),
            *("square_pin", "triangle_pin", "hex", "circle_dot", "diamond_dot", "square_x"),
        ),
        strict=True,
    )
)
# bokeh escapes what stands for @{...}.
TOOLTIP = """<div style="display: flex; gap: 8px; align-items: center">
<img src="@{thumbnail}" alt="" width="96" height="96">
<div><b>@{fine}</b><br>@{coarse}<br>image @{number}</div></div>"""


def require_bokeh() -> None:
    """Raise an InputError where bokeh is not installed."""
    try:
        import bokeh  # noqa: F401
    except ImportError as error:
        raise InputError("--html needs bokeh: pip install 'ancor-toolkit[html]'") from error


def page(title: str, layouts: Sequence[Layout], partition: Partition) -> str:
    """Return a page with a picture for each layout; it loads nothing from anywhere.

    Args:
        title: of the page.
        layouts: the pictures.
        partition: what their images are numbered in.
    """
    from bokeh.embed import file_html
    from bokeh.layouts import column
    from bokeh.resources import INLINE

    plots = [_plot(layout, partition) for layout in layouts]
    return file_html(column(plots), INLINE, title)


def _plot(layout: Layout, partition: Partition) -> "figure":
    from bokeh.models import HoverTool
    from bokeh.plotting import figure

    plot = figure(
        title=layout.title,
        width=980,
        height=620,
        match_aspect=True,
        tools="pan,wheel_zoom,box_zoom,reset,save",
        active_scroll="wheel_zoom",
    )
    plot.axis.visible = False
    plot.grid.visible = False
    if layout.arrows:
        _arrows(plot, layout)
    shown = [
        _points(plot, layout, number, name, partition) for number, name in enumerate(layout.names)
    ]
    plot.add_tools(HoverTool(renderers=shown, tooltips=TOOLTIP))
    for number, (x, y) in enumerate(layout.stars):
        look_of_star = {"size": 28, "fill_color": "white", "line_color": "black"}
        plot.scatter(x, y, marker="star", legend_label=layout.star_name, **look_of_star)
        if not layout.arrows:
            plot.scatter(x, y, size=8, **_shape(number))
    plot.add_layout(plot.legend[0], "right")
    plot.legend.click_policy = "hide"
    plot.legend.ncols = legend_columns(len(layout.names))
    plot.legend.label_text_font_size = "9pt"
    return plot


def _points(
    plot: "figure", layout: Layout, number: int, name: str, partition: Partition
) -> "GlyphRenderer":
    """Draw the points of one class, each with what the mouse shows."""
    from bokeh.models import ColumnDataSource

    own = np.flatnonzero(layout.labels == number)
    images, hierarchy = layout.images[own], partition.hierarchy
    fine = [""] * len(own)
    if partition.fine_labels is not None:
        fine = [hierarchy.fine_names[label] for label in partition.fine_labels[images]]
    source = ColumnDataSource(
        {
            "x": layout.points[own, 0],
            "y": layout.points[own, 1],
            "fine": fine,
            "coarse": [hierarchy.coarse_names[label] for label in partition.coarse_labels[images]],
            "number": images,
            "thumbnail": [data_uri(partition.images[image], SIDE) for image in images.tolist()],
        }
    )
    return plot.scatter(
        "x", "y", source=source, size=9, alpha=0.75, legend_label=name, **_shape(number)
    )


def _shape(number: int) -> dict[str, str]:
    """Return a class's colour and marker as bokeh calls them."""
    style = look(number)
    return {"color": style["color"], "marker": SHAPES[style["marker"]]}


def _arrows(plot: "figure", layout: Layout) -> None:
    from bokeh.models import Arrow, NormalHead

    x, y = layout.stars[0]
    for number, (end_x, end_y) in zip(np.unique(layout.labels), layout.medians(), strict=True):
        colour = look(number)["color"]
        head = NormalHead(size=12, fill_color=colour, line_color=colour)
        plot.add_layout(
            Arrow(
                end=head,
                x_start=x,
                y_start=y,
                x_end=end_x,
                y_end=end_y,
                line_width=2,
                line_color=colour,
            )
        )
