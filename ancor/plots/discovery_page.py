"""Proposed sub-classes as one HTML page, where a person names, merges and drops them.

The page is complete in itself: its own policy forbids it to load or send anything. What changes is
the table that it gives to download; files stay as they are.
"""

import json
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from ancor.data.datasets.labels_csv import COLUMNS
from ancor.errors import InputError, RunError
from ancor.evaluation.discovery import Discovery, Subclass
from ancor.plots.markup import WRONG, document, text
from ancor.plots.style import COLORS
from ancor.plots.thumbnails import data_uri

SIDE = 96  # of a picture, in pixels
MOST = 6  # pictures that are shown of the nearest, and of the doubtful ones
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
STYLE = f"""* {{ box-sizing: border-box }}
body {{ font: 15px/1.5 sans-serif; margin: 0 auto; padding: 1em; max-width: 84em; color: #222 }}
h2 {{ border-bottom: 2px solid {COLORS[0]}; margin: 1.5em 0 .5em; overflow-wrap: anywhere;
  scroll-margin-top: 5em }}
nav {{ columns: 12em; font-size: 13px; overflow-wrap: anywhere }} nav a {{ display: block }}
.bar {{ position: sticky; top: 0; z-index: 1; background: #fff; border-bottom: 1px solid #bbb;
  padding: .5em 0; display: flex; flex-wrap: wrap; gap: .5em 1em; align-items: center }}
.cards {{ display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(min(20em, 100%), 1fr)) }}
fieldset {{ border: 1px solid #bbb; border-radius: 4px; margin: 0; padding: 8px 12px;
  min-width: 0; background: #f4f6f8 }}
.dropped > :not(.fields, .told) {{ opacity: .3 }}
.fields {{ display: grid; grid-template-columns: auto 1fr; gap: 4px 8px; align-items: center }}
input[type=text], select {{ font: inherit; width: 100%; min-width: 0; padding: 2px 6px }}
[aria-invalid=true] {{ outline: 2px solid {COLORS[3]} }}
:focus-visible {{ outline: 3px solid {COLORS[0]}; outline-offset: 1px }}
.told {{ min-height: 1.5em; margin: 4px 0; font-size: 13px }} .wrong {{ color: {WRONG} }}
.row {{ display: grid; grid-template-columns: repeat(3, 1fr); gap: 4px }}
h3 {{ font-size: 13px; margin: 6px 0 2px }}
.row img {{ display: block; width: 100%; aspect-ratio: 1; background: #ddd }}
button {{ font: inherit; padding: 4px 12px }} .advice {{ color: #444 }}"""
ADVICE = (
    "Look at the pictures of each sub-class: first those nearest to its mean, then those that "
    "might as well be in another one. Name each after what it shows; give two the same name, or "
    "choose under “merge into”, to make them one; drop what shows nothing, and its pictures are "
    "left out. Then download the changed table. The folders of pictures stay as they are."
)
# How the table is written: as `ancor.data.datasets.labels_csv` reads it.
SCRIPT = """'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const cards = [...document.querySelectorAll('fieldset')];
const part = (card, name) => card.querySelector('.' + name);
const nameOf = card => part(card, 'name').value.trim();
const dropped = card => part(card, 'drop').checked;
const coarseOf = card => data.subclasses[card.dataset.number].coarse;
const sizeOf = card => data.subclasses[card.dataset.number].size;
const counted = (n, one, many) => n + ' ' + (n === 1 ? one : many);

function refresh() {
  const byName = new Map();
  for (const card of cards.filter(card => !dropped(card) && nameOf(card))) {
    byName.set(nameOf(card), [...(byName.get(nameOf(card)) || []), card]);
  }
  let wrong = 0, images = 0;
  for (const card of cards) {
    const alike = byName.get(nameOf(card)) || [];
    const other = alike.find(each => coarseOf(each) !== coarseOf(card));
    let told = '', fault = false;
    if (dropped(card)) told = 'dropped: its pictures are left out of the table';
    else if (!nameOf(card)) [told, fault] = ['give it a name, or drop it', true];
    else if (other) {
      const where = data.coarse[coarseOf(other)];
      [told, fault] = ['“' + where + '” has a sub-class of this name; give it another', true];
    } else if (alike.length > 1) {
      const sum = alike.reduce((all, each) => all + sizeOf(each), 0);
      told = 'merged: ' + counted(sum, 'picture', 'pictures') + ' under this name';
    }
    part(card, 'told').textContent = told;
    part(card, 'told').classList.toggle('wrong', fault);
    part(card, 'name').setAttribute('aria-invalid', fault);
    part(card, 'name').disabled = part(card, 'merge').disabled = dropped(card);
    card.classList.toggle('dropped', dropped(card));
    for (const option of part(card, 'merge').options) {
      const target = cards[option.value];
      if (target) {
        option.textContent = nameOf(target) || '(no name)';
        option.disabled = dropped(target) || !nameOf(target);
      }
    }
    wrong += fault;
    images += dropped(card) ? 0 : sizeOf(card);
  }
  document.getElementById('download').disabled = wrong > 0 || !byName.size;
  document.getElementById('status').textContent = wrong
    ? counted(wrong, 'name is', 'names are') + ' to be changed before the table can be downloaded'
    : counted(byName.size, 'sub-class', 'sub-classes') + ', '
      + counted(images, 'picture', 'pictures');
}

const field = text => /[",;|\\t\\r\\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;

function table() {
  const kept = data.rows.filter(([, number]) => !dropped(cards[number]));
  const lines = kept.map(([path, number]) => [
    path, data.coarse[coarseOf(cards[number])], nameOf(cards[number]), 'train']);
  return [data.columns, ...lines].map(line => line.map(field).join(',') + '\\n').join('');
}

for (const card of cards) {
  part(card, 'merge').addEventListener('change', event => {
    const target = cards[event.target.value];
    if (target) part(card, 'name').value = nameOf(target);
    event.target.value = '';
    refresh();
  });
}
document.addEventListener('input', refresh);
document.getElementById('restore').addEventListener('click', () => {
  document.getElementById('form').reset();
  refresh();
});
document.getElementById('download').addEventListener('click', () => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([table()], {type: 'text/csv'}));
  link.download = 'labels.csv';
  link.click();
  URL.revokeObjectURL(link.href);
});
window.addEventListener('pageshow', refresh);
refresh();
"""


