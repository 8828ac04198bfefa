"""What the commands' parsers share.

Nothing here imports torch: `--help` has to be quick.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NoReturn

from ancor.cli.ending import run, tell
from ancor.cli.options import group_of
from ancor.errors import InputError, did_you_mean
from ancor.runtime.text import installed_name, printable
from ancor.safe_io.writing import write_result

PLACES = ("FILE", "DIR", "PATH")  # what flags call a value that names something on disk
SCRIPT = re.compile(r"(?:python )?(?<![\w/])(\w+)\.py\b")


class Parser(argparse.ArgumentParser):
    """A parser whose long flags may be spelled with _ or -, and whose errors are one line."""

    def __init__(self, **options) -> None:
        name = installed_name()
        if name is not None:
            options["prog"] = SCRIPT.sub(r"ancor \1", options["prog"])
            epilog = options.get("epilog", "").replace("python -m ancor", name)
            options["epilog"] = SCRIPT.sub(rf"{name} \1", epilog)
        self._given: list[str] = []
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options
        )
        self.add_argument(
            "--debug", action="store_true", default=False, help="show the traceback of an error"
        )

    def parse_known_args(
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does, after turning _ into - in the names of long flags."""
        args = self._given = list(sys.argv[1:] if args is None else args)
        for arg in args:
            if re.match(r"--[a-zA-Z][^=]*=--$", arg):  # argparse makes an empty list of it
                self.error(f"{arg.partition('=')[0]} '--': this is not a value")
            if "\0" in arg:
                self.error(f"{arg!r}: no name or path holds a NUL")
        flags = args.index("--") if "--" in args else len(args)
        args = [*map(_dashed, args[:flags]), *args[flags:]]  # behind `--` are names of files
        parsed, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            value = getattr(parsed, action.dest, None)
            if action.metavar in PLACES and "" in (value if isinstance(value, list) else [value]):
                self.error(
                    f"argument {'/'.join(action.option_strings)}: '' names no file or folder"
                )
        return parsed, rest

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2; name the flags that unknown ones nearly are."""
        known = [flag for flag in self._option_string_actions if flag.startswith("--")]
        near = ((flag, did_you_mean(flag, known)) for flag in islice(self._unknown(), 5))
        message += "".join(f"; {flag}{meant}" for flag, meant in near if meant)
        tell(f"{self.prog}: error: {message} (--help lists the flags)")
        self.exit(2)

    def _unknown(self) -> Iterator[str]:
        """Yield what was given like a flag and is none, each once.

        A short flag may have its value behind it, `-b64`; but `-arch` is not `-a rch`.
        """
        flags = [given.partition("=")[0] for given in self._given]
        flags = flags[: flags.index("--")] if "--" in flags else flags
        for flag in dict.fromkeys(flag for flag in flags if re.match(r"--?[a-zA-Z]", flag)):
            known = self._option_string_actions
            short = flag[:2] in known and f"-{flag}" not in known
            if _dashed(flag) not in known and not short:
                yield flag


def _dashed(argument: str) -> str:
    if not re.match(r"--[a-zA-Z]", argument):
        return argument
    flag, equals, value = argument.partition("=")
    return flag.replace("_", "-") + equals + value


def main_of(
    build_parser: Callable[[], Parser],
    command: Callable[[argparse.Namespace], None],
    logs: bool = False,
) -> Callable[..., int]:
    """Return a command's `main`, which runs it and returns its exit status (`ancor.cli.ending`)."""

    def main(argv: Sequence[str] | None = None) -> int:
        return run(build_parser(), command, argv, logs)

    return main


def add_device_flags(
    parser: Parser, precision: str, batch_size: int | None = None
) -> argparse._ArgumentGroup:
    """Add the flags that say where the work runs, and by default in what precision and batches."""
    group = group_of(parser, "device")
    group.add_argument(
        "--device", metavar="NAME", help="auto, cuda, mps or cpu (default: auto, the best there is)"
    )
    group.add_argument(
        "--precision",
        metavar="NAME",
        help=f"fp32, bf16, fp16 or auto: bf16 where it is native (default: {precision})",
    )
    group.add_argument("--gpu", type=int, metavar="N", help="number of the CUDA device")
    if batch_size is not None:
        group.add_argument(
            "--test-batch-size",
            dest="batch_size",
            type=int,
            default=batch_size,
            metavar="N",
            help=f"images a forward pass (default: {batch_size})",
        )
    return group


def add_json_flag(parser: Parser) -> None:
    """Add --json: a report as JSON, on stdout or in a file."""
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write the report as JSON, into FILE or instead of the text",
    )


def say(line: str) -> None:
    """Print a line in which no name, of a class or a file, can steer the terminal."""
    print(printable(line))


def print_report(report: dict, lines: Iterable[str], json_target: str | None) -> None:
    """Print a report's lines, or its JSON as `add_json_flag` tells.

    Raises:
        InputError: the JSON file cannot be written.
    """
    text = json.dumps(report, indent=2)
    if json_target == "-":
        print(text)
        return
    for line in lines:
        say(line)
    if json_target is not None:
        try:
            Path(json_target).parent.mkdir(parents=True, exist_ok=True)
            write_result(json_target, text + "\n")
        except OSError as error:
            raise InputError(
                f"cannot write --json {json_target!r} ({error.strerror}); name another file"
            ) from error
