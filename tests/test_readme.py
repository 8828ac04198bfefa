"""README: short, its table made of measured cells, its badges and extras those of setup.py."""

import re
import runpy
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import setuptools
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import readme_table  # noqa: E402
from ablation import cell_path  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")
FIGURES = ROOT / "docs" / "figures"


@pytest.fixture(scope="module")
def setup() -> dict:
    """What setup.py passes to setuptools."""
    told: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **about: told.update(about))
        runpy.run_path(str(ROOT / "setup.py"))
    return told


def test_it_is_short_and_begins_with_what_comes_out():
    assert README.count("\n") <= 120
    pictures = re.findall(r"^!\[.+\]\((.+)\)$", README, re.M)
    assert pictures == ["docs/images/photographs.png", "docs/images/method.png"]
    assert README.index(pictures[1]) < README.index("## Install")
    assert (ROOT / pictures[0]).stat().st_size < 300_000
    with Image.open(ROOT / pictures[0]) as image:
        assert image.width > 2 * image.height


def test_its_table_is_what_the_cells_say():
    assert readme_table.with_table(README) == README
    for title, (kind, row) in readme_table.ROWS.items():
        assert re.search(rf"^\| {re.escape(title)} \|( \d+\.\d / .*)? \|", README, re.M)
        studies = [s for s in readme_table.COLUMNS[next(iter(readme_table.COLUMNS))] if kind in s]
        assert [cell_path(study, row, 0).exists() for study in studies] == [True]


def test_a_table_without_its_cells_is_not_what_is_there(monkeypatch):
    changed = README.replace("| frozen | 86.9", "| frozen | 87.9")
    assert changed != README
    assert readme_table.with_table(changed) == README


def test_every_extra_is_listed(setup):
    listed = re.search(r"^\| extra \| .*?\n\n", README, re.M | re.S)[0]
    first = "".join(row.split("|")[1] for row in listed.strip().splitlines())
    assert sorted(re.findall(r"`([\w-]+)`", first)) == sorted(setup["extras_require"])


def test_badges_say_what_setup_says(setup):
    badges = runpy.run_path(str(FIGURES / "badges.py"))
    for name, texts in badges["badges"]().items():
        file = ROOT / "docs" / "images" / f"badge-{name}.svg"
        assert file.read_text(encoding="utf-8") == badges["svg"](*texts)
        drawn = ElementTree.fromstring(file.read_text(encoding="utf-8"))
        shown = [text.text for text in drawn.iter() if text.tag.endswith("text")]
        assert shown == list(texts)
        assert f"(docs/images/badge-{name}.svg)" in README
    said = badges["badges"]()
    assert said["version"][1] == setup["version"]
    assert said["license"][1] == setup["license"]
    minors = [c.rpartition(".")[2] for c in setup["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert said["python"][1] == f"3.{minors[0]} to 3.{minors[-1]}"
    assert said["paper"][1].removeprefix("arXiv ") in setup["url"]
