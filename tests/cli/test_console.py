"""The console command `ancor`: its words and its completion."""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ancor
from ancor import __main__ as toolkit
from tests.refusals import one_line, refused

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py") if path.stem != "setup")


@pytest.fixture
def called_as(monkeypatch):
    """Run a command as if the program had been called by a name; return what it printed."""

    def called_as(program: str, *words: str, capsys) -> str:
        monkeypatch.setattr(sys, "argv", [program, *words])
        with pytest.raises(SystemExit):
            sys.exit(toolkit.main())
        said = capsys.readouterr()
        return said.out + said.err

    return called_as


def test_every_script_is_a_command():
    assert {"train", "eval", "ensemble", "concat", "cascade", "tsne"} <= set(SCRIPTS)
    assert set(SCRIPTS) <= set(toolkit.COMMANDS)


def test_version(capsys):
    assert toolkit.main(["--version"]) == 0
    assert capsys.readouterr().out == f"ancor {ancor.__version__}\n"


def test_a_name_behind_two_dashes_is_no_flag(capsys):
    refused(toolkit.main, ["inspect", "--", "--a_b.pth"], capsys, "'--a_b.pth'")


@pytest.mark.parametrize("command", toolkit.COMMANDS)
def test_help_names_the_command_as_it_was_called(command, called_as, capsys):
    said = called_as("/usr/bin/ancor", command, "--help", capsys=capsys)
    assert said.startswith(f"usage: ancor {command} ")
    example = said[said.rindex("\nexample") :]
    assert f"ancor {command} " in example
    assert not any(f"{script}.py" in example for script in SCRIPTS)
    assert "python -m" not in example
    said = called_as("/x/ancor/__main__.py", command, "--help", capsys=capsys)
    assert said.startswith(f"usage: ancor {command} ")
    example = said.splitlines()[-1].strip()
    # Completion works for the installed name only.
    assert example.startswith(f"python -m ancor {command} ") or command == "completion"


@pytest.mark.parametrize("command", SCRIPTS)
def test_a_script_goes_by_its_own_name(command):
    parser = toolkit.function_of(command, "build_parser")()
    assert parser.prog == f"{command}.py"
    assert f"python {command}.py " in parser.epilog


def test_an_error_names_the_command_as_it_was_called(called_as, capsys):
    said = called_as("ancor.exe", "train", "--mode", "x", capsys=capsys)
    assert one_line(said, "--mode 'x'").startswith("ancor train: ")


@pytest.fixture(scope="module")
def completed(tmp_path_factory):
    """What bash offers behind some words of a command line."""
    pytest.importorskip("shtab")
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    command = [sys.executable, "-m", "ancor", "completion", "bash"]
    made = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    path = tmp_path_factory.mktemp("completion") / "ancor.bash"
    path.write_text(made.stdout)
    script = """source "$1"; shift
    registered=$(complete -p ancor); function=${registered##*-F }; function=${function%% *}
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    $function ancor "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf '%s\\n' "${COMPREPLY[@]}" """

    def completed(*words: str) -> list[str]:
        command = ["bash", "-c", script, "bash", str(path), *words]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        assert shown.stderr == ""
        return shown.stdout.split()

    return completed


def test_bash_completes_commands_flags_and_files(completed):
    assert set(toolkit.COMMANDS) <= set(completed("ancor", ""))
    assert completed("ancor", "exp") == ["export"]
    assert completed("ancor", "export", "--output") == ["--output", "--output-layer"]
    assert completed("ancor", "completion", "") == ["bash", "zsh", "tcsh"]
    assert completed("ancor", "inspect", str(ROOT / "LICE")) == [str(ROOT / "LICENSE")]
    assert completed("ancor", "train", "--data", str(ROOT / "exam")) == [str(ROOT / "examples")]


@pytest.mark.parametrize("command", toolkit.COMMANDS)
def test_bash_completes_every_flag(command, completed):
    parser = toolkit.function_of(command, "build_parser")()
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    flags = {name for action in shown for name in action.option_strings}
    assert set(completed("ancor", command, "--")) == {f for f in flags if f.startswith("--")}


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script(shell, capsys):
    pytest.importorskip("shtab")
    assert toolkit.main(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert "check-data" in said
    assert "model-path" in said


def test_an_unknown_shell_and_a_missing_package_are_one_line(capsys, monkeypatch):
    refused(toolkit.main, ["completion", "fish"], capsys, "'fish'", "'bash'", "'zsh'", "'tcsh'")
    monkeypatch.setitem(sys.modules, "shtab", None)
    words = ["'shtab'", "pip install 'ancor-toolkit[completion]'"]
    refused(toolkit.main, ["completion", "bash"], capsys, *words)


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("export", ["--to", "safetensors", "--output", "none.safetensors"]),
        ("predict", ["--support", ".", "--save", "none.ancor"]),
        ("search", ["--query", __file__, "--gallery", "."]),
    ],
)
def test_another_head_than_the_files_is_refused(command, flags, quick_run, capsys):
    """`--head` was passed over where the file tells its own."""
    words = [command, "--model-path", str(quick_run / "model_best.pth.tar"), "--head", "fork"]
    refused(toolkit.main, [*words, *flags], capsys, "--head fork", "model_best.pth.tar'", "seq")


def test_a_classifier_that_cannot_be_kept_is_refused_before_the_work(capsys):
    words = ["predict", "--model-path", "none.pth", "--support", ".", "--save", "/proc/none/c"]
    refused(toolkit.main, words, capsys, "'/proc/none/c'")
