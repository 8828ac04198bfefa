"""What the page asks its server for: pictures, lists, changes and files, as JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ancor.errors import InputError, RunError, choose
from ancor.fewshot.labeling.labels import Labels
from ancor.fewshot.labeling.session import Session
from ancor.fewshot.labeling.thumbnails import Thumbnails
from ancor.runtime.settings import with_flags
from ancor.runtime.text import LONGEST_LINE, printable
from ancor.safe_io import bounded

PAGE = Path(__file__).with_name("page")
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.css": ("app.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
}
AT_ONCE = 60  # pictures that a list tells at once
SHOWN = 12  # pictures of a proposed sub-class, nearest and doubtful ones each
# What a request of each kind has beside "do", and of which type; and what it does to the labels.
CHANGES: dict[str, tuple[dict[str, type], Callable[..., Labels]]] = {
    "name": ({"name": str, "coarse": int}, Labels.with_class),
    "rename": ({"old": str, "new": str}, Labels.renamed),
    "remove": ({"name": str}, Labels.without_class),
    "label": ({"numbers": list, "name": str}, Labels.labeled),
    "clear": ({"numbers": list}, Labels.cleared),
    "drop": ({"numbers": list}, Labels.without),
}
# What requests may have, and of which type.
FIELDS = {name: kind for fields, _ in CHANGES.values() for name, kind in fields.items()}
FIELDS |= {"do": str, "view": str, "k": int, "shown": list, "to": str}


class Routes:
    """Answers requests about a session.

    Args:
        session: whose labels.
        encoder: what the page calls the encoder.
        start: what a command of training adds to start from it, quoted for a shell.
    """

    def __init__(self, session: Session, encoder: str, start: str = "") -> None:
        self.session, self.encoder, self.start = session, encoder, start
        images = session.pictures.partition.images
        self.thumbnails = Thumbnails(session.folder / "thumbnails", images)

    def state(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Tell of all but single pictures, and of those whose numbers are asked for."""
        pictures = self.session.pictures
        told = {
            "title": printable(f"{pictures.root}, {pictures.partition.name}"),
            "encoder": printable(self.encoder),
            "start": printable(self.start),
            "root": printable(pictures.root),
        }
        return told | self.session.summary() | self.about(asked)

    def about(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Tell of the pictures whose numbers are asked for."""
        return {"pictures": [self.session.about(n) for n in asked.get("shown", ())]}

    def listed(self, asked: dict[str, Any]) -> dict[str, Any]:
        """List all pictures of a view by number, and tell of the first."""
        choice = {name: asked[name] for name in ("coarse", "name") if name in asked}
        numbers = self.session.listed(_field(asked, "view", str), **choice)
        return {"numbers": numbers, **self.about({"shown": numbers[:AT_ONCE]})}

    def proposals(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Tell of a coarse class's proposed sub-classes the nearest and most doubtful pictures."""
        groups = []
        for each in self.session.proposals(_field(asked, "coarse", int), asked.get("k")):
            near = each.images[:SHOWN].tolist()
            doubtful = [n for n in each.doubtful.tolist() if n not in near][:SHOWN]
            told = {"name": printable(each.name), "size": len(each.images)}
            parts = {"near": near, "doubtful": doubtful}
            groups.append(
                told | {p: self.about({"shown": n})["pictures"] for p, n in parts.items()}
            )
        return {"groups": groups}

    def check(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Judge the labels by each other; then as `state`."""
        self.session.check()
        return self.state(asked)

    def change(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Change the labels, one of `CHANGES` or "undo"; then as `state`."""
        name = _field(asked, "do", str)
        if name == "undo":
            self.session.undo()
            return self.state(asked)
        fields, how = CHANGES[choose("change", name, CHANGES)]
        given = {field: _field(asked, field, kind) for field, kind in fields.items()}
        self.session.change(lambda labels: how(labels, **given))
        return self.state(asked)

    def save(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Write the session's files, also an exported one where a format is asked for."""
        if "to" in asked:
            return {"files": [printable(str(self.session.export(asked["to"])))]}
        return {"files": [printable(str(path)) for path in self.session.save()]}


def _answer(answer: Callable[[dict[str, Any]], dict[str, Any]], body: bytes) -> Response:
    try:
        asked = bounded.parsed(body)
    except ValueError as error:
        raise InputError(f"the request is no JSON ({error})") from error
    if type(asked) is not dict:
        raise InputError("the request is no table of fields")
    for name in asked:
        _field(asked, choose("field", name, FIELDS), FIELDS[name])
    return _json(answer(asked))


def _field(asked: dict[str, Any], name: str, kind: type) -> Any:
    if type(asked.get(name)) is not kind:
        raise InputError(f"field {name!r}: expected a value of type {kind.__name__}")
    return asked[name]


def _json(told: dict[str, Any], status: int = 200) -> Response:
    """Answer in JSON of plain ASCII, which names of any bytes can be written in."""
    headers = {"Cache-Control": "no-store"}
    return Response(json.dumps(told), status, headers, "application/json")


def _refused(request: Request, error: Exception) -> Response:
    status = 400 if isinstance(error, InputError) else 500
    return _json({"error": printable(with_flags(str(error)), LONGEST_LINE)}, status)


def build(routes: Routes) -> Starlette:
    """Return the application; nothing in a request names a file."""
    contents = {path: (PAGE / name).read_bytes() for path, (name, _) in FILES.items()}

    def page(request: Request) -> Response:
        path = request.url.path
        return Response(
            contents[path], media_type=FILES[path][1], headers={"Cache-Control": "no-cache"}
        )

    def picture(request: Request) -> Response:
        (number,) = routes.session.pictures.checked([request.path_params["number"]])
        size = request.path_params["size"]
        make = getattr(routes.thumbnails, choose("size", size, ("small", "large")))
        headers = {"Cache-Control": "private, max-age=3600"}
        return Response(make(number), media_type="image/jpeg", headers=headers)

    def answering(answer: Callable) -> Callable:
        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(_answer, answer, await request.body())

        return endpoint

    named = ("state", "listed", "about", "proposals", "check", "change", "save")
    return Starlette(
        routes=[
            *(Route(path, page) for path in FILES),
            Route("/pictures/{number:int}/{size}", picture),
            *(Route(f"/{n}", answering(getattr(routes, n)), methods=["POST"]) for n in named),
        ],
        exception_handlers={InputError: _refused, RunError: _refused, OSError: _refused},
    )
