"""A headless Chromium with a mouse, by its debugging protocol; bokeh brings the client."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
# What `npm install --no-save axe-core` in the project's folder brings.
ROOT = Path(__file__).parents[2]
AXE = Path(os.environ.get("ANCOR_AXE", ROOT / "node_modules/axe-core/axe.min.js"))
needs_axe = pytest.mark.skipif(
    not AXE.exists(), reason="needs axe-core: npm install --no-save axe-core"
)
SIZES = "JSON.stringify([document.documentElement.scrollWidth, innerWidth])"
PORT_FILE = "DevToolsActivePort"
# Where the first image of the first picture lies, and what the tooltips say.
PLACE = """(() => {
  const plot = Bokeh.documents[0].roots()[0].children[0];
  const view = Bokeh.index.find_one(plot);
  const data = plot.renderers.find(r => r.data_source.data.thumbnail).data_source.data;
  const {left, top} = view.el.getBoundingClientRect();
  const {x_scale, y_scale} = view.frame;
  return JSON.stringify([left + x_scale.compute(data.x[0]), top + y_scale.compute(data.y[0])]);
})()"""
TOLD = """(() => {
  const within = root => [...root.querySelectorAll('*')].flatMap(
    e => [e, ...(e.shadowRoot ? within(e.shadowRoot) : [])]);
  const shown = within(document).filter(e => e.classList.contains('bk-tooltip-content'));
  return JSON.stringify(shown.map(e => [e.innerText, e.querySelector('img')?.naturalWidth]));
})()"""


@contextmanager
def chromium(path: str, page: Path | str, folder: Path):
    """Open a page, a file or an address; yield the address of its debugger."""
    address = page.as_uri() if isinstance(page, Path) else page
    command = [path, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1040,700"]
    command += ["--remote-debugging-port=0", f"--user-data-dir={folder}", address]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            if (folder / PORT_FILE).exists() and (folder / PORT_FILE).stat().st_size:
                break
            time.sleep(0.1)
        yield (folder / PORT_FILE).read_text().splitlines()[0]
    finally:
        process.terminate()
        process.wait()


class Session:
    """A page that is driven: calls of the protocol, and the addresses that the page asked for."""

    def __init__(self, socket) -> None:
        self.socket, self.fetched, self.number = socket, [], 0

    async def call(self, method: str, **params) -> dict:
        """Call a method of the protocol and return its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        await self.socket.write_message(json.dumps(message))
        while True:
            message = json.loads(await self.socket.read_message())
            if message.get("method") == "Network.requestWillBeSent":
                self.fetched.append(message["params"]["request"]["url"])
            if message.get("id") == self.number:
                return message.get("result", {})

    async def value(self, expression: str):
        """Return the value of an expression of JavaScript; an AssertionError if it throws."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def settled(self, expression: str):
        """Return what a promise of JavaScript gives; an AssertionError if it fails."""
        options = {"returnByValue": True, "awaitPromise": True}
        found = await self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def click(self, selector: str, number: int = 0) -> None:
        """Click the middle of one of the elements that a selector finds, after moving it there."""
        place = await self.value(
            f"""(() => {{
              const element = document.querySelectorAll({json.dumps(selector)})[{number}];
              element.scrollIntoView({{block: 'center', behavior: 'instant'}});
              const box = element.getBoundingClientRect();
              return [box.left + box.width / 2, box.top + box.height / 2];
            }})()"""
        )
        about = dict(zip("xy", place, strict=True)) | {"button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, **about)

    async def resize(self, width: int, height: int = 900) -> None:
        """Give the window another size, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **size)

    async def until(self, expression: str, enough):
        """Evaluate an expression that gives JSON until it is enough, and return what it gives."""
        for _ in range(150):
            answer = await self.call("Runtime.evaluate", expression=expression)
            found = answer.get("result", {})  # without one where the page is just left
            if found.get("value") is not None and enough(json.loads(found["value"])):
                return json.loads(found["value"])
            await asyncio.sleep(0.2)
        raise TimeoutError(expression)

    async def press(self, key: str, text: str = "") -> None:
        """Press and release a key."""
        codes = {"Tab": 9, " ": 32, "Enter": 13, "Backspace": 8, "Escape": 27}
        codes |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        about = {"key": key, "windowsVirtualKeyCode": codes.get(key, 0), "text": text}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **about)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def reload(self) -> None:
        """Load the page again; from now on `fetched` tells what it asks for."""
        await self.call("Network.enable")
        await self.call("Page.reload")
        await asyncio.sleep(0.5)
        await self.until("JSON.stringify(document.readyState)", lambda state: state == "complete")

    async def screenshot(self) -> bytes:
        """Return what is seen as a PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])


async def connect(port: str) -> Session:
    """Return a session with the page of a debugger."""
    from tornado.httpclient import AsyncHTTPClient
    from tornado.websocket import websocket_connect

    answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json")
    (address,) = [p["webSocketDebuggerUrl"] for p in json.loads(answer.body) if p["type"] == "page"]
    return Session(await websocket_connect(address, max_message_size=2**30))


async def hover(port: str) -> tuple[list, list[str], bytes]:
    """Move the mouse to the first image; return the tooltips, what was fetched, a screenshot."""
    session = await connect(port)
    await session.reload()
    x, y = await session.until(PLACE, lambda place: None not in place)
    for distance in (20, 5, 0):
        await session.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + distance, y=y)
        await asyncio.sleep(0.1)
    told = await session.until(TOLD, lambda tips: any(text for text, _ in tips))
    return [tip for tip in told if tip[0]], session.fetched, await session.screenshot()


async def serious(session: Session) -> list:
    """Return what axe-core finds on a page that is serious: impact, rule, elements."""
    if not await session.value("'axe' in window"):
        await session.value(AXE.read_text(encoding="utf-8") + "; 0")
    found = await session.settled(
        "axe.run().then(told => JSON.stringify([told.passes.length, told.violations.map("
        "each => [each.impact, each.id, each.nodes.map(node => node.html.slice(0, 200))])]))"
    )
    passed, faults = json.loads(found)
    assert passed  # it has looked at something
    return [each for each in faults if each[0] in ("serious", "critical")]


def inspect(
    page: Path, width: int, folder: Path, empty: str = "'[]'"
) -> tuple[list[int], list, list[str]]:
    """Open a page in a window of a width.

    Args:
        page: a file.
        width: of the window, in pixels.
        folder: new, for the browser.
        empty: an expression that gives the JSON of a list, which is waited for until it is empty.

    Returns:
        How wide the page is and how wide the window, what axe finds that is serious, and the
        addresses that the page asked for.
    """

    async def look(port: str) -> tuple[list[int], list, list[str]]:
        session = await connect(port)
        await session.resize(width)
        await session.reload()
        sizes = await session.until(SIZES, lambda found: found[1] == width)
        await session.until(empty, lambda found: found == [])
        return sizes, await serious(session), session.fetched

    with chromium(CHROMIUM, page, folder) as port:
        return asyncio.run(asyncio.wait_for(look(port), 120))
