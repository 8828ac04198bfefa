"""Tables of images beside their neighbors: titles, frames, and how many rows of files."""

import numpy as np

from ancor.plots.grid import RIGHT, WRONG
from ancor.plots.neighbors import MOST_ROWS, Shown, files_figure, neighbors_figure
from tests import made
from tests.refusals import tells

PIXELS = np.zeros((8, 8, 3), np.uint8)


def test_pictures_keep_their_titles_and_frames():
    found = [Shown(PIXELS, "cat", True), Shown(PIXELS, "dog", False), Shown(PIXELS, "0.9")]
    rows = [(Shown(PIXELS, "cat", name="image 3"), found), (Shown(PIXELS, "dog"), found[:1])]
    figure = neighbors_figure(rows, "the title", "model.pth; embedding")
    assert figure.get_suptitle().splitlines() == ["the title", "model.pth; embedding"]
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in drawn] == ["cat", "✓ cat", "✗ dog", "0.9", "dog", "✓ cat"]
    assert [axes.texts[0].get_text() for axes in drawn if axes.texts] == ["image 3", ""]
    frames = [axes.spines["top"] for axes in drawn[:4]]
    thin = [frame.get_linewidth() < 1 for frame in frames]  # an edge and no frame
    assert thin == [True, False, False, True]
    assert [frame.get_edgecolor()[:3] for frame in frames[1:3]] == [
        color(RIGHT["color"]),
        color(WRONG["color"]),
    ]
    assert figure.legends


def color(name: str) -> tuple[float, ...]:
    return tuple(int(name[place : place + 2], 16) / 255 for place in (1, 3, 5))


def test_of_files_the_first_queries_are_drawn_without_frames(tmp_path, caplog):
    path = str(made.write(tmp_path / "a.png", 1, (40, 30)))
    match = {"path": path, "similarity": 0.9876, "class": "cat"}
    rows = [{"path": path, "matches": [match]}, {"path": path, "matches": []}]
    figure = files_figure(rows, "search")
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in drawn] == ["", "0.988 cat", ""]
    assert not figure.legends
    assert not caplog.text
    many = files_figure(rows[:1] * (MOST_ROWS + 3), "search")
    assert len([axes for axes in many.axes if axes.images]) == 2 * MOST_ROWS
    assert tells(caplog.text, str(MOST_ROWS), str(MOST_ROWS + 3))
