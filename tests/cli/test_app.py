"""The command: what it refuses, and how fast its page is."""

import socket
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from ancor.cli.app import main
from tests.fewshot.app.driving import CHROMIUM, calm, drive, serving
from tests.fewshot.digits import write_digits
from tests.refusals import refused

serve = pytest.importorskip("ancor.fewshot.app.serve")
pytest.importorskip("starlette")
pytest.importorskip("tornado")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
# Milliseconds from a click to all that follows from it, shown.
CLICK = """(async () => {
  const start = performance.now();
  document.querySelectorAll('.pick')[%d].click();
  await queue;
  await new Promise(requestAnimationFrame);
  return performance.now() - start;
})()"""
# Milliseconds from the request of the page to its first list, whose pictures in sight are there.
FIRST = """(async () => {
  const inside = image => image.getBoundingClientRect().top < innerHeight;
  for (;;) {
    const images = [...document.querySelectorAll('.tile img')].filter(inside);
    if (images.length && images.every(image => image.complete && image.naturalWidth)) break;
    await new Promise(requestAnimationFrame);
  }
  return performance.now();
})()"""


@pytest.fixture
def asked(quick_run, tmp_path):
    write_digits(tmp_path / "photos")
    command = ["--model-path", str(quick_run / "model_best.pth.tar"), "--device", "cpu"]
    return [*command, "--data", str(tmp_path / "photos"), "--output", str(tmp_path / "out")]


def test_a_port_that_is_taken_is_told_before_anything_is_computed(asked, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused(main, [*asked, "--port", port], capsys, "--port", port, "0")
    assert not (tmp_path / "out").exists()
    refused(main, [*asked, "--port", "65536"], capsys, "--port", "65536")
    refused(
        main, [*asked, "--host", "no.such.host.example"], capsys, "--host", "no.such.host.example"
    )


def test_what_is_no_folder_of_pictures_is_refused(asked, tmp_path, capsys):
    refused(main, [*asked, "--port", "0", "--dataset", "digits"], capsys, "digits", "--data")
    (tmp_path / "file").write_text("")
    asked[asked.index("--output") + 1] = str(tmp_path / "file" / "out")
    refused(main, [*asked, "--port", "0"], capsys, f"'{tmp_path}/file/out/session.json'")


def test_an_output_among_the_pictures_is_refused_and_not_made(asked, tmp_path, capsys):
    for output in (tmp_path / "photos" / "out", tmp_path / "photos"):
        asked[asked.index("--output") + 1] = str(output)
        refused(main, [*asked, "--port", "0"], capsys, "--output", f"'{output}'")
    assert not (tmp_path / "photos" / "out").exists()
    assert not (tmp_path / "photos" / "session.json").exists()


def test_without_its_packages_one_line_says_what_to_install(asked, monkeypatch, capsys):
    monkeypatch.setattr(serve, "uvicorn", None)
    refused(main, [*asked, "--port", "0"], capsys, "pip install 'ancor-toolkit[app]'")


def test_only_this_machines_own_interface_needs_no_token():
    with serve.Server("127.0.0.1", 0) as here, serve.Server("0.0.0.0", 0) as everywhere:
        assert "token" not in here.address
        address, _, token = everywhere.address.partition("?token=")
        assert address.startswith("http://")
        assert len(token) >= 32
        with serve.Server("0.0.0.0", 0) as other:
            assert other.address.partition("?token=")[2] != token


@pytest.mark.slow
@needs_chromium
def test_5000_pictures_show_in_three_seconds_and_answer_a_click_in_a_third(quick_run, tmp_path):
    draws, photos, seen = np.random.default_rng(0), tmp_path / "photos", {}
    for coarse in range(5):
        (photos / f"class {coarse}").mkdir(parents=True)
        for n in range(1000):
            pixels = draws.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            image = Image.fromarray(pixels).resize((128, 128))
            image.save(photos / f"class {coarse}" / f"{n}.jpg", quality=70)

    async def act(session):
        seen["first"] = await session.settled(FIRST)
        clicks = []
        for group in (0, 1, 2):
            await session.value(f"document.querySelector('#name').value = 'class {group}'")
            await session.value("document.querySelector('#name-form').requestSubmit()")
            await calm(session)
            for place in range(5):
                clicks.append(await session.settled(CLICK % (24 * group + place)))
        assert await session.value("state.total") == 5000
        assert await session.value("state.labeled") == 15
        seen["clicks"] = clicks

    model, small = quick_run / "model_best.pth.tar", ("--image-size", "32")
    asked = (model, photos, tmp_path / "out", *small)
    with serving(*asked) as address, urlopen(address) as page:  # for the features
        assert page.status == 200
    with serving(*asked) as address:
        drive(address, tmp_path / "profile", act)
    print(
        f"first page {seen['first']:.0f} ms; clicks {np.percentile(seen['clicks'], [50, 100])} ms"
    )
    assert seen["first"] < 3000
    assert np.median(seen["clicks"]) < 300
