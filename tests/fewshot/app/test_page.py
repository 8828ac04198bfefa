"""The page in a browser: by mouse, by keys alone, on a phone, from the start to predict."""

import asyncio
import csv
import json
import os

import pytest

from ancor.cli.predict import main as predict
from tests.fewshot.app.driving import CHROMIUM, HEADING, calm, drive, serving
from tests.fewshot.digits import write_digits
from tests.plots.browser import needs_axe, serious

pytest.importorskip("starlette")
pytest.importorskip("tornado")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]
SMALL = ("--image-size", "32")
EVIL = "<img src=x onerror=document.title='broken'>"


PLACE = "document.activeElement.closest('.tile').dataset.number"
# Controls and pictures beside the window, or too small for a finger (WCAG 2.2: 24 pixels).
BESIDE = """[...document.querySelectorAll('button, input, select, summary, h1, h2, img')].filter(
e => {
  const box = e.getBoundingClientRect();
  const small = e.matches('button, select, summary') && Math.min(box.width, box.height) < 24;
  const seen = e.checkVisibility() && box.width && !e.closest('#classes');
  return seen && (box.left < 0 || box.right > innerWidth || small);
}).map(e => e.outerHTML.slice(0, 120))"""
OTHER_IMAGES = """[...document.images].filter(
  image => !/\\/pictures\\/\\d+\\/(small|large)$/.test(image.src)).length"""


async def typed(session, text: str) -> None:
    for letter in text:
        await session.press(letter, letter)


@pytest.fixture(scope="module")
def made(tmp_path_factory, quick_run):
    """A folder whose first coarse class has a name that would be markup, and an encoder."""
    photos = tmp_path_factory.mktemp("made") / "photos"
    write_digits(photos)
    first = min(photos.iterdir())
    first.rename(photos / f"0 {EVIL}")
    return quick_run / "model_best.pth.tar", photos


