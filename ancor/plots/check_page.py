"""What was found in a dataset as one HTML page with the pictures; it loads nothing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ancor.data.config import DataConfig
from ancor.data.partition import Partition
from ancor.data.report import lines
from ancor.errors import InputError, RunError
from ancor.plots.markup import WRONG, document, text
from ancor.plots.style import COLORS
from ancor.plots.thumbnails import data_uri

SIDE = 112  # of a picture, in pixels
MOST = 60  # groups, and doubtful labels, that are shown
MOST_IN_GROUP = 8
STYLE = f"""* {{ box-sizing: border-box }}
body {{ font: 15px/1.5 sans-serif; margin: 0 auto; padding: 1em; max-width: 84em; color: #222 }}
h2 {{ border-bottom: 2px solid {COLORS[0]}; margin-top: 2em }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere }}
.row, .groups {{ display: flex; flex-wrap: wrap; gap: 10px }}
.row {{ padding: 8px; background: #f4f6f8 }}
figure {{ margin: 0; width: {SIDE}px }} img {{ display: block; background: #ddd }}
figcaption {{ font-size: 11px; line-height: 1.3; overflow-wrap: anywhere }}
.problem {{ color: {WRONG} }} .across {{ background: #fbeee6 }}
table {{ border-collapse: collapse }} td, th {{ padding: 2px 12px 2px 0; text-align: left }}
.advice {{ color: #555 }}"""
ADVICE = {
    "duplicates": "Keep one picture of a group, or at least the whole group on one side: what is "
    "trained on and tested on (shaded) flatters the result.",
    "outliers": "Look at each: the nearest pictures, by the encoder, are of another class. Some "
    "are mislabeled, others only unusual. Correct the label, or leave the picture.",
    "too small": "An episode cannot ask as many images of these classes: give them more, lower "
    "the support images and queries of an episode, or leave them out.",
}


def page(data: DataConfig, report: Mapping[str, Any]) -> str:
    """Return the page.

    Args:
        data: which images; they are read again for their pictures.
        report: what `ancor.data.report.check` found in them.
    """
    partitions = {name: data.read(name) for name in report["partitions"]}
    title = f"{report['dataset']}: what is in it"
    parts = [
        f"<h1>{text(title)}</h1>",
        *_summary(report),
        *_small(report),
        *_duplicates(report["duplicates"], partitions),
        *_outliers(report["outliers"], partitions),
    ]
    return document(title, STYLE, parts)


def _list(items: Iterable[str], kind: str) -> str:
    return "<ul>" + "".join(f'<li class="{kind}">{text(item)}</li>' for item in items) + "</ul>"


def _summary(report: Mapping[str, Any]) -> Iterator[str]:
    told = [line for line in lines(report) if not line.startswith(("note: ", "problem: "))]
    yield f"<pre>{_text_lines(told)}</pre>"
    for kind, title in (("problems", "What would stop a run"), ("notes", "What to know")):
        if report[kind]:
            yield f'<h2 id="{kind}">{title}</h2>' + _list(report[kind], kind.removesuffix("s"))
    if not report["problems"]:
        yield "<p>Nothing here would stop a run.</p>"


def _text_lines(told: Sequence[str]) -> str:
    return "\n".join(map(text, told))


def _small(report: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        f"<tr><td>{text(name)}</td><td>{text(entry['name'])}</td><td>{entry['images']}</td></tr>"
        for name, found in report["partitions"].items()
        for entry in found["too_small"]
    ]
    if rows:
        yield _heading("small", f"Classes too small for what was asked: {len(rows)}", "too small")
        yield "<table><tr><th>partition</th><th>class</th><th>images</th></tr>"
        yield "".join(rows) + "</table>"


def _heading(name: str, title: str, advice: str) -> str:
    return f'<h2 id="{name}">{text(title)}</h2><p class="advice">{text(ADVICE[advice])}</p>'


def _duplicates(
    found: Mapping[str, Any] | None, partitions: Mapping[str, Partition]
) -> Iterator[str]:
    if found is None or not found["groups"]:
        return
    groups = found["groups"]
    shown = f"{MOST} of {len(groups)}" if len(groups) > MOST else f"{len(groups)}"
    yield _heading("duplicates", f"Pictures that are there more than once: {shown}", "duplicates")
    yield '<div class="groups">'
    for group in groups[:MOST]:
        kind = "row across" if len({image["partition"] for image in group}) > 1 else "row"
        pictures = "".join(_figure(image, partitions) for image in group[:MOST_IN_GROUP])
        more = len(group) - MOST_IN_GROUP
        yield f'<div class="{kind}">{pictures}{f"and {more} more" if more > 0 else ""}</div>'
    yield "</div>"


def _outliers(
    found: Sequence[Mapping[str, Any]], partitions: Mapping[str, Partition]
) -> Iterator[str]:
    if not found:
        return
    shown = f"{MOST} of {len(found)}" if len(found) > MOST else f"{len(found)}"
    yield _heading("outliers", f"Labels that the nearest pictures doubt: {shown}", "outliers")
    yield '<div class="row">'
    for image in found[:MOST]:
        doubt = f"{100 * image['share']:.0f}% of the nearest: {image['suggested']}"
        yield _figure(image, partitions, doubt)
    yield "</div>"


def _figure(image: Mapping[str, Any], partitions: Mapping[str, Partition], doubt: str = "") -> str:
    """Return a picture with its class, partition and name."""
    name, short = image["name"], image["name"].rpartition("/")[2]
    try:
        source = data_uri(partitions[image["partition"]].images[image["index"]], SIDE)
    except (InputError, RunError):  # it has vanished, or is damaged, since it was looked at
        source = ""
    told = [f"<b>{text(image['class'])}</b>", text(image["partition"]), text(short)]
    told += [f'<span class="problem">{text(doubt)}</span>'] if doubt else []
    return (
        f'<figure title="{text(name)}"><img src="{source}" alt="" width="{SIDE}" height="{SIDE}">'
        f"<figcaption>{'<br>'.join(told)}</figcaption></figure>"
    )
