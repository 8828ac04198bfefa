"""What Markdown pages hold: fenced blocks, links, headings."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SKIPPED = {"runs", "build", "dist", "node_modules"}
LANGUAGES = {"": "shell", "sh": "shell", "bash": "shell", "python": "python"}
SHOWN = {"text", "csv", "json"}  # blocks of these are there to be read
MARK = re.compile(r"<!-- needs (data|hardware|network|time) -->")
FENCE = re.compile(r"^```([\w-]*)$")


class Block(NamedTuple):
    """A fenced block: where it begins, `shell` or `python`, its text, what its mark says."""

    page: Path
    line: int
    language: str
    text: str
    needs: str | None


def pages() -> list[Path]:
    """All of the project's pages."""
    found = [page.relative_to(ROOT) for page in ROOT.rglob("*.md")]
    return sorted(
        page
        for page in found
        if not any(part in SKIPPED or part.startswith(".") for part in page.parts)
    )


def split(page: Path) -> tuple[list[Block], str]:
    """Return a page's blocks, and its text without them."""
    blocks, prose, start, language = [], [], None, ""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        fence = FENCE.match(line)
        if start is None and fence:
            start, language = number, fence.group(1)
        elif start is not None and line == "```":
            mark = MARK.fullmatch(lines[start - 2]) if start > 1 else None
            text = "\n".join(lines[start : number - 1])
            blocks.append(Block(page, start, language, text, mark and mark.group(1)))
            start = None
        elif start is None:
            prose.append(line)
    if start is not None:
        blocks.append(Block(page, start, "a block that does not end", "", None))
    return blocks, "\n".join(prose)


def commands(page: Path) -> list[Block]:
    """Return a page's blocks that are there to be run."""
    return [
        block._replace(language=LANGUAGES[block.language])
        for block in split(page)[0]
        if block.language in LANGUAGES
    ]


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures."""
    prose = re.sub(r"`[^`]*`", "", split(page)[1])
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r"^\[[^]]+\]: (\S+)$", prose, re.M)


def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as GitHub makes them."""
    names: set[str] = set()
    for title in re.findall(r"^#+ (.+)$", split(page)[1], re.M):
        title = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title)
        name = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        count = 1
        while name in names:
            name, count = f"{name.rsplit('-', 1)[0] if count > 1 else name}-{count}", count + 1
        names.add(name)
    return names
