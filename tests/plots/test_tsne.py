"""t-SNE pictures: the legend, what is drawn where, and the page with its thumbnails."""

import asyncio
import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from ancor.data.hierarchy import Hierarchy
from ancor.data.images import ColorImages
from ancor.data.partition import Partition
from ancor.plots import page as pages
from ancor.plots.style import look
from ancor.plots.thumbnails import data_uri, thumbnail
from ancor.plots.tsne import Layout, figure
from tests.plots import browser
from tests.refusals import refuses

EVIL = "<img src=x onerror=\"document.title='broken'\"> & 'co'"


def layout(classes: int, stars: int = 0, each: int = 3, **more) -> Layout:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    points = rng.normal(size=(len(labels), 2)) + labels[:, None]
    names = [f"class number {n}" for n in range(classes)]
    stars = rng.normal(size=(stars, 2))
    return Layout("title", points, labels, names, np.arange(len(labels)), stars, **more)


def partition(classes: int, names: tuple[str, ...] | None = None) -> Partition:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3 * classes, 3, 16, 20), dtype=np.uint8)
    names = names or tuple(f"fine {n}" for n in range(classes))
    hierarchy = Hierarchy(("animals",), names, (0,) * classes)
    labels = np.repeat(np.arange(classes), 3)
    return Partition.from_fine("made", "test", ColorImages(pixels), labels, hierarchy)


def test_a_legend_of_many_classes_is_whole_and_tells_them_apart_without_color():
    drawn = figure(layout(34, stars=34))
    (axes,) = drawn.axes
    texts = axes.get_legend().get_texts()
    assert [t.get_text() for t in texts] == [
        *(f"class number {n}" for n in range(34)),
        "class weights",
    ]
    drawn.savefig(io.BytesIO(), bbox_inches="tight")
    boxes = [text.get_window_extent() for text in texts]
    assert min(box.y0 for box in boxes) > 0
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert len({tuple(look(n).values()) for n in range(104)}) == 104
    assert len({look(n)["marker"] for n in range(13)}) == 13


def test_arrows_go_from_the_star_to_the_medians():
    made = layout(4, stars=1, arrows=True)
    arrows = figure(made).axes[0].texts  # annotations without words
    assert [tuple(arrow.xyann) for arrow in arrows] == [tuple(made.stars[0])] * 4
    for number, arrow in enumerate(arrows):
        np.testing.assert_allclose(arrow.xy, np.median(made.points[3 * number : 3 * number + 3], 0))


def test_a_line_below_the_title_says_what_the_features_are_of():
    made = layout(3, caption="digits/model.pth; embedding; t-SNE")
    assert figure(made).axes[0].get_title().splitlines() == ["title", made.caption]


def test_without_stars_none_are_drawn():
    words = [t.get_text() for t in figure(layout(3)).axes[0].get_legend().get_texts()]
    assert words == [f"class number {n}" for n in range(3)]


def test_thumbnails_are_the_middle_square():
    pixels = torch.zeros(3, 8, 16, dtype=torch.uint8)
    pixels[:, :, 4:12] = 200
    small = thumbnail(pixels, 8)
    assert small.size == (8, 8)
    assert (np.asarray(small) == 200).all()
    uri = data_uri(pixels, 8)
    kind, content = uri.split(",")
    assert kind == "data:image/png;base64"
    back = Image.open(io.BytesIO(base64.b64decode(content)))
    np.testing.assert_array_equal(np.asarray(back), np.asarray(small))


def test_the_page_is_complete_in_itself():
    layouts = [layout(3, stars=3, caption="m.pth; t-SNE"), layout(3, stars=1, arrows=True)]
    text = pages.page("digits", layouts, partition(3))
    assert text.count("m.pth; t-SNE") == 1
    assert text.count("data:image/png;base64,") >= 18
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']?(https?:)?//", text)


def test_every_marker_has_a_shape_of_its_own():
    assert len(set(pages.SHAPES.values())) == len(pages.SHAPES)


def test_without_bokeh_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(pages, "bokeh", None)
    with refuses("--html", "bokeh", "pip install 'ancor-toolkit[html]'"):
        pages.require_bokeh()


@pytest.mark.skipif(browser.CHROMIUM is None, reason="needs chromium")
def test_the_mouse_brings_up_the_image_and_its_names_and_nothing_is_fetched(tmp_path):
    path = tmp_path / "page.html"
    names = (EVIL, "b", "c")
    path.write_text(pages.page(EVIL, [layout(3, stars=3)], partition(3, names)), encoding="utf-8")
    with browser.chromium(browser.CHROMIUM, path, tmp_path / "profile") as port:
        told, fetched, shot = asyncio.run(browser.hover(port))
    ((text, width),) = told
    assert text.split("\n") == [EVIL, "animals", "image 0"]
    assert width == pages.SIDE
    assert {url.split(":")[0] for url in fetched} <= {"file", "data", "blob"}
    assert [url for url in fetched if url.startswith("file")] == [path.as_uri()]
    assert len(set(np.asarray(Image.open(io.BytesIO(shot)).convert("L")).ravel())) > 50
