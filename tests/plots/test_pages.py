"""HTML pages that commands write: they fit a phone and a window, and a reader's tools read them."""

import pytest

from ancor.cli import discover, tsne
from ancor.data.config import DataConfig
from ancor.data.report import check
from ancor.plots.check_page import page as check_page
from tests.data.test_repeats import made_folder
from tests.plots.browser import CHROMIUM, inspect, needs_axe

pytest.importorskip("tornado")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
    needs_axe,
]
# Plots of t-SNE with a legend where it should not be: in a narrow window beside them.
MISPLACED = """JSON.stringify(Bokeh.documents[0].roots()[0].children.filter(
  plot => plot.%s.some(each => each.type === 'Legend')).map(plot => plot.id))"""


@pytest.fixture(scope="module")
def pages(quick_run, tmp_path_factory):
    """A page of each kind, by what wrote it."""
    folder = tmp_path_factory.mktemp("pages")
    model = ["--model-path", str(quick_run / "model_best.pth.tar"), "--device", "cpu"]
    assert discover.main([*model, "--output", str(folder / "found")]) == 0
    command = [*model, "--partition", "test", "--output-dir", str(folder), "--html"]
    assert tsne.main(command) == 0
    data = DataConfig("folder", root=str(made_folder(folder / "images")))
    image = {"partition": "train", "index": 4, "name": data.load("train").images.name(4)}
    doubt = {**image, "class": "a0", "suggested": "a class of a rather long name", "share": 0.9}
    checked = folder / "check.html"
    checked.write_text(check_page(data, check(data, deep=True, outliers=[doubt])))
    (drawn,) = folder.glob("digits_*.html")
    return {"discover": folder / "found" / "index.html", "tsne": drawn, "check-data": checked}


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("kind", ["discover", "tsne", "check-data"])
def test_a_page_fits_and_axe_finds_nothing_serious(pages, kind, width, tmp_path):
    empty = MISPLACED % ("right" if width < 700 else "below") if kind == "tsne" else "'[]'"
    (wide, inner), faults, fetched = inspect(pages[kind], width, tmp_path / "profile", empty)
    assert wide <= inner
    assert faults == []
    asked = {address for address in fetched if not address.startswith(("data:", "blob:"))}
    assert asked == {pages[kind].as_uri()}
