"""Who may ask the page's server, and for what: other sites, hosts and strangers may not.

A page that anybody wrote can let a browser send requests to this machine. So a request has to name
a host that is ours (else a site could rename itself to this address: DNS rebinding), whatever
changes something has to be JSON from our own page (which no other site may send), and where the
server is not bound to this machine alone, the browser has to hold a token.
"""

import secrets
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_BYTES = 65_536  # of a request's body
COOKIE = "ancor_token"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Refuses what is not from our own page, and adds headers that keep browsers from elsewhere.

    Args:
        app: the ASGI application behind it.
        token: what a browser has to hold; None: the server is bound to this machine alone, and
            requests have to name it.
    """

    def __init__(self, app: Any, token: str | None = None) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # a web socket, which nothing here speaks
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_guarded(message: dict) -> None:
            if message["type"] == "http.response.start":
                added = ((n.lower().encode(), v.encode()) for n, v in HEADERS.items())
                message["headers"] = [*message["headers"], *added]
            await send(message)

        request = Request(scope, receive)
        answer = self._refusal(request)
        if answer is None and request.method == "POST":
            body = await _bounded_body(request)
            if body is None:
                answer = _refuse(413, f"the request has more than {MOST_BYTES} bytes")
            else:
                receive = _replayed(body)
        await (answer or self.app)(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> Response | None:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or (self.token is None and _name(hosts[0]) not in LOOPBACK):
            return _refuse(421, f"this server answers to {' and '.join(LOOPBACK)} alone")
        if request.method not in ("GET", "HEAD", "POST"):
            return _refuse(405, "GET, HEAD and POST are accepted")
        site = request.headers.get("sec-fetch-site", "none")
        arrives = request.headers.get("sec-fetch-mode") == "navigate" and request.method == "GET"
        if site not in ("none", "same-origin") and not arrives:
            return _refuse(403, "this is asked for by another site")
        if request.method == "POST":
            origin = request.headers.get("origin")
            if origin is not None and origin != f"http://{hosts[0]}":
                return _refuse(403, "this is sent by another site")
            kind = request.headers.get("content-type", "").partition(";")[0].strip()
            if kind != "application/json":
                return _refuse(415, "JSON is expected, of content type application/json")
        return None if self.token is None else self._stranger(request)

    def _stranger(self, request: Request) -> Response | None:
        """Return None for who holds the token; it is taken from the address into a cookie."""
        given = parse_qs(request.url.query).get("token", [""])[0]
        if request.method == "GET" and request.url.path == "/" and self._is_token(given):
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(COOKIE, given, httponly=True, samesite="strict")
            return answer
        if self._is_token(_cookie(request.headers.get("cookie", ""))):
            return None
        return _refuse(403, "open the address with the token that the server printed")

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(errors="replace"), self.token.encode())


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _name(host: str) -> str | None:
    """Return the name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


async def _bounded_body(request: Request) -> bytes | None:
    """Read a request's body; None where it is too long, without reading on."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            return None
        parts.append(part)
    return b"".join(parts)


def _replayed(body: bytes) -> Any:
    """Return the `receive` of an application that reads a body that was read before."""

    async def receive() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _refuse(status: int, why: str) -> Response:
    return PlainTextResponse(why + "\n", status_code=status)
