"""A headless Chromium with a mouse, by its debugging protocol; bokeh brings the client."""

import asyncio
import base64
import json
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

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
def chromium(path: str, page: Path, folder: Path):
    """Open a page; yield the address of its debugger."""
    command = [path, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1040,700"]
    command += ["--remote-debugging-port=0", f"--user-data-dir={folder}", page.as_uri()]
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


async def hover(port: str) -> tuple[list, list[str], bytes]:
    """Move the mouse to the first image; return the tooltips, what was fetched, a screenshot."""
    from tornado.httpclient import AsyncHTTPClient
    from tornado.websocket import websocket_connect

    answer = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json")
    (address,) = [p["webSocketDebuggerUrl"] for p in json.loads(answer.body) if p["type"] == "page"]
    socket = await websocket_connect(address, max_message_size=2**30)
    fetched, number = [], 0

    async def call(method: str, **params):
        nonlocal number
        number += 1
        await socket.write_message(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(await socket.read_message())
            if message.get("method") == "Network.requestWillBeSent":
                fetched.append(message["params"]["request"]["url"])
            if message.get("id") == number:
                return message.get("result", {})

    async def until(expression: str, enough):
        for _ in range(150):
            found = (await call("Runtime.evaluate", expression=expression))["result"].get("value")
            if found is not None and enough(json.loads(found)):
                return json.loads(found)
            await asyncio.sleep(0.2)
        raise TimeoutError(expression)

    await call("Network.enable")
    await call("Page.reload")
    await asyncio.sleep(0.5)
    x, y = await until(PLACE, lambda place: None not in place)
    for distance in (20, 5, 0):
        await call("Input.dispatchMouseEvent", type="mouseMoved", x=x + distance, y=y)
        await asyncio.sleep(0.1)
    told = await until(TOLD, lambda tips: any(text for text, _ in tips))
    shot = base64.b64decode((await call("Page.captureScreenshot"))["data"])
    return [tip for tip in told if tip[0]], fetched, shot
