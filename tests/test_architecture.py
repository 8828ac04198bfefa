"""The house: which way imports flow, and that what is said of the project holds."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A package or module may import what stands to its right, and itself.
BASE = {
    "errors",
    "bounded",
    "plain",
    "text",
    "own_files",
    "seeding",
    "devices",
    "distributed",
    "processes",
    "logs",
}
MAY_IMPORT = {
    "cli": None,  # everything
    "export": {"checkpoint", "published", "weight_files", "integrity", "data", "models", *BASE},
    "fewshot": {"image_encoder", "fewshot_file", "evaluation", "data", *BASE},
    "fewshot_file": {"data", "errors", "bounded", "own_files"},
    "image_encoder": {"evaluation", "checkpoint", "data", "models", *BASE},
    "plots": {"data", *BASE},
    "training": {
        "published",
        "plots",
        "evaluation",
        "checkpoint",
        "methods",
        "models",
        "data",
        *BASE,
    },
    "evaluation": {"checkpoint", "models", "data", *BASE},
    "runs": {"errors", "bounded"},
    "integrity": {"errors"},
    "checkpoint": {"integrity", "published", "weight_files", "models", *BASE},
    "published": {"models", *BASE},
    "weight_files": {"errors", "bounded", "own_files"},
    "own_files": set(),
    "methods": {"models", *BASE},
    "models": {*BASE},
    "data": {*BASE},
    "logs": {"errors", "distributed", "text"},
    "devices": {"errors"},
    "seeding": set(),
    "distributed": {"errors", "processes"},
    "launching": {"distributed", "errors", "processes"},
    "processes": set(),
    "errors": set(),
    "text": {"errors"},
    "plain": {"errors", "bounded", "text"},
    "bounded": set(),
}


def imports(path: Path) -> set[str]:
    """List the parts of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
            if node.module == "ancor":
                modules = [f"ancor.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        found |= {m.split(".")[1] for m in modules if m.startswith("ancor.")}
    return found


def parts() -> list[Path]:
    return [p for p in sorted((ROOT / "ancor").rglob("*.py")) if not p.name.startswith("__")]


@pytest.mark.parametrize("path", parts(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_flow_down(path):
    part = path.relative_to(ROOT / "ancor").parts[0].removesuffix(".py")
    allowed = MAY_IMPORT[part]
    if allowed is None:
        return
    known = {p.relative_to(ROOT / "ancor").parts[0].removesuffix(".py") for p in parts()}
    assert (imports(path) & known) - {part} <= allowed


def test_only_the_commands_know_argparse_and_only_plots_know_matplotlib():
    for word, rooms in (("argparse", {"cli"}), ("matplotlib.pyplot", {"plots"})):
        for path in parts():
            if re.search(rf"^\s*(import|from) {word}", path.read_text(encoding="utf-8"), re.M):
                assert path.relative_to(ROOT / "ancor").parts[0] in rooms, (word, path)


def test_setup_asks_for_what_requirements_list():
    code = (
        "import setuptools, runpy; setuptools.setup = lambda **k: None;"
        "v = runpy.run_path('setup.py');"
        "print(v['install_requires'] + v['extras_require']['breeds'])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    assert ast.literal_eval(shown) == listed
    assert all(">=" in line and "==" not in line for line in listed)


def test_the_readmes_commands_are_known_to_their_parsers():
    pages = [ROOT / "README.md", *ROOT.glob("recipes/*.md"), *ROOT.glob("docs/*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    text = re.sub(r"^```text$.*?^```$", "", text, flags=re.M | re.S)  # there to be read
    commands = re.findall(r"^python (\w+)\.py (.*)$", text.replace("\\\n", " "), re.M)
    assert len(commands) >= 5
    for script, flags in commands:
        command = importlib.import_module(f"ancor.cli.{script}")
        command.build_parser().parse_args(flags.split("#")[0].split())
