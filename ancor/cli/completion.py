"""Print a script that completes `ancor`, its commands and their flags in a shell."""

import argparse
from types import ModuleType

from ancor.__main__ import COMMANDS, function_of
from ancor.cli.arguments import Parser, main_of
from ancor.errors import InputError

EXAMPLE = """example, to be put into ~/.bashrc:
  eval "$(ancor completion bash)\""""
SHELLS = ("bash", "zsh", "tcsh")
# What the words that stand for a flag's value in --help tell of it.
FILES, FOLDERS = ("FILE", "PATH", "RUN"), ("DIR",)


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor completion", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("shell", choices=SHELLS, help="the shell that you use")
    return parser


def command(args: argparse.Namespace) -> None:
    """Print the script for the shell that the arguments name."""
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise InputError(
            "completion needs the package 'shtab', which is not installed: "
            "pip install 'ancor-toolkit[completion]'"
        ) from error
    print(shtab.complete(_all_commands(shtab), args.shell))


def _all_commands(shtab: ModuleType) -> argparse.ArgumentParser:
    """Build one parser of which every command is a sub-command."""
    parser = argparse.ArgumentParser("ancor")
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(parser_class=argparse.ArgumentParser)
    for name, (_, about) in COMMANDS.items():
        own = function_of(name, "build_parser")()
        for action in own._actions:
            word = str(action.metavar)
            if word in FILES or word in FOLDERS:
                action.complete = shtab.FILE if word in FILES else shtab.DIRECTORY
        commands.add_parser(name, parents=[own], add_help=False, help=about)
    return parser


main = main_of(build_parser, command)
