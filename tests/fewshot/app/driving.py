"""The command with a browser before it, as a user has them."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tests.plots import browser
from tests.plots.browser import CHROMIUM

ROOT = Path(__file__).parents[3]
TILES = "JSON.stringify(document.querySelectorAll('.tile').length)"
HEADING = "JSON.stringify(document.querySelector('#heading').textContent)"


@contextmanager
def serving(model: Path | str, photos: Path, output: Path, *flags: str) -> Iterator[str]:
    """Run the command of this clone; yield the address that it prints."""
    command = [sys.executable, "-m", "ancor", "app", "--model-path", str(model)]
    command += ["--data", str(photos), "--output", str(output), "--device", "cpu", *flags]
    with served(command, cwd=ROOT) as address:
        yield address


@contextmanager
def served(command: list[str], **how: Any) -> Iterator[str]:
    """Run `ancor app` on a free port; yield the address that it prints, and end it as a user does.

    It has to end well, with nothing on stderr and a line that tells where labels are kept.
    """
    command, output = [*command, "--port", "0"], command[command.index("--output") + 1]
    with (
        TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, **how
        ) as process,
    ):
        try:
            lines = iter(process.stdout.readline, "")
            yield next(m[1] for m in (re.search(r"(http://\S+)", line) for line in lines) if m)
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
            process.wait()
            errors.seek(0)
            told = errors.read()
    assert (process.returncode, told) == (0, "")
    assert output in rest


def drive(address: str, folder: Path, how: Callable[[browser.Session], Awaitable]) -> None:
    """Open the page in a browser and let `how` act on it."""

    async def acting(port: str) -> None:
        session = await browser.connect(port)
        await session.until("JSON.stringify(location.href)", lambda href: href.startswith("http"))
        await session.reload()
        await session.until(TILES, lambda count: count > 0)
        await how(session)

    with browser.chromium(CHROMIUM, address, folder) as port:
        asyncio.run(asyncio.wait_for(acting(port), 240))


async def calm(session: browser.Session) -> None:
    """Wait until all that was asked for is answered."""
    await session.settled(
        "(async () => { let last; while (last !== queue) await (last = queue); })()"
    )


async def name_by_clicks(
    session: browser.Session, coarse: str, names: Mapping[str, str], count: int
) -> None:
    """Name classes of a coarse class by clicks on as many of its pictures, and save.

    Args:
        session: with the page.
        coarse: the coarse class that is chosen.
        names: what each class is called, by the words that the names of its files begin with.
        count: clicks a class, on pictures from all over its list.
    """
    choice = "document.querySelector('#coarse')"
    await session.value(
        f"{choice}.value = state.coarse.find(each => each.name === {json.dumps(coarse)}).number; "
        f"{choice}.dispatchEvent(new Event('change', {{bubbles: true}}))"
    )
    await session.click("[data-view=waiting]")
    await session.until(HEADING, lambda text: text.endswith("to label"))
    await session.until(
        "JSON.stringify([...document.querySelectorAll('.tile')].map(t => t.about.coarse))",
        lambda found: set(found) == {coarse},
    )
    while await session.value("!document.querySelector('#more').hidden"):
        await session.click("#more")
        await calm(session)
    for begin, name in names.items():
        await session.value(f"document.querySelector('#name').value = {json.dumps(name)}")
        await session.value("document.querySelector('#name-form').requestSubmit()")
        await calm(session)
        paths = await session.value(
            "[...document.querySelectorAll('.tile')].map(tile => tile.about.path)"
        )
        own = [place for place, path in enumerate(paths) if f"/{begin}_" in path]
        for place in own[:: len(own) // count][:count]:
            await session.click(".pick", place)
            await calm(session)
    assert await session.value("state.labeled") == count * len(names)
    await session.click("#save")
    await session.until("JSON.stringify(document.querySelectorAll('#saved code').length)", bool)
