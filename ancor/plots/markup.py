"""HTML pages that are complete in themselves."""

from collections.abc import Iterable
from html import escape

from ancor.runtime.text import printable


def text(value: object) -> str:
    """Return text that stands in HTML as it is."""
    return escape(printable(value))


def document(head: str, body: Iterable[str], attributes: str = "") -> str:
    """Return a page of the parts of its head and body; `attributes` are of its root."""
    return (
        f"<!DOCTYPE html>\n<html{attributes}><head>{head}</head><body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )
