"""Who may ask the page's server: our page in a browser that names us, and nobody else."""

import asyncio

import pytest

pytest.importorskip("starlette")

from starlette.requests import Request
from starlette.responses import PlainTextResponse

from ancor.fewshot.app.guard import MOST_BYTES, Guard
from tests.fewshot.app.asgi import ask, post

JSON = ("content-type", "application/json")


async def echo(scope, receive, send):
    body = await Request(scope, receive).body()
    await PlainTextResponse(b"reached " + body)(scope, receive, send)


@pytest.fixture
def here():
    return Guard(echo)


@pytest.fixture
def open_to_all():
    return Guard(echo, "a-secret")


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:9", "localhost", "[::1]:8765"])
def test_a_browser_of_this_machine_is_answered(here, host):
    answer = ask(here, headers=[("host", host)])
    assert (answer.status, answer.body) == (200, b"reached ")


@pytest.mark.parametrize(
    "headers",
    [
        [("host", "evil.example")],
        [("host", "127.0.0.1.evil.example:8765")],
        [("host", "evil.example@127.0.0.1x")],
        [("host", "[::1")],
        [("host", "")],
        [],
        [("host", "localhost"), ("host", "evil.example")],
    ],
)
def test_a_name_that_is_not_ours_is_refused(here, headers):
    """DNS rebinding: a site whose name leads to this machine has its own name in Host."""
    assert ask(here, headers=headers).status == 421
    assert ask(here, "POST", "/", [*headers, JSON], b"{}").status == 421


def test_our_own_page_may_send_json(here):
    answer = post(here, "/change", {"a": 1})
    assert (answer.status, answer.body) == (200, b'reached {"a": 1}')


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("origin", "http://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "https://localhost:8765", 403),
        ("origin", "http://localhost:1", 403),
        ("sec_fetch_site", "cross-site", 403),
        ("sec_fetch_site", "same-site", 403),
        ("content_type", "text/plain", 415),  # as forms of other sites may send
        ("content_type", "application/x-www-form-urlencoded", 415),
        ("content_type", "multipart/form-data; boundary=x", 415),
    ],
)
def test_what_other_sites_may_send_is_refused(here, header, value, status):
    assert post(here, "/change", {}, **{header: value}).status == status


def test_other_sites_may_lead_to_the_page_and_show_none_of_its_pictures(here):
    site = [("host", "localhost"), ("sec-fetch-site", "cross-site")]
    assert ask(here, headers=[*site, ("sec-fetch-mode", "navigate")]).status == 200
    assert (
        ask(here, path="/pictures/1/small", headers=[*site, ("sec-fetch-mode", "no-cors")]).status
        == 403
    )
    assert (
        ask(here, "POST", "/", [*site, ("sec-fetch-mode", "navigate"), JSON], b"{}").status == 403
    )


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(here, method):
    assert ask(here, method).status == 405


def test_a_body_has_a_bound_however_it_is_sent(here):
    headers = [("host", "localhost"), JSON]
    assert ask(here, "POST", "/", headers, b"x" * MOST_BYTES).status == 200
    assert ask(here, "POST", "/", headers, b"x" * (MOST_BYTES + 1)).status == 413
    read = []

    def endless():
        while len(read) < 100:
            read.append(1)
            yield b"x" * 10_000

    assert ask(here, "POST", "/", headers, endless()).status == 413
    assert len(read) == 7  # it is not read on


def test_who_holds_no_token_gets_nothing(open_to_all):
    host = ("host", "gpu-node:8765")
    for path in ("/", "/app.js", "/pictures/0/small", "/?token=", "/?token=a-secre"):
        assert ask(open_to_all, path=path, headers=[host]).status == 403
    for cookie in ("", "ancor_token=", "ancor_token=other", "x=a-secret", "ancor_token=é", "=;;="):
        assert ask(open_to_all, headers=[host, ("cookie", cookie)]).status == 403
    assert (
        post(open_to_all, "/change", {}, host="gpu-node:8765", origin="http://gpu-node:8765").status
        == 403
    )


def test_the_address_with_the_token_gives_a_cookie_that_no_script_or_site_gets(open_to_all):
    host = ("host", "gpu-node:8765")
    answer = ask(open_to_all, path="/?token=a-secret", headers=[host])
    assert answer.status == 303
    assert answer.headers["location"] == "/"  # the token leaves the address bar
    cookie, *about = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=strict"} <= set(about)
    assert ask(open_to_all, headers=[host, ("cookie", f"a=b; {cookie}")]).status == 200
    sent = {"host": "gpu-node:8765", "origin": "http://gpu-node:8765", "cookie": cookie}
    assert post(open_to_all, "/change", {}, **sent).status == 200
    assert (
        post(open_to_all, "/change", {}, **sent | {"origin": "http://evil.example"}).status == 403
    )


def test_every_answer_keeps_the_browser_here(here):
    for answer in (ask(here), ask(here, headers=[("host", "evil.example")])):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_web_socket_is_closed(here):
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(here({"type": "websocket"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
