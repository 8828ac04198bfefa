"""What `make docs` adds to the pages of docs/: hooks of MkDocs, which mkdocs.yml names.

Pages outside docs/ go to project/, and what pages link to goes with them, so that links are the
same in a clone and on the site. The reference is made by `tools/docs_reference.py`.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ancor.__main__ import COMMANDS  # noqa: E402
from tools.docs_reference import reference  # noqa: E402

OUTSIDE = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md"),
    *("recipes/README.md", "recipes/combining.md", "recipes/fashion-mnist.md"),
    "recipes/published.md",
)
PROJECT = PurePosixPath("project")  # where they are on the site
DOCS = PurePosixPath("docs")
FENCE = re.compile(r"^```")
MARK = re.compile(r"^<!--.*-->$")
LINK = re.compile(r"(`[^`]*`)|\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add a page for each command to the list that begins with all of them."""
    (section,) = (part["Reference"] for part in config.nav if "Reference" in part)
    (commands,) = (part["Commands"] for part in section if "Commands" in part)
    commands += [f"reference/{name}.md" for name in COMMANDS]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/, the files that pages link to, and the reference."""
    for name in OUTSIDE:
        files.append(_copied(config, name))
    pages = [*OUTSIDE, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    linked = {target for page in pages if _own(page) for target in targets(page)}
    for name in sorted(linked - set(pages)):
        if not name.startswith("docs/") and (ROOT / name).is_file():
            files.append(_copied(config, name))
    for name, text in reference().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Give a page the links and headings' names that it has in a clone."""
    name = source_of(page.file.src_uri)
    if not _own(name):
        return markdown
    known = {file.src_uri for file in files}

    def moved(target: str) -> str | None:
        path, hash_, anchor = target.partition("#")
        if ":" in path or not path:
            return target
        place = site_path(resolved(name, path))
        if place not in known:
            return None  # a folder, of which a site has no page
        return os.path.relpath(place, PurePosixPath(page.file.src_uri).parent) + hash_ + anchor

    return for_site(markdown, moved)


def for_site(markdown: str, moved: Callable[[str], str | None]) -> str:
    """Rewrite a page: links by `moved` (None: text alone), headings with the names GitHub gives.

    Comments, which mark blocks for the tests, are left out.
    """
    lines, taken, fenced = [], set(), False
    for line in markdown.splitlines():
        fenced ^= bool(FENCE.match(line))
        if fenced or FENCE.match(line):
            lines.append(line)
        elif line.startswith("#"):
            lines.append(f"{_relinked(line, moved)} {{ #{_anchor(line, taken)} }}")
        else:
            lines.append("" if MARK.match(line) else _relinked(line, moved))
    return "\n".join(lines) + "\n"


def _relinked(line: str, moved: Callable[[str], str | None]) -> str:
    """Rewrite the links of a line, code left alone; of one that leads nowhere, keep the text."""
    gone: list[str] = []

    def link(found: re.Match) -> str:
        if found[1]:
            return found[0]
        target = moved(found[2])
        if target is None:
            gone.append(found[0])
            return found[0]
        return f"]({target})"

    line = LINK.sub(link, line)
    for end in gone:
        start = line.rindex("[", 0, line.index(end))
        line = line[:start] + line[start + 1 :].replace(end, "", 1)
    return line


def _anchor(heading: str, taken: set[str]) -> str:
    """Return a heading's name as GitHub makes it, another one each time on a page."""
    title = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.lstrip("#")).strip().lower()
    name = base = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
    for count in range(1, len(taken) + 1):
        if name not in taken:
            break
        name = f"{base}-{count}"
    taken.add(name)
    return name


def targets(name: str) -> Iterator[str]:
    """Yield what a page links to, as paths in the project."""
    fenced = False
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        fenced ^= bool(FENCE.match(line))
        for code, target in [] if fenced else LINK.findall(line):
            path = target.partition("#")[0]
            if not code and path and ":" not in path:
                yield resolved(name, path)


def resolved(page: str, link: str) -> str:
    """Return the path in the project that a page's relative link leads to."""
    return os.path.normpath(PurePosixPath(page).parent / link)


def site_path(name: str) -> str:
    """Return where a file of the project is among the site's sources."""
    path = PurePosixPath(name)
    return str(path.relative_to(DOCS) if path.is_relative_to(DOCS) else PROJECT / path)


def source_of(src_uri: str) -> str:
    """Return the path in the project of one of the site's sources."""
    path = PurePosixPath(src_uri)
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else DOCS / path)


def _own(name: str) -> bool:
    """Whether a page is a file of the project, and not made for the site."""
    return (ROOT / name).is_file()


def _copied(config: MkDocsConfig, name: str) -> File:
    return File.generated(config, site_path(name), abs_src_path=str(ROOT / name))
