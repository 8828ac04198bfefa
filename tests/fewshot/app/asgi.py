"""Requests to an ASGI application without a network, as a browser or anything else makes them."""

import asyncio
import json
from collections.abc import Iterable
from typing import NamedTuple


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> dict:
        """Its JSON."""
        return json.loads(self.body)


def ask(
    app,
    method: str = "GET",
    path: str = "/",
    headers: Iterable[tuple[str, str]] = (("host", "127.0.0.1:8765"),),
    body: bytes | Iterable[bytes] = b"",
) -> Answer:
    """Send a request whose body comes in one part or several, which are made when they are read."""
    parts = iter([body] if isinstance(body, bytes) else body)
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8765),
    }
    sent = []

    async def receive() -> dict:
        part = next(parts, None)
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, b"".join(m.get("body", b"") for m in sent[1:]))


def post(app, path: str, asked: object, **headers: str) -> Answer:
    """Send JSON as the page does; `headers` go before what it sends, `_` standing for `-`."""
    sent = {"host": "localhost:8765", "content-type": "application/json"}
    sent |= {"origin": "http://localhost:8765", "sec-fetch-site": "same-origin"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(app, "POST", path, list(sent.items()), json.dumps(asked).encode())
