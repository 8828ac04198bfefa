"""What the page's server answers: pictures by number, lists, changes; bad requests in one line."""

import io

import pytest

pytest.importorskip("starlette")

from PIL import Image

from ancor.fewshot.app.guard import Guard
from ancor.fewshot.app.routes import Routes, build
from ancor.fewshot.labeling.session import Session
from tests.fewshot.app.asgi import ask, post
from tests.refusals import one_line


@pytest.fixture
def app(pictures, tmp_path):
    return Guard(build(Routes(Session(pictures, tmp_path), "an encoder")))


def test_the_page_and_nothing_beside_it(app):
    for path, kind in (
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/app.css", "text/css"),
    ):
        answer = ask(app, path=path)
        assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, kind)
        assert b"//fonts" not in answer.body
    for path in (
        "/index.html",
        "/../setup.py",
        "/page/../routes.py",
        "/session.json",
        "/pictures/..%2f..%2fetc%2fpasswd/small",
        "/pictures/../../../etc/passwd",
        "/pictures/-1/small",
        "/pictures/0/../../app.js",
        "//etc/passwd",
    ):
        assert ask(app, path=path).status == 404, path


def test_pictures_come_by_number_alone(app):
    small, large = (ask(app, path=f"/pictures/3/{size}") for size in ("small", "large"))
    assert Image.open(io.BytesIO(small.body)).size == (192, 192)
    assert large.headers["content-type"] == "image/jpeg"
    for path in ("/pictures/120/small", "/pictures/3/huge", f"/pictures/{'9' * 30}/small"):
        answer = ask(app, path=path)
        assert answer.status == 400
        one_line(answer.told["error"])


def test_a_change_answers_with_what_follows(app):
    coarse = post(app, "/state", {}).told["coarse"][0]["number"]
    groups = post(app, "/proposals", {"coarse": coarse, "k": 3}).told["groups"]
    assert len(groups) == 3
    for place, group in enumerate(groups[:2]):
        name = f"class {place}"
        assert post(app, "/change", {"do": "name", "name": name, "coarse": coarse}).status == 200
        numbers = [each["number"] for each in group["near"][:3]]
        asked = {"do": "label", "name": name, "numbers": numbers, "shown": numbers[:1]}
        told = post(app, "/change", asked).told
        assert told["labeled"] == 3 * place + 3
        assert told["pictures"][0]["label"] == name
    assert told["answering"]
    assert [each["labeled"] for each in told["classes"]] == [3, 3]
    listed = post(app, "/listed", {"view": "waiting", "coarse": coarse}).told
    assert listed["pictures"][0]["number"] == listed["numbers"][0]
    assert listed["pictures"][0]["answer"] in ("class 0", "class 1")
    assert post(app, "/check", {}).told["checked"]["judged"] == 6
    files = post(app, "/save", {}).told["files"]
    assert [each.rpartition("/")[2] for each in files] == [
        "classifier.ancor",
        "labels.csv",
        "answers.csv",
    ]
    assert post(app, "/change", {"do": "undo"}).told["labeled"] == 3


@pytest.mark.parametrize(
    ("path", "asked", "words"),
    [
        ("/state", [], []),
        ("/state", {"wrong": 1}, ["wrong"]),
        ("/state", {"shown": 3}, ["shown", "list"]),
        ("/state", {"shown": ["../x"]}, ["'../x'"]),
        ("/listed", {}, ["view", "str"]),
        ("/listed", {"view": "all"}, ["all", "waiting"]),
        ("/listed", {"view": "waiting", "coarse": True}, ["coarse", "int"]),
        ("/proposals", {"k": 3}, ["coarse"]),
        ("/proposals", {"coarse": 0, "k": 10**9}, ["1000000000"]),
        ("/change", {}, ["do"]),
        ("/change", {"do": "rm"}, ["rm", "label"]),
        ("/change", {"do": "undo"}, []),
        ("/change", {"do": "name", "name": "a"}, ["coarse"]),
        ("/change", {"do": "label", "name": "a", "numbers": [0]}, ["a"]),
        ("/save", {}, []),
        ("/save", {"to": "../x"}, ["../x", "onnx"]),
    ],
)
def test_a_bad_request_is_one_line(app, path, asked, words):
    answer = post(app, path, asked)
    assert answer.status == 400
    one_line(answer.told["error"], *words)


def test_what_is_no_json_is_refused(app):
    headers = [("host", "localhost"), ("content-type", "application/json")]
    for body in (b"", b"{", b'{"a": NaN}', b"\xff", b"[" * 5000, b'{"do": 1, "do": 2}'):
        answer = ask(app, "POST", "/change", headers, body)
        assert answer.status == 400
        one_line(answer.told["error"])
