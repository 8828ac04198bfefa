"""HTML pages that are complete in themselves."""

from collections.abc import Iterable
from html import escape

from ancor.runtime.text import printable

WRONG = "#a40000"  # of words, dark enough to be read on white and gray


def text(value: object) -> str:
    """Return text that stands in HTML as it is."""
    return escape(printable(value))


def document(title: str, style: str, body: Iterable[str], head: str = "") -> str:
    """Return a page that is as wide as its window, a phone's too.

    Args:
        title: of the page, as text.
        style: its CSS.
        body: the parts of its body, as HTML.
        head: more of its head, as HTML, before the style.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">{head}'
        f"<title>{text(title)}</title><style>{style}</style></head><body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )
