"""The toolkit as it is released, and environments of their own to install it into."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import distribution, requires, version
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
RELEASED = (
    *("setup.py", "pyproject.toml", "README.md", "LICENSE"),
    *("MANIFEST.in", "requirements.txt"),
)
BUILD = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"


def release(folder: Path) -> tuple[Path, Path]:
    """Make an archive of the source in a folder, and a wheel of the archive; return both.

    Skips the test where pip or setuptools cannot.
    """
    makes_wheels = bool(find_spec("wheel")) or int(version("setuptools").split(".")[0]) > 70
    if not (find_spec("pip") and find_spec("setuptools") and makes_wheels):
        pytest.skip("pip and setuptools 71 or newer are needed")
    shutil.copytree(ROOT / "ancor", folder / "ancor", ignore=shutil.ignore_patterns("__pycache__"))
    for name in RELEASED:
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-c", BUILD]
    made = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    archive = folder / "dist" / made.stdout.split()[-1]
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(folder / "dist"), str(archive)], check=True)
    (wheel,) = (folder / "dist").glob("ancor_toolkit-*.whl")
    return archive, wheel


class Environment:
    """An environment without a package; pip of this one installs into it."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.programs = folder / "bin"
        purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
        command = [self.programs / "python", "-c", purelib]
        told = subprocess.run(command, check=True, capture_output=True, text=True)
        self.packages = Path(told.stdout.strip())

    def pip(self, *words: str) -> subprocess.CompletedProcess:
        """Run `pip install` into it; the caller looks at the status."""
        command = [sys.executable, "-m", "pip", f"--python={self.programs / 'python'}"]
        command += ["--disable-pip-version-check", "install", "-q", *words]
        return subprocess.run(command, capture_output=True, text=True)

    def link(self, names: Iterable[str]) -> None:
        """Give it distributions that are installed here, as links to files where that can be."""
        for name in names:
            for file in distribution(name).files or ():
                source, target = Path(file.locate()), self.packages / file
                if ".." in file.parts or not source.exists():
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(source, target)
                except OSError:  # on another file system, or one without links
                    shutil.copy2(source, target)

    def variables(self) -> dict[str, str]:
        """Return the environment of a process in which nothing leads to this clone."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return kept | {"PATH": f"{self.programs}{os.pathsep}{kept['PATH']}"}


def with_requirements(name: str) -> set[str]:
    """Return a distribution that is installed here and all that it requires."""
    found: set[str] = set()
    waiting = {(canonicalize_name(name), "")}
    seen = set()
    while waiting:
        name, extra = one = waiting.pop()
        seen.add(one)
        found.add(name)
        for each in map(Requirement, requires(name) or ()):
            if each.marker is None or each.marker.evaluate({"extra": extra}):
                own = canonicalize_name(each.name)
                waiting |= {(own, further) for further in ("", *each.extras)} - seen
    return found
