"""The page of a look through a dataset: complete, safe whoever named the files, and seen."""

import re
import subprocess
from html.parser import HTMLParser

import pytest
from PIL import Image

from ancor.cli import check_data
from ancor.data.config import DataConfig
from ancor.data.report import check
from ancor.plots.check_page import page
from tests.data.test_repeats import made_folder, smooth
from tests.plots.browser import CHROMIUM

EVIL = "<img src=x onerror=alert(1)>"


class Seen(HTMLParser):
    """Collects tags, attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.sources, self.texts, self.ids = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attrs = dict(attrs)
        self.sources += [attrs["src"]] if "src" in attrs else []
        self.ids += [attrs["id"]] if "id" in attrs else []

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def found(tmp_path):
    """A folder with repeated pictures, a class of an evil name and doubted labels; its report."""
    root = made_folder(tmp_path / "images")
    for number in range(3):
        path = root / "train" / "a" / EVIL.replace("/", "") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        smooth(90 + number).save(path)
    data = DataConfig("folder", root=str(root))
    name = data.load("train").images.name(4)
    doubt = {"partition": "train", "index": 4, "name": name, "class": "a0", "suggested": EVIL}
    return data, check(data, deep=True, outliers=[{**doubt, "share": 0.9}])


def test_the_page_shows_what_was_found_and_loads_nothing(found):
    data, report = found
    text = page(data, report)
    seen = Seen(text)
    assert {"problems", "notes", "small", "duplicates", "outliers"} >= set(seen.ids)
    assert {"notes", "small", "duplicates", "outliers"} <= set(seen.ids)
    pictures = sum(len(group) for group in report["duplicates"]["groups"]) + 1
    assert len(seen.sources) == seen.tags.count("img") == pictures
    assert all(source.startswith("data:image/png;base64,") for source in seen.sources)
    assert "script" not in seen.tags
    assert "link" not in seen.tags
    assert not re.search(r"https?://", text)
    assert EVIL in " ".join(seen.texts)  # as a text
    for line in report["notes"]:
        assert line in seen.texts
    assert any("90%" in each for each in seen.texts)


def test_the_command_writes_it(tmp_path, capsys):
    root, path = made_folder(tmp_path / "images"), tmp_path / "new" / "page.html"
    assert check_data.main(["--data", str(root), "--n-queries", "1", "--html", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Wrote {path}"
    seen = Seen(path.read_text(encoding="utf-8"))
    assert "duplicates" not in seen.ids  # which were not asked for
    (root / "train/a/a0/0.png").write_bytes(b"broken")
    assert check_data.main(["--data", str(root), "--n-queries", "1", "--html", str(path)]) == 1
    assert "problems" in Seen(path.read_text(encoding="utf-8")).ids
    assert "0.png" in path.read_text(encoding="utf-8")


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_the_pictures(found, tmp_path):
    """What chromium draws holds the pictures' colors, beside white ground, text and shading."""
    data, report = found
    path, shot = tmp_path / "page.html", tmp_path / "page.png"
    path.write_text(page(data, report), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--window-size=1000,2000", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--screenshot={shot}", path.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    with Image.open(shot) as image:
        pixels = image.convert("RGB")
    assert pixels.size == (1000, 2000)
    colors = {color: count for count, color in pixels.getcolors(1 << 24)}
    assert colors[255, 255, 255] > 500_000
    assert colors[(0xFB, 0xEE, 0xE6)] > 5_000  # the ground of groups across partitions
    vivid = sum(count for color, count in colors.items() if max(color) - min(color) > 60)
    shown = sum(len(group) for group in report["duplicates"]["groups"]) + 1
    assert vivid > 0.3 * shown * 112 * 112
