"""The page of proposed sub-classes: complete, safe, and driven in a browser by its keys."""

import asyncio
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from ancor.data.datasets import labels_csv
from ancor.data.images import ColorImages
from ancor.data.partition import Partition
from ancor.evaluation.discovery import Discovery, Subclass
from ancor.plots.discovery_page import page
from tests.plots import browser
from tests.plots.browser import CHROMIUM
from tests.plots.test_check_page import Seen

EVIL = "</script><img src=x onerror=\"document.title='broken'\">"
PATHS = [f'a "b", {n}/é.png' for n in range(20)]


def made(coarse: str = EVIL) -> Discovery:
    """Twenty images: one coarse class in three parts of 5, 4 and 3, another in two of 4."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 3, 16, 20), dtype=np.uint8)
    names = [coarse] * 12 + ["z"] * 8
    partition = Partition.from_names("made", "validation", ColorImages(pixels), names)
    first = int(partition.coarse_labels[0])
    bounds = [
        (first, 0, 5),
        (first, 5, 9),
        (first, 9, 12),
        (1 - first, 12, 16),
        (1 - first, 16, 20),
    ]
    found, counts = [], {}
    for number, start, end in bounds:
        counts[number] = counts.get(number, 0) + 1
        images = np.arange(start, end)
        name = f"{partition.hierarchy.coarse_names[number]}/{counts[number]}"
        found.append(Subclass(number, name, images, images[::-1]))
    return Discovery(partition, tuple(found), (), frozenset())


def test_the_page_shows_each_sub_class_and_loads_nothing():
    text = page(made(), PATHS)
    seen = Seen(text)
    assert seen.tags.count("fieldset") == 5
    assert len(seen.sources) == seen.tags.count("img") == 20  # each picture once
    assert all(source.startswith("data:image/jpeg;base64,") for source in seen.sources)
    assert not re.search(r"https?://", text)
    assert "link" not in seen.tags
    assert seen.tags.count("script") == 2
    assert "default-src 'none'" in text
    assert any(EVIL in each for each in seen.texts)  # as a text


def test_every_field_has_a_label_and_every_picture_a_name():
    text = page(made(), PATHS)
    labeled = set(re.findall(r'<label for="(\w+)"', text))
    fields = re.findall(r'<(?:input|select)[^>]* id="(\w+)"', text)
    assert set(fields) == labeled
    assert len(fields) == 3 * 5
    assert not re.search(r"<img (?![^>]*alt=\"[^\"]+\")", text)


SET = """(() => {{
  const field = document.getElementById('{field}');
  field.value = {value!r};
  for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, {{bubbles: true}}));
}})()"""
STATE = """JSON.stringify([document.getElementById('download').disabled,
  document.getElementById('status').textContent])"""


async def drive(port: str, folder) -> dict:
    """Name, merge and drop as a person would; return what was seen and downloaded."""
    session = await browser.connect(port)
    await session.reload()
    told = {"title": await session.value("document.title"), "wide": {}}
    await session.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    for width in (390, 1400):
        await session.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        sizes = "[document.documentElement.scrollWidth, innerWidth]"
        told["wide"][width] = await session.value(sizes)
    told["shot"] = await session.screenshot()
    # By the keyboard: from the download to the first name, over it, and the box that drops it.
    await session.value("document.getElementById('n0').focus()")
    await session.value("document.activeElement.select()")
    for letter in 'Red, "x"':
        await session.press(letter, letter)
    for _ in range(2):
        await session.press("Tab")
    told["focus"] = await session.value("document.activeElement.id")
    await session.press(" ", " ")
    told["dropped"] = await session.value("document.getElementById('d0').checked")
    await session.press(" ", " ")
    # The second part into the first; the third away; a name of the other coarse class is refused.
    await session.value(SET.format(field="m1", value="0"))
    told["merged"] = await session.value("document.getElementById('n1').value")
    told["together"] = await session.value("document.getElementById('t1').textContent")
    await session.value("document.getElementById('d2').click()")
    await session.value(SET.format(field="n3", value='Red, "x"'))
    told["refused"] = await session.value(STATE)
    await session.value(SET.format(field="n3", value="  "))
    told["nameless"] = await session.value(STATE)
    await session.value(SET.format(field="n3", value=" blue "))
    told["accepted"] = await session.value(STATE)
    await session.value("document.getElementById('download').click()")
    for _ in range(100):
        if (folder / "labels.csv").exists():
            break
        await asyncio.sleep(0.1)
    told["fetched"] = session.fetched
    await session.value("document.getElementById('restore').click()")
    told["reset"] = await session.value("document.getElementById('n1').value")
    return told


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_person_names_merges_and_drops(tmp_path):
    pytest.importorskip("tornado")
    found, path, folder = made(), tmp_path / "index.html", tmp_path / "down"
    folder.mkdir()
    path.write_text(page(found, PATHS), encoding="utf-8")
    with browser.chromium(CHROMIUM, path, tmp_path / "profile") as port:
        told = asyncio.run(asyncio.wait_for(drive(port, folder), 120))
    assert told["title"] != "broken"
    assert {url.partition(":")[0] for url in told["fetched"]} <= {"file", "data", "blob"}
    for width, (content, window) in told["wide"].items():
        assert content <= window == width
    assert told["focus"] == "d0"
    assert told["dropped"]
    assert told["merged"] == 'Red, "x"'
    assert "9" in told["together"]
    assert [told[name].startswith("[true") for name in ("refused", "nameless", "accepted")] == [
        True,
        True,
        False,
    ]
    assert told["reset"] == found.subclasses[1].name
    with Image.open(io.BytesIO(told["shot"])) as shot:
        assert shot.size == (1400, 900)
        colors = shot.convert("RGB").getcolors(1 << 24)
    vivid = sum(count for count, color in colors if max(color) - min(color) > 60)
    assert vivid > 20_000  # the pictures, of random colors
    rows, notes = labels_csv.read(folder / "labels.csv", {})
    assert not notes
    kept = [(row.path, row.coarse, row.fine, row.partition) for row in rows]
    names = ['Red, "x"'] * 9 + [None] * 3 + ["blue"] * 4 + ["z/2"] * 4
    coarse = [EVIL] * 12 + ["z"] * 8
    assert kept == [(p, c, n, "train") for p, c, n in zip(PATHS, coarse, names, strict=True) if n]


def test_the_scripts_data_tell_every_image_and_end_no_element():
    found = made()
    (data,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', page(found, PATHS), re.S
    )
    assert "<" not in data
    told = json.loads(data)
    assert told["columns"] == ["path", "coarse", "fine", "partition"]
    for path, number in told["rows"]:
        assert PATHS.index(path) in found.subclasses[number].images
    assert len(told["rows"]) == 20
