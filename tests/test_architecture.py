"""The house: which way imports flow, and that what is said of the project holds."""

import ast
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from ancor.__main__ import COMMANDS, function_of

ROOT = Path(__file__).parents[1]
# What each room imports of the others: exactly these arrows exist.
ARROWS = {
    "cli": {
        "data",
        "evaluation",
        "fewshot",
        "methods",
        "models",
        "plots",
        "runtime",
        "safe_io",
        "training",
    },
    "training": {
        "checkpoints",
        "data",
        "evaluation",
        "methods",
        "models",
        "plots",
        "runtime",
        "safe_io",
    },
    "fewshot": {
        "checkpoints",
        "data",
        "evaluation",
        "models",
        "plots",
        "runtime",
        "safe_io",
        "training",
    },
    "evaluation": {"checkpoints", "data", "methods", "models", "runtime", "safe_io"},
    "plots": {"data", "evaluation", "runtime"},
    "methods": {"models", "runtime"},
    "checkpoints": {"data", "models", "runtime", "safe_io"},
    "models": {"runtime"},
    "data": {"runtime", "safe_io"},
    "safe_io": set(),
    "runtime": {"safe_io"},
}


def modules() -> dict[str, Path]:
    """The package's modules by dotted name; a package stands for its __init__."""
    found = {}
    for path in sorted((ROOT / "ancor").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """List the modules of the package that a file imports, for types only included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inside & known) or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: imports(path, set(known)) - {name, "ancor"} for name, path in known.items()}


def test_imports_flow_down_and_every_arrow_is_used():
    found = {room: set() for room in ARROWS}
    for module, imported in graph().items():
        room = module.split(".")[1:2]
        if room and room[0] in found:
            others = {name.split(".")[1] for name in imported} - {room[0], "errors"}
            found[room[0]] |= others - {"__main__"}
    assert found == ARROWS


def test_no_import_goes_in_a_circle():
    TopologicalSorter(graph()).prepare()  # which raises a CycleError that names the circle


def test_only_the_commands_know_argparse_and_only_plots_know_matplotlib():
    for word, rooms in (("argparse", {"cli"}), ("matplotlib.pyplot", {"plots"})):
        for path in modules().values():
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
    commands = re.findall(
        r"^python (?:-m ancor )?([a-z][\w-]*)(?:\.py)? (.*)$", text.replace("\\\n", " "), re.M
    )
    assert len(commands) >= 5
    for script, flags in commands:
        parser = function_of(script, "build_parser")()
        parser.parse_args(shlex.split(flags, comments=True))


def test_the_way_through_the_code_leads_somewhere():
    """CONTRIBUTING's map: five files a row, each with the name to look for."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| one .*$", text.partition("## Reading the code")[2], re.M)
    assert len(rows) == 2
    for row in rows:
        steps = re.findall(r"`([\w/]+)\.py` \((.*?)\)", row)
        assert len(steps) == 5, row
        for path, names in steps:
            module = importlib.import_module(path.replace("/", "."))
            for name in re.findall(r"`([\w.]+)`", names):
                found = module
                for part in name.split("."):
                    found = getattr(found, part)


# Private names that tests may call all the same, each with a reason.
CALLED = {
    "_workers": "torch's own name, of a DataLoader's iterator",
}


def uses(node: ast.AST) -> list[str]:
    """List the names by which a node reaches into an object or module, or patches it."""
    if isinstance(node, ast.ImportFrom):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr":
        texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
        return [text.rpartition(".")[2] for text in texts if isinstance(text, str)]
    return [node.attr] if isinstance(node, ast.Attribute) and node.attr not in CALLED else []


def test_tests_hold_to_values_and_to_public_names():
    """Messages may be reworded and private names changed, and no test fails."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in modules().values()]
    named = {n.name for tree in trees for n in ast.walk(tree) if isinstance(n, kinds)}
    private = {name for name in named if re.match("_[A-Za-z]", name)}
    sentence = re.compile("[A-Za-z]+(?: [A-Za-z]+){3}")
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = (str(path), getattr(node, "lineno", 0))
            assert not private & set(uses(node)), where
            if isinstance(node, ast.keyword) and node.arg == "match":
                assert not sentence.search(ast.unparse(node.value)), where


# Commands that came after the bounds below were set; each of them has bounds of its own.
LATER = [
    *("app", "choose", "discover", "doctor", "embed"),
    *("methods", "pack", "partition", "push", "search"),
]


def test_the_house_keeps_its_size():
    """A newcomer meets few names, short modules and imports at their head."""
    inside = (ROOT / "ancor").iterdir()
    names = [p for p in inside if p.suffix == ".py" or (p / "__init__.py").exists()]
    assert len([p for p in names if p.name != "__init__.py"]) <= 13
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in modules().values()}
    assert {str(path): count for path, count in lines.items() if count > 300} == {}
    late = {path for path in lines if path.parent.name == "cli" and path.stem in LATER}
    assert len(late) == len(LATER)
    early = {path for path in lines if path.parent.name == "cli"} - late
    assert sum(lines[path] for path in early) <= 1800
    assert max(lines[path] for path in late) <= 80
    inside = {
        (path, node.lineno)
        for path in modules().values()
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert len([path for path, _ in inside if path not in late]) <= 45
    assert max(len([path for path, _ in inside if path == one]) for one in late) <= 3


# Modules outside cli/ that spell flags, and why they may.
SPELL_FLAGS = {
    "__main__.py": "reads the command line of `ancor` itself",
    "training/outcome.py": "writes the commands that go on with a run and score it",
}
PROGRAMS = r"\bpip install|\bdocker run|\bgit clone|\btensorboard"
COMMAND_LINE = rf"(?:\b\w+\.py|\bancor [a-z][\w-]*|{PROGRAMS}|COMMAND)"


def strings_in(source: str) -> Iterator[str]:
    """Yield a module's strings, `{}` for what f-strings format; no docstrings, no `flags=`."""
    passed: set[int] = set()
    for node in ast.walk(ast.parse(source)):  # what holds others comes before them
        if id(node) in passed:
            passed.update(map(id, ast.iter_child_nodes(node)))
        elif isinstance(node, ast.Expr | ast.keyword) and getattr(node, "arg", "flags") == "flags":
            if isinstance(node.value, ast.Constant | ast.Tuple):
                passed.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            parts = [part for part in node.values if isinstance(part, ast.Constant)]
            passed.update(map(id, parts))
            yield "{}".join(part.value for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def spelled_flags(source: str) -> list[str]:
    """List the flags in a module's strings that follow no command's name, as in a line to type."""
    texts = (re.sub(rf"{COMMAND_LINE}(?: --?[a-z][\w=-]*)+", "", t) for t in strings_in(source))
    return [flag for text in texts for flag in re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", text)]


def library_sources() -> dict[str, str]:
    """Return the text of the modules outside cli/, by path."""
    paths = {path.relative_to(ROOT / "ancor"): path for path in modules().values()}
    return {
        name.as_posix(): path.read_text(encoding="utf-8")
        for name, path in paths.items()
        if name.parts[0] != "cli"
    }


def test_only_the_commands_spell_flags():
    """Library code names settings, as `batch_size`; a command shows its flags in their place."""
    found = {name: spelled_flags(source) for name, source in library_sources().items()}
    found = {name: flags for name, flags in found.items() if flags}
    assert {name: flags for name, flags in found.items() if name not in SPELL_FLAGS} == {}
    assert found.keys() == SPELL_FLAGS.keys()  # nothing is excepted in vain


def test_flags_are_found_in_messages_and_not_in_command_lines():
    message = 'raise E(f"--lr {x}: lower --wd " "or --cos")'
    assert spelled_flags(message) == ["--lr", "--wd", "--cos"]
    assert spelled_flags('choose("--device", name)') == ["--device"]
    assert spelled_flags('f("give a folder of train.py; --resume auto goes on")') == ["--resume"]
    allowed = '"""--a"""\nsetting(0, "x", flags=("--b",))\nf(f"go on: train.py --resume auto; {x}")'
    assert spelled_flags(allowed) == []


def test_what_messages_name_is_a_setting_that_some_command_has():
    known = {
        action.dest
        for command in COMMANDS
        for action in function_of(command, "build_parser")()._actions
    }
    named = {
        name
        for source in library_sources().values()
        for text in strings_in(source)
        for name in re.findall(r"`(\w+)`", text)
    }
    assert named - known == {"native_size", "fine"}  # of a dataset that Python code makes