def test_three_classes_by_five_clicks_each_are_saved_and_predict(made, tmp_path, capsys):
    model, photos = made
    output, seen = tmp_path / "out", {}

    async def act(session):
        seen["title"] = await session.value("document.title")
        assert EVIL in await session.value("document.querySelector('#heading').textContent")
        for group, name in enumerate(("round", EVIL, "third")):
            await session.click(f"#proposal-{group}")
            await typed(session, name)
            await session.click(".group form button", group)
            await session.until(
                "JSON.stringify(state.classes.length)", lambda n, g=group: n == g + 1
            )
            await calm(session)
            for place in range(5):
                own = f".group:nth-of-type({group + 1}) .pick"
                await session.click(own, place)
                await calm(session)
        assert await session.value("state.labeled") == 15
        await session.until("JSON.stringify(state.checked)", lambda checked: checked)
        await session.click("[data-view=waiting]")
        await session.until(HEADING, lambda text: text.endswith("to label"))
        told = await session.value("document.querySelector('.tile .told').textContent")
        assert "%" in told
        # One answer is confirmed, one picture dropped, and both are taken back.
        await session.click(".tile .confirm", 3)
        await session.click(".tile .drop", 4)
        await calm(session)
        assert await session.value("[state.labeled, state.dropped]") == [16, 1]
        for _ in range(2):
            await session.click("#undo")
            await calm(session)
        assert await session.value("[state.labeled, state.dropped]") == [15, 0]
        assert await session.value("document.querySelectorAll('#classes input').length") == 3
        await session.click("#save")
        await session.until("JSON.stringify(document.querySelectorAll('#saved code').length)", bool)
        seen["next"] = await session.value(
            "[...document.querySelectorAll('#saved code')].map(each => each.textContent)"
        )
        seen["answers"] = await session.value("state.coarse[0].size - 15")
        seen["fetched"] = session.fetched
        seen["images"] = await session.value(OTHER_IMAGES)
        seen["end"] = await session.value("document.title")

    with serving(model, photos, output, *SMALL) as address:
        drive(address, tmp_path / "profile", act)
    assert "broken" not in (seen["title"], seen["end"])
    assert seen["next"][1].endswith(f" --arch conv4 --image-size 32 --pretrained {model}")
    assert seen["images"] == 1  # the empty one of the dialog
    assert all(url.startswith((address, "data:,")) for url in seen["fetched"])
    assert any("/pictures/" in url for url in seen["fetched"])
    with open(output / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["fine"]: 5 for row in rows} == {"round": 5, EVIL: 5, "third": 5}
    assert len(rows) == 15
    with open(output / "answers.csv", newline="", encoding="utf-8") as file:
        told = {row["path"]: row for row in csv.DictReader(file)}
    capsys.readouterr()
    command = ["--saved", str(output / "classifier.ancor"), "--query", str(photos), "--json"]
    assert predict([*command, "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert len(told) == seen["answers"]
    for each in found:
        row = told.get(os.path.relpath(each["path"], photos))
        if row is not None:
            assert row["class"] == each["nearest"]
            assert (row["none"] == "1") == (each["class"] == "unknown")


def test_the_keyboard_can_do_everything(made, tmp_path):
    model, photos = made

    async def focus(session) -> str:
        return await session.value(
            "document.activeElement.id || document.activeElement.dataset.view || "
            "document.activeElement.className || document.activeElement.tagName"
        )

    async def tab_to(session, what: str) -> list[str]:
        passed = []
        while (await focus(session)) != what:
            assert len(passed) < 80, passed
            passed.append(await focus(session))
            await session.press("Tab")
        return passed

    async def act(session):
        await tab_to(session, "name")
        for name in ("one", "two"):
            await session.value("document.querySelector('#name').focus()")
            await typed(session, name)
            await session.press("Enter", "\r")
            await calm(session)
        passed = await tab_to(session, "pick")
        for control in ("undo", "coarse", "proposals", "waiting", "none", "labeled", "dropped"):
            assert control in passed
        for key in ("1", "ArrowRight", "1", "ArrowRight", "2", "ArrowRight", "2"):
            await session.press(key, key if len(key) == 1 else "")
            await calm(session)
        assert await session.value("state.classes.map(each => each.labeled)") == [2, 2]
        # The chosen class by Space, and back; the whole picture; drop; undo.
        await session.press("ArrowRight")
        for labeled in (5, 4):
            await session.press(" ", " ")
            await calm(session)
            assert await session.value("state.labeled") == labeled
        await session.press("o", "o")
        assert await session.value("document.querySelector('#look').open")
        await session.press("2", "2")
        await calm(session)
        await session.press("Escape")
        assert not await session.value("document.querySelector('#look').open")
        assert await focus(session) == "pick"
        assert await session.value("state.classes[1].labeled") == 3
        await session.press("u", "u")
        await session.press("x", "x")
        await calm(session)
        assert await session.value("[state.labeled, state.dropped]") == [4, 1]
        place = await session.value(PLACE)
        for key, there in (("ArrowDown", False), ("ArrowUp", True)):
            await session.press(key)
            assert ((await session.value(PLACE)) == place) is there
        # From a picture to its tools, and to the lists.
        assert (await tab_to(session, "look"))[0] == "pick"
        await session.press("Enter", "\r")
        assert await session.value("document.querySelector('#look').open")
        await session.press("Escape")
        # While the dialog is open, nothing beside it takes the focus.
        await session.until(
            "JSON.stringify(document.querySelector('#look').open)", lambda shown: not shown
        )
        await session.value("document.querySelector('[data-view=waiting]').focus()")
        await session.press("Enter", "\r")
        await session.until(HEADING, lambda text: text.endswith("to label"))
        await tab_to(session, "pick")
        answer = await session.value("document.activeElement.closest('.tile').about.answer")
        await session.press("y", "y")
        await calm(session)
        assert await session.value("document.activeElement.closest('.tile').about.label") == answer
        # Another name for a class, and away with one.
        await session.value("document.querySelector('#rename-0').focus()")
        await session.press("Enter", "\r")
        await typed(session, "uno")
        await session.press("Enter", "\r")
        await calm(session)
        assert await session.value("state.classes[0].name") == "uno"
        await session.value("document.querySelector('#save').focus()")
        await session.press("Enter", "\r")
        await session.until("JSON.stringify(document.querySelectorAll('#saved code').length)", bool)
        await session.value("document.querySelector('#remove-1').focus()")
        await session.press(" ", " ")
        await calm(session)
        assert await session.value("state.classes.length") == 1

    with serving(model, photos, tmp_path / "out", *SMALL) as address:
        drive(address, tmp_path / "profile", act)


@needs_axe
def test_phones_and_windows_show_all_of_it_and_axe_finds_nothing_serious(made, tmp_path):
    model, photos = made

    async def act(session):
        for width in (1400, 390):
            await session.resize(width)
            await session.value("rename(null)")
            for name in ("one", "two"):
                name = f"{name} at {width} px with a name that is rather long for such a window"
                await session.value(f"document.querySelector('#name').value = {name!r}")
                await session.value("document.querySelector('#name-form').requestSubmit()")
                await calm(session)
                for place in (0, 1):
                    await session.click(
                        f".group:nth-of-type({1 if 'one' in name else 2}) .pick", place
                    )
                    await calm(session)
            for view in ("waiting", "none", "labeled", "dropped", "proposals"):
                await session.click(f"[data-view={view}]")
                await calm(session)
                await asyncio.sleep(0.5)
                sizes = await session.value("[document.documentElement.scrollWidth, innerWidth]")
                assert sizes[0] <= sizes[1] == width, (view, sizes)
                assert await session.value(BESIDE) == [], (view, width)
                assert await serious(session) == [], (view, width)
            await session.click(".tile .look")
            assert await serious(session) == [], ("look", width)
            await session.value("document.querySelector('#look').close()")

    with serving(model, photos, tmp_path / "out", *SMALL) as address:
        drive(address, tmp_path / "profile", act)
