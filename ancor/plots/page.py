"""Features in the plane as an HTML page that loads nothing and shows the image under the mouse."""

from collections.abc import Sequence

import numpy as np

from ancor.data.partition import Partition
from ancor.errors import InputError
from ancor.plots.style import LONGEST_TITLE, MARKERS, legend_columns, look, plain
from ancor.plots.thumbnails import data_uri
from ancor.plots.tsne import Layout
from ancor.runtime.text import printable

try:
    import bokeh
    from bokeh.core.properties import value
    from bokeh.document import Document
    from bokeh.embed import file_html
    from bokeh.events import DocumentReady
    from bokeh.layouts import column
    from bokeh.models import (
        Arrow,
        ColumnDataSource,
        CustomJS,
        GlyphRenderer,
        HoverTool,
        Legend,
        LegendItem,
        NormalHead,
        PlainText,
        Title,
    )
    from bokeh.plotting import figure
    from bokeh.resources import INLINE
except ImportError:  # the extra "html"
    bokeh = None

SIDE = 64  # of a thumbnail, in pixels
HEIGHT = 620  # of a plot, which is as wide as the window
# A phone's own width is the page's, and a margin is left around it.
HEAD = """{% block preamble %}<meta name="viewport" content="width=device-width">
<style>body { padding: 0 8px }</style>{% endblock %}"""
# Legends beside the plots leave them no room in a narrow window: there they go below.
NARROW = """if (window.innerWidth < 700) {
  for (const plot of plots) {
    const legends = plot.right;
    plot.right = [];
    for (const legend of legends) {
      legend.ncols = 1;
      legend.location = "top_left";
      plot.height += legend.items.length * 22;
    }
    plot.below = [...plot.below, ...legends];
  }
}"""
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
    if bokeh is None:
        raise InputError("`html` needs bokeh: pip install 'ancor-toolkit[html]'")


def page(title: str, layouts: Sequence[Layout], partition: Partition) -> str:
    """Return a page with a picture for each layout; it loads nothing from anywhere.

    Args:
        title: of the page.
        layouts: the pictures.
        partition: what their images are numbered in.
    """
    plots = [_plot(layout, partition) for layout in layouts]
    document = Document()
    document.add_root(column(plots, sizing_mode="stretch_width"))
    document.js_on_event(DocumentReady, CustomJS(args={"plots": plots}, code=NARROW))
    return file_html(document, INLINE, printable(title), template=HEAD)


def _plot(layout: Layout, partition: Partition) -> "figure":
    plot = figure(
        # Text between $$ would be mathematics.
        title=Title(text=PlainText(plain(layout.title, LONGEST_TITLE))),
        sizing_mode="stretch_width",
        height=HEIGHT,
        match_aspect=True,
        tools="pan,wheel_zoom,box_zoom,reset,save",
        active_scroll="wheel_zoom",
    )
    if layout.caption:
        about = Title(text=PlainText(layout.caption), text_font_style="normal")
        plot.add_layout(about, "above")
    plot.axis.visible = False
    plot.grid.visible = False
    if layout.arrows:
        _arrows(plot, layout)
    shown = [_points(plot, layout, number, partition) for number in range(len(layout.names))]
    groups = [(name, [points]) for name, points in zip(layout.names, shown, strict=True)]
    if len(layout.stars):
        groups.append((layout.star_name, []))
    plot.add_tools(HoverTool(renderers=shown, tooltips=TOOLTIP))
    for number, (x, y) in enumerate(layout.stars):
        look_of_star = {"size": 28, "fill_color": "white", "line_color": "black"}
        groups[-1][1].append(plot.scatter(x, y, marker="star", **look_of_star))
        if not layout.arrows:
            plot.scatter(x, y, size=8, **_shape(number))
    # An item each: labels that are equal once cut short would share one.
    items = [LegendItem(label=value(plain(name)), renderers=parts) for name, parts in groups]
    legend = Legend(
        items=items,
        click_policy="hide",
        ncols=legend_columns(len(layout.names)),
        label_text_font_size="9pt",
    )
    plot.add_layout(legend, "right")
    return plot


def _points(plot: "figure", layout: Layout, number: int, partition: Partition) -> "GlyphRenderer":
    """Draw the points of one class, each with what the mouse shows."""
    own = np.flatnonzero(layout.labels == number)
    images, hierarchy = layout.images[own], partition.hierarchy
    fine = [""] * len(own)
    if partition.fine_labels is not None:
        fine = [printable(hierarchy.fine_names[label]) for label in partition.fine_labels[images]]
    coarse = [printable(hierarchy.coarse_names[n]) for n in partition.coarse_labels[images]]
    source = ColumnDataSource(
        {
            "x": layout.points[own, 0],
            "y": layout.points[own, 1],
            "fine": fine,
            "coarse": coarse,
            "number": images,
            "thumbnail": [data_uri(partition.images[image], SIDE) for image in images.tolist()],
        }
    )
    return plot.scatter("x", "y", source=source, size=9, alpha=0.75, **_shape(number))


def _shape(number: int) -> dict[str, str]:
    """Return a class's color and marker as bokeh calls them."""
    style = look(number)
    return {"color": style["color"], "marker": SHAPES[style["marker"]]}


def _arrows(plot: "figure", layout: Layout) -> None:
    x, y = layout.stars[0]
    for number, (end_x, end_y) in zip(np.unique(layout.labels), layout.medians(), strict=True):
        color = look(number)["color"]
        head = NormalHead(size=12, fill_color=color, line_color=color)
        plot.add_layout(
            Arrow(
                end=head,
                x_start=x,
                y_start=y,
                x_end=end_x,
                y_end=end_y,
                line_width=2,
                line_color=color,
            )
        )
