"""How a command ends: its exit status, and one line where it ends badly."""

import argparse
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress

from ancor.cli.options import flags_of
from ancor.errors import InputError, Interrupted, RunError, lacks_memory
from ancor.runtime.lazy import Lazy
from ancor.runtime.settings import show_as, with_flags
from ancor.runtime.text import LONGEST_LINE, printable, shortened

SIGPIPE = 13  # which Windows does not name
# What the system is short of, or the user has to fix. Others, such as EINVAL and EBADF, are
# mistakes of a program and keep their traceback.
ENVIRONMENT = {
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ENOENT", "ENOTDIR"),
        *("ENAMETOOLONG", "ELOOP", "EMFILE", "ENFILE", "EAGAIN", "ENOMEM", "EBUSY", "ESTALE"),
        *("ENODEV", "ENXIO", "ETIMEDOUT", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH"),
        *("EHOSTUNREACH", "EADDRINUSE", "EADDRNOTAVAIL"),
    )
    if hasattr(errno, name)
}
console = Lazy("ancor.runtime.logging")  # brings torch
ADVICE = "check the path, its permissions and the free space, and try again"


def run(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], None],
    argv: Sequence[str] | None = None,
    logs: bool = False,
) -> int:
    """Parse, run the command, and return the exit status: 0, 1 (it failed) or 2 (bad input).

    With `logs` the package's messages go to stdout, or to stderr where JSON goes there.
    """
    return heard(lambda: _ended(parser, command, argv, logs))


def heard(say: Callable[[], int]) -> int:
    """Return what a function returns that prints, or 141, silently, where its reader went away.

    The output is flushed here: when the interpreter ends it is too late to heed that.
    """
    status = 0
    try:
        try:
            status = say()
            return status
        finally:
            if sys.stdout is not None:  # as where it was closed before the start
                sys.stdout.flush()
    except BrokenPipeError:
        status = 128 + SIGPIPE  # as the signal ends other programs
    except OSError as error:
        if error.errno not in ENVIRONMENT:
            raise
        if not status:
            tell(
                f"standard output cannot be written ({error.strerror}); free space, or redirect it"
            )
            status = 1
    _drop_what_is_not_written()
    return status


def tell(line: str) -> None:
    """Write to stderr, or nothing where nobody reads that: the status tells as much.

    No name or value of any length steers the terminal or fills it.
    """
    with suppress(OSError):
        print(printable(shortened(line, LONGEST_LINE)), file=sys.stderr)


def _drop_what_is_not_written() -> None:
    """Lead streams that cannot be written to nowhere, or the interpreter complains at its end."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _ended(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], None],
    argv: Sequence[str] | None,
    logs: bool,
) -> int:
    args = parser.parse_args(argv)
    show_as(flags_of(parser))
    # A name of bytes that are no text must not stop what only wants to tell it.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if logs:
            as_json = getattr(args, "json", None) == "-"
            console.configure_console(stream=sys.stderr if as_json else None)
        command(args)
    except (InputError, RunError) as error:
        return _refuse(parser, args, error, 2 if isinstance(error, InputError) else 1)
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk, a name that is too long: what no command can foresee
        if error.filename is None and error.errno not in ENVIRONMENT:
            raise
        where = "" if error.filename is None else f": {error.filename!r}"
        told = RunError(f"{error.strerror or error}{where}; {ADVICE}")
        return _refuse(parser, args, told, 1)
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        told = RunError("out of memory; reduce `image_size` or `batch_size`")
        return _refuse(parser, args, told, 1)
    except Interrupted as ended:
        if ended.number != SIGPIPE:  # other programs do not tell of it either
            tell(f"{parser.prog}: {with_flags(str(ended))}")
        return 128 + ended.number
    except KeyboardInterrupt:
        tell(f"{parser.prog}: interrupted")
        return 130
    return 0


def _refuse(
    parser: argparse.ArgumentParser, args: argparse.Namespace, error: Exception, status: int
) -> int:
    if args.debug:
        traceback.print_exc()
    process = int(os.environ.get("RANK", 0))  # torchrun starts this once a process
    whose = f" of process {process}" if process else ""
    tell(f"{parser.prog}: error{whose}: {with_flags(str(error).rstrip())}")
    return status