def page(found: Discovery, paths: Sequence[str]) -> str:
    """Return the page.

    Args:
        found: the sub-classes.
        paths: of the partition's images, as the table names them, (N,).
    """
    partition = found.partition
    title = f"{partition.dataset}, {partition.name}: proposed sub-classes"
    head = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    body = [
        f'<h1>{text(title)}</h1><p class="advice">{ADVICE}</p><form id="form">',
        '<div class="bar"><button type="button" id="download">Download labels.csv</button>'
        '<button type="button" id="restore">Reset</button>'
        '<span id="status" role="status"></span></div>',
        *_sections(found, paths),
        f'</form><script type="application/json" id="data">{_data(found, paths)}</script>',
        f"<script>{SCRIPT}</script>",
    ]
    return document(title, STYLE, body, head)


def _data(found: Discovery, paths: Sequence[str]) -> str:
    """Return what the script works on as JSON, in which nothing can end the script's element."""
    number_of = np.empty(len(paths), dtype=np.int64)
    for number, each in enumerate(found.subclasses):
        number_of[each.images] = number
    told = {
        "columns": COLUMNS,
        "coarse": found.partition.hierarchy.coarse_names,
        "subclasses": [
            {"coarse": each.coarse, "size": len(each.images)} for each in found.subclasses
        ],
        "rows": list(zip(paths, number_of.tolist(), strict=True)),
    }
    return json.dumps(told).replace("<", "\\u003c")


def _sections(found: Discovery, paths: Sequence[str]) -> Iterator[str]:
    """Yield a list of the coarse classes, and the part of each."""
    names = found.partition.hierarchy.coarse_names
    own: dict[int, list[int]] = {}
    for number, each in enumerate(found.subclasses):
        own.setdefault(each.coarse, []).append(number)
    links = "".join(
        f'<a href="#c{coarse}">{text(names[coarse])} ({len(numbers)})</a>'
        for coarse, numbers in own.items()
    )
    yield f'<nav aria-label="coarse classes">{links}</nav>'
    for coarse, numbers in own.items():
        yield f'<h2 id="c{coarse}">{text(names[coarse])}</h2><div class="cards">'
        for number in numbers:
            yield _card(found, number, [other for other in numbers if other != number], paths)
        yield "</div>"


def _card(found: Discovery, number: int, others: list[int], paths: Sequence[str]) -> str:
    each = found.subclasses[number]
    size = f"{len(each.images)} picture" + "s" * (len(each.images) != 1)
    choices = "".join(
        f'<option value="{other}">{text(found.subclasses[other].name)}</option>' for other in others
    )
    merge = f'<select class="merge" id="m{number}"><option value="">–</option>{choices}</select>'
    return (
        f'<fieldset data-number="{number}"><legend>{text(each.name)}, {size}</legend>'
        f'<div class="fields"><label for="n{number}">name</label>'
        f'<input type="text" class="name" id="n{number}" value="{escape(each.name)}" '
        f'autocomplete="off"><label for="m{number}">merge into</label>{merge}'
        f'<label for="d{number}">drop</label><span><input type="checkbox" class="drop" '
        f'id="d{number}" autocomplete="off"></span></div>'
        f'<p class="told" id="t{number}"></p>{_rows(found, each, paths)}</fieldset>'
    )


def _rows(found: Discovery, each: Subclass, paths: Sequence[str]) -> str:
    """Return the nearest pictures and the doubtful ones that are not among these."""
    shown = each.images[:MOST].tolist()
    doubtful = [image for image in each.doubtful.tolist() if image not in shown][:MOST]
    parts = []
    for title, images in (("nearest", shown), ("most doubtful", doubtful)):
        if images:
            pictures = "".join(_picture(found, image, paths[image]) for image in images)
            parts.append(f'<h3>{title}</h3><div class="row">{pictures}</div>')
    return "".join(parts)


def _picture(found: Discovery, image: int, path: str) -> str:
    try:
        source = data_uri(found.partition.images[image], SIDE, "JPEG")
    except (InputError, RunError):  # it has vanished, or is damaged, since it was looked at
        source = ""
    return f'<img src="{source}" alt="{text(path)}" title="{text(path)}" loading="lazy">'
