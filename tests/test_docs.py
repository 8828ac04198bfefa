"""The pages: every link leads somewhere, every command block runs or says what it lacks."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.pages import LANGUAGES, ROOT, SHOWN, Block, anchors, commands, links, pages, split

COPIED = ("ancor", "benchmarks", "docs", "examples", "recipes", "tools")
PAGES = [page for page in pages() if page.parts[0] != "tests"]
# The flags by which commands are told where to write, and their values.
WRITES = re.compile(
    r"(?:--(?:out(?:put(?:[-_]dir)?)?|save|json|csv|plot|feature[-_]cache)[ =]|> )(\S+)"
)
# A training of the digits, its flags, and the folder that it writes.
TRAINED = re.compile(r"^python train\.py (--dataset digits [^\n]*?) --output-dir (\S+)\n?", re.M)
# So many first blocks of these pages are quick enough for every run of the tests.
QUICK = {"docs/method.md": 1, "docs/own-images.md": 2}


@pytest.mark.parametrize("page", pages(), ids=str)
def test_links_lead_somewhere(page):
    for target in links(page):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        place = (ROOT / page.parent / path).resolve() if path else ROOT / page
        assert place.exists(), f"{page}: {target}"
        assert place.is_relative_to(ROOT), f"{page}: {target} leaves the project"
        if anchor:
            assert anchor in anchors(place.relative_to(ROOT)), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_blocks_say_what_they_are(page):
    for block in split(page)[0]:
        where = f"{page}:{block.line}: {block.language!r}"
        assert block.language in (*LANGUAGES, *SHOWN), where
        assert block.needs is None or block.language in LANGUAGES, where


def reached_from(sources: list[Path]) -> set[Path]:
    """Return the files that some pages link to."""
    return {
        (ROOT / page.parent / target.partition("#")[0]).resolve()
        for page in sources
        for target in links(page)
    }


def test_every_page_and_picture_of_docs_is_linked():
    listed = {ROOT / "docs" / "README.md", *reached_from([Path("docs/README.md")])}
    assert set(ROOT.glob("docs/*.md")) <= listed
    assert set(ROOT.glob("docs/images/*")) <= reached_from(PAGES)


def git(folder: Path, *words: str) -> str:
    """Run git in a folder, if there is one here, and return what it says."""
    if shutil.which("git") is None:
        return ""
    command = ["git", "-c", "safe.directory=*", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout


def without_known(text: str, home: Path, kept: Path) -> str:
    """Return a block without the trainings that another page has made with the same flags.

    What they wrote is put where the block's would be: five pages begin with the same half a minute.
    """

    def known(training: re.Match) -> str:
        made = kept / training[1].replace(" ", "")
        if not made.exists():
            return training[0]
        shutil.copytree(made, home / training[2])
        return ""

    return TRAINED.sub(known, text)


def keep(text: str, home: Path, kept: Path) -> None:
    """Keep what a block has trained for other pages."""
    for flags, folder in TRAINED.findall(text):
        made = kept / flags.replace(" ", "")
        if not made.exists():
            part = kept / f"{home.parent.name} {made.name}"
            shutil.copytree(home / folder, part)
            with suppress(OSError):  # another process was first
                part.rename(made)


@pytest.fixture
def clone(tmp_path, common_folder):
    """A copy of the project, and what runs a block in it as its reader would."""
    trained = common_folder / "trained"
    trained.mkdir(exist_ok=True)
    home, programs = tmp_path / "clone", tmp_path / "programs"
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, home / name)
    kept = (ROOT / name for name in ("requirements.txt", ".gitignore"))
    for file in [*ROOT.glob("*.py"), *ROOT.glob("*.md"), *kept]:
        shutil.copy(file, home)
    git(home, "init", "-q")
    git(home, "add", "-A")
    programs.mkdir()
    for name, words in (("python", ""), ("ancor", "-m ancor")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(home),
        "MPLBACKEND": "Agg",
    }

    def run(block: Block) -> None:
        shells = {"shell": ["bash", "-e", "-o", "pipefail", "-c"], "python": [sys.executable, "-c"]}
        text = without_known(block.text, home, trained)
        command = [*shells[block.language], text]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=home, env=environment)
        where = f"{block.page}:{block.line}"
        assert ended.returncode == 0, f"{where}\n{text}\n{ended.stdout}\n{ended.stderr}"
        keep(text, home, trained)
        # E25: what a page writes is nothing that git tracks, or would.
        written = git(home, "status", "--porcelain")
        changed = [line for line in written.splitlines() if not line.startswith("A  ")]
        assert not changed, f"{where} wrote {changed}"

    return run


def shell_commands() -> list[tuple[Path, str]]:
    """Return the commands of all pages, each on one line, with their pages."""
    return [
        (page, command)
        for page in pages()
        for block in commands(page)
        if block.language == "shell"
        for command in block.text.replace("\\\n", " ").splitlines()
    ]


def runnable(page: Path) -> list[Block]:
    return [block for block in commands(page) if block.needs is None]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize("page", QUICK)
def test_first_blocks_run(page, clone):
    blocks = runnable(Path(page))[: QUICK[page]]
    assert len(blocks) == QUICK[page]
    for block in blocks:
        clone(block)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize("page", list(filter(runnable, PAGES)), ids=str)
def test_blocks_run(page, clone):
    for block in runnable(page):
        clone(block)


def test_no_two_pages_train_into_one_folder():
    """E25: pasted in order, the second page found the first one's run and stopped."""
    folders = [
        (str(page), folder)
        for page, command in shell_commands()
        if "train.py" in command
        for folder in re.findall(r"--output-dir (\S+)", command)
    ]
    assert len(folders) >= 15
    assert len({folder for _, folder in folders}) == len(folders), folders


def test_what_pages_write_is_ignored_by_git(tmp_path):
    """E25: pictures.md drew into docs/images, and own-images.md made folders that git would add.

    The commands that no test runs, as they need data, are looked at here.
    """
    if shutil.which("git") is None:
        pytest.skip("no git here")
    written = [
        (str(page), path)
        for page, command in shell_commands()
        for path in [
            *WRITES.findall(command),
            *(command.split()[1:] if command.startswith("mkdir ") else []),
        ]
        if not path.startswith("-")
    ]
    assert len(written) >= 20
    git(tmp_path, "init", "-q")
    shutil.copy(ROOT / ".gitignore", tmp_path)
    ignored = git(tmp_path, "check-ignore", "--no-index", *(path for _, path in written)).split()
    assert [(page, path) for page, path in written if path not in ignored] == []
