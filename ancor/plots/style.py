"""What all figures share: colors and markers that tell classes apart, and text that stays text."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.legend import Legend
from matplotlib.text import Text

from ancor.errors import capped
from ancor.runtime.text import printable, shortened

log = logging.getLogger(__name__)

# Okabe and Ito's color-blind-safe set, its yellow darkened to be seen on white.
COLORS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#8A7F00",
    "#000000",
)
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d", "8")
LONGEST = 40  # characters of a name in a picture
LONGEST_TITLE = 120
# Fonts that come with matplotlib and do not have what they seem to have.
LAST_RESORT, PRIVATE = "Last Resort", "STIXNon"


def look(number: int) -> dict[str, str]:
    """Return a color and a marker for class `number`; 104 pairs before the first repeats."""
    return {
        "color": COLORS[number % len(COLORS)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def line(number: int) -> dict[str, str]:
    """Return a color and a line style for curve `number`; 8 pairs before the first repeats."""
    return {"color": COLORS[number % len(COLORS)], "linestyle": LINES[number % len(LINES)]}


def plain(name: str, most: int = LONGEST) -> str:
    """Return a name (of a class, dataset, run or file) as pictures show it: one line, cut short."""
    return shortened(printable(name), most)


def legend_columns(names: int) -> int:
    """Return how many columns a legend needs for its names beside a plot."""
    return -(-names // 24)


def legend(place: Axes | Figure, handles: Sequence, names: Sequence[str], **how: Any) -> Legend:
    """Add a legend with all names, also those that matplotlib would leave out for a leading `_`."""
    made = place.legend(handles, [str(number) for number in range(len(names))], **how)
    for text, name in zip(made.get_texts(), names, strict=True):
        text.set_text(plain(name))
    return made


def legend_beside(axes: Axes, handles: Sequence, names: Sequence[str]) -> None:
    """Put a legend right of the axes, in as many columns as its entries need."""
    legend(
        axes,
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        ncols=legend_columns(len(names)),
        frameon=False,
        fontsize=9,
        borderaxespad=0,
    )


def finished(figure: Figure) -> Figure:
    """Return a figure whose text is drawn as it is: no formulas, and in fonts that have it.

    Says in one line which text no installed font has; its characters are drawn as boxes.
    """
    texts = figure.findobj(Text)
    shown = dict.fromkeys(text.get_text() for text in texts)
    fallbacks, missing = _fonts(frozenset("".join(shown)))
    for text in texts:
        text.set_parse_math(False)
        text.set_usetex(False)
        text.set_fontfamily([*text.get_fontfamily(), *fallbacks])
    if missing:
        _tell(tuple(text for text in shown if missing & set(text)))
    return figure


@cache
def _tell(names: tuple[str, ...]) -> None:
    """Log, once in a process, of which texts no font has all characters."""
    log.warning(
        "Notice: no installed font has all characters of %s: boxes stand for them; install a font "
        "that does, such as one of Noto Sans",
        capped(map(repr, names), 3),
    )


def write(figure: Figure, target: Path | IO[bytes], **how: Any) -> None:
    """Write a figure, nothing cut off; `finished` told of the characters that no font has."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        figure.savefig(target, bbox_inches="tight", **how)


@cache
def _fonts(characters: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Return names of fonts for what the usual one lacks, and the characters that none has."""
    missing = {c for c in characters if ord(c) >= 128} - _glyphs(findfont(FontProperties()))
    names = []
    for name, path in _installed() if missing else ():
        found = missing & _glyphs(path)
        if found:
            names.append(name)
            missing -= found
        if not missing:
            break
    return names, frozenset(missing)


def _installed() -> Iterator[tuple[str, str]]:
    """Yield each installed font's name and the file that it stands for, sans serif first."""
    names = {font.name for font in fontManager.ttflist}
    for name in sorted(names, key=lambda name: ("Sans" not in name, name)):
        if not name.startswith((LAST_RESORT, PRIVATE)):
            yield name, findfont(FontProperties(family=name), fallback_to_default=False)


@cache
def _glyphs(path: str) -> frozenset[str]:
    """List the characters of a font that can be scaled; none where it cannot be used."""
    try:
        font = FT2Font(path)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError):  # a file that is gone, or of a kind not known here
        return frozenset()
