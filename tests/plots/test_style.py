"""D21: names of classes, runs and files are plain text in every picture and page."""

import io
import logging
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from PIL import Image

from ancor.plots import board, page, style
from ancor.plots.contact_sheet import contact_sheet
from ancor.plots.curves import curves_figure
from ancor.plots.evaluation import confusion_figure, histogram_figure
from ancor.plots.localize import localize_figure
from ancor.plots.neighbors import Shown, neighbors_figure
from ancor.plots.tsne import Layout, figure
from ancor.runtime.text import printable
from tests.plots.test_tsne import layout, partition
from tests.refusals import one_line

NAMES = (r"$\frac{$", "_hidden", "a\tb\n\x1b[31m", "\u202egnp", "漢字", r"\$x_1$", "x" * 200)
PIXELS = np.zeros((8, 8, 3), np.uint8)


def tsne(names=NAMES):
    made = layout(len(names), stars=1)
    return figure(Layout(names[0], made.points, made.labels, names, made.images, made.stars))


def neighbors():
    found = [Shown(PIXELS, "a", True), Shown(PIXELS, "b", False)]
    rows = [(Shown(PIXELS, n, name=n), [Shown(PIXELS, n), *found]) for n in NAMES]
    return neighbors_figure(rows, NAMES[0])


def confusion(coarse=True):
    counts = np.ones((len(NAMES), len(NAMES)), int)
    of_fine = list(range(len(NAMES))) if coarse else None
    return confusion_figure(counts, NAMES, NAMES, of_fine, 0.5, NAMES[0])


FIGURES = {
    "tsne": tsne,
    "neighbors": neighbors,
    "confusion": confusion,
    "histogram": lambda: histogram_figure(np.array([0.1, 0.2]), 0.15, 0.1, NAMES[0]),
    "contact sheet": lambda: contact_sheet([(n, [[PIXELS] * 3]) for n in NAMES], NAMES[0]),
    "localize": lambda: localize_figure(
        [PIXELS] * len(NAMES), np.ones((len(NAMES), 2, 2)), NAMES, NAMES[0], "label"
    ),
    "curves": lambda: curves_figure({name: {"loss/$a$": ([1, 2], [0, 1])} for name in NAMES}),
}


@pytest.mark.parametrize("kind", FIGURES)
@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_every_picture_takes_every_name(kind, form):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        style.write(FIGURES[kind](), io.BytesIO(), format=form)


@pytest.mark.parametrize("kind", FIGURES)
def test_text_is_neither_mathematics_nor_tex_and_of_one_line(kind):
    texts = FIGURES[kind]().findobj(Text)
    assert not any(text.get_parse_math() or text.get_usetex() for text in texts)
    shown = [text.get_text() for text in texts]
    assert all(line == printable(line) for text in shown for line in text.split("\n"))
    assert max(map(len, shown)) < 150
    if kind not in ("histogram", "curves"):
        assert any("…" in text for text in shown)


def test_names_with_an_underscore_are_in_every_legend():
    names = ("_a", "b", "__c", "")
    found = [text.get_text() for text in tsne(names).axes[0].get_legend().get_texts()]
    assert found == [*names, "class weights"]
    (legend,) = curves_figure({n: {"loss/a": ([1], [0])} for n in names}).legends
    assert [text.get_text() for text in legend.get_texts()] == list(names)


def test_a_mathematical_name_looks_as_it_is_written():
    """Pixels: `$x$` takes the room of three letters; as mathematics it would be one."""

    def width(name: str) -> float:
        drawn = tsne((name,))
        style.write(drawn, io.BytesIO())
        return drawn.axes[0].get_legend().get_texts()[0].get_window_extent().width

    assert width("$x$") > 1.8 * width("x")


def test_a_missing_script_is_told_in_one_line_and_a_font_that_has_it_is_taken(caplog, monkeypatch):
    found = [font for font in fontManager.ttflist if not font.name.startswith(("Last", "STIXNon"))]
    has = {font.name: FT2Font(font.fname).get_charmap().keys() for font in found}
    if any(ord("漢") in letters for letters in has.values()):
        pytest.skip("a font for Chinese is installed here")
    monkeypatch.setattr(logging.getLogger("ancor"), "propagate", True)
    names = ("漢字 once", "b")  # which no other test draws
    with caplog.at_level(logging.WARNING):
        tsne(names)
        tsne(names)  # told once
    told = [record for record in caplog.records if "漢字 once" in record.getMessage()]
    assert len({record.created for record in told}) == 1  # one, whoever else listens
    one_line(told[0].getMessage(), "'漢字 once'")
    usual = FT2Font(findfont(FontProperties())).get_charmap()
    others = ((name, chr(c)) for name, letters in has.items() for c in letters if c not in usual)
    letter = next(c for _, c in others if c.isprintable())
    text = next(t for t in tsne((letter, "b")).findobj(Text) if t.get_text() == letter)
    assert set(text.get_fontfamily()) & {n for n, letters in has.items() if ord(letter) in letters}


def test_a_page_shows_names_as_they_are(monkeypatch):
    pytest.importorskip("bokeh")
    evil = "</script><script>alert(1)</script>"
    names = (evil, "$$x$$", "\u202egnp", "y" * 200 + "1", "y" * 200 + "2")
    made = layout(5, stars=5)
    drawn = Layout("$$t$$", made.points, made.labels, names, made.images, made.stars)
    text = page.page(evil, [drawn], partition(5, names))
    assert evil not in text
    assert "\u202e" not in text
    assert text.count("\\\\u202egnp") >= 1
    monkeypatch.setattr(page, "file_html", lambda plots, *_, **how: plots)
    (plot,) = page.page(evil, [drawn], partition(5, names)).roots[0].children
    assert plot.title.text.text == "$$t$$"  # PlainText, which is not read as mathematics
    labels = [item.label.value for item in plot.legend[0].items]
    assert len(labels) == 6  # alike ones have an entry each
    assert labels[:2] == [evil, "$$x$$"]
    assert {len(item.renderers) for item in plot.legend[0].items[:5]} == {1}


def test_the_projector_takes_bytes_and_control_characters():
    rows = []
    writer = SimpleNamespace(add_embedding=lambda features, metadata, **_: rows.extend(metadata))
    names = {"fine": ["a\x1b[31m\udcff\u202e"], "coarse": [" \t"]}
    board.add_projector(writer, np.zeros((1, 2)), [Image.fromarray(PIXELS)], names, 0)
    assert rows == [[r"a\x1b[31m\udcff\u202e", "-"]]
