"""The command with a browser before it, as a user has them."""

import asyncio
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.plots import browser

CHROMIUM = shutil.which("chromium")
ROOT = Path(__file__).parents[3]
TILES = "JSON.stringify(document.querySelectorAll('.tile').length)"
HEADING = "JSON.stringify(document.querySelector('#heading').textContent)"


@contextmanager
def serving(model: Path | str, photos: Path, output: Path, *flags: str) -> Iterator[str]:
    """Run the command; yield the address that it prints, and end it as a user does."""
    command = [sys.executable, "-m", "ancor", "app", "--model-path", str(model), "--port", "0"]
    command += ["--data", str(photos), "--output", str(output), "--device", "cpu", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            lines = iter(process.stdout.readline, "")
            yield next(m[1] for m in (re.search(r"(http://\S+)", line) for line in lines) if m)
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
    assert process.returncode == 0
    assert str(output) in rest


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
