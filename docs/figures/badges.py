"""Write docs/images/badge-*.svg, README's badges, from what setup.py says.

    python docs/figures/badges.py

They are files so that a page asks no other host for them.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WIDTH, PAD, HEIGHT = 6.6, 7, 20  # pixels of a letter, beside a text, and of a badge


def badges() -> dict[str, tuple[str, str]]:
    """Return each badge's two texts by name."""
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    about = (ROOT / "ancor" / "__init__.py").read_text(encoding="utf-8")
    low, high = map(int, re.search(r"for minor in range\((\d+), (\d+)\)", setup).groups())
    return {
        "version": ("version", re.search(r'__version__ = "(.+)"', about)[1]),
        "python": ("python", f"3.{low} to 3.{high - 1}"),
        "license": ("license", re.search(r'license="(.+)"', setup)[1]),
        "paper": ("paper", f"arXiv {re.search(r'arxiv.org/abs/([0-9.]+)', setup)[1]}"),
    }


def svg(left: str, right: str) -> str:
    """Draw a badge: what on gray, its value on blue."""
    ends = [0.0]
    for text in (left, right):
        ends.append(ends[-1] + round(len(text) * WIDTH) + 2 * PAD)
    fields, texts = [], []
    halves = zip((left, right), ("#555", "#0a58a6"), ends, ends[1:], strict=False)
    for text, color, start, end in halves:
        width, middle = end - start, (start + end) / 2
        fields.append(f'<rect x="{start}" width="{width}" height="{HEIGHT}" fill="{color}"/>')
        texts.append(f'<text x="{middle}" y="14" textLength="{width - 2 * PAD}">{text}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{ends[-1]}" height="{HEIGHT}" role="img" '
        f'aria-label="{left}: {right}">{"".join(fields)}<g fill="#fff" text-anchor="middle" '
        f'font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{"".join(texts)}</g></svg>\n'
    )


def main() -> None:
    """Write all."""
    for name, texts in badges().items():
        path = ROOT / "docs" / "images" / f"badge-{name}.svg"
        path.write_text(svg(*texts), encoding="utf-8")
        print(f"Wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
