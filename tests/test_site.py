"""The site of the pages: its navigation has all of them, its reference what the parsers have."""

import argparse
import html
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import ancor
from ancor.__main__ import COMMANDS, function_of
from tests.pages import ROOT, anchors, pages
from tests.plots.browser import CHROMIUM, inspect, needs_axe
from tools.docs_reference import reference

NAV = re.findall(r"^ +- .*?([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
MISSING = "make docs installs MkDocs ('ancor-toolkit[docs]')"


def test_the_navigation_has_every_page_once():
    inside = {path.relative_to("docs").as_posix() for path in pages() if path.parts[0] == "docs"}
    others = {f"project/{path}" for path in pages() if path.parts[0] not in ("docs", "tests")}
    made = {name for name in NAV if name.startswith("reference/")}
    assert sorted(NAV) == sorted(inside | others | made)
    assert made < {f"reference/{name}" for name in reference()}


def rows(page: str) -> list[list[str]]:
    """Return the cells of a page's tables, as they are read: unescaped, without code marks."""
    lines = re.findall(r"^\| (`.+) \|$", page, re.M)
    cells = [re.split(r"(?<!\\) \| ?", line) for line in lines]
    return [[re.sub(r"\\([\\*_|\[\]<])|`", r"\1", cell) for cell in each] for each in cells]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_reference_of_a_command_is_its_help(command):
    """Every flag with its help and default, as `--help` prints them, and no other."""
    parser = function_of(command, "build_parser")()
    shown = rows(reference()[f"{command}.md"])
    expected = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    names = {", ".join(action.option_strings) or action.dest for action in expected}
    assert {row[0] for row in shown} == names
    assert len(shown) == len(expected)
    # What --help prints is the oracle; its lines are broken, here and there within a word.
    printed = re.sub(r"[\s`]", "", parser.format_help())
    for names, value, text in shown:
        assert re.sub(r"\s", "", text) in printed, names
        assert value.replace(" ", "") in printed, names


def test_the_reference_has_every_public_name():
    page = reference()["python.md"]
    for name in ancor.__all__:
        full = f"{getattr(ancor, name).__module__}.{name}"
        assert f"\n::: {full}\n" in page
        assert f"heading: ancor.{name}\n" in page


def test_a_docstrings_joined_names_are_told_apart():
    pytest.importorskip("griffe", reason=MISSING)
    from tools.docs_docstrings import split_names

    text = "Do.\n\nArgs:\n    mean, std: of each\n        channel.\n    size: in pixels.\n"
    assert split_names(text).splitlines()[3:] == [
        *("    mean: of each", "        channel."),
        *("    std: of each", "        channel."),
        "    size: in pixels.",
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built with every warning an error."""
    if not (find_spec("material") and find_spec("mkdocstrings")):
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    made = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    return folder


@pytest.mark.slow
def test_a_page_has_the_anchors_that_it_has_in_a_clone(site):
    for page in (Path("docs/experiments.md"), Path("docs/predict.md"), Path("README.md")):
        folder = site if page.parts[0] == "docs" else site / "project"
        name = "index" if page.stem == "README" else page.stem
        text = (folder / f"{name}.html").read_text(encoding="utf-8")
        assert anchors(page) <= set(re.findall(r'<h\d id="([^"]+)"', text))


@pytest.mark.slow
def test_no_page_asks_another_host_for_anything(site):
    asks = re.compile(r"<(?:script|img|iframe|link|source|video)\b[^>]*(?:src|href)=\"([^\"]+)\"")
    files = list(site.rglob("*.html"))
    assert len(files) > 50
    for file in files:
        for target in asks.findall(file.read_text(encoding="utf-8")):
            assert not re.match(r"(?:\w+:)?//", html.unescape(target)), (file, target)
    for file in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(?:https?:)?//", file.read_text(encoding="utf-8"))
    assert "<nav" in (site / "index.html").read_text(encoding="utf-8")


# What scrolls sideways has to be reached by the keyboard.
UNREACHED = """JSON.stringify([...document.querySelectorAll('article *')].filter(e =>
  e.scrollWidth > e.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(e).overflowX)
  && e.tabIndex < 0).map(e => e.className || e.tagName))"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@needs_axe
@pytest.mark.parametrize("width", [390, 1400])
def test_pages_fit_a_phone_and_a_screen_and_axe_finds_nothing_serious(site, width, tmp_path):
    pytest.importorskip("tornado")
    for name in ("index", "experiments", "reference/train", "reference/python", "project/index"):
        page, profile = site / f"{name}.html", tmp_path / name.replace("/", "-")
        (wide, inner), faults, fetched = inspect(page, width, profile, UNREACHED)
        assert wide <= inner, name  # a table scrolls in its own box
        assert faults == [], name
        assert fetched, name
        assert all(address.startswith(("file:", "data:", "blob:")) for address in fetched), name
