"""Files that are whole or not there: written under another name, then renamed."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ancor.errors import InputError


@contextmanager
def replacing(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """Yield a new name in the same folder, for a file that takes the name `path` at the end.

    Args:
        path: if it is a link, the link is replaced, not what it leads to.
        suffix: how the new name ends.

    Raises:
        OSError: it cannot be written; like any error inside the block, it leaves `path` as it was.
    """
    # Short enough to be a name wherever `path` is one, and another one for each who writes.
    temporary = path.with_name(f"{path.name[:40]}.{secrets.token_hex(4)}{suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):  # where folders can be opened, the name survives a loss of power too
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """As `replacing`, yield a file for bytes, which is on the disk before it takes its name."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def result_file(path: Path | str) -> Iterator[BinaryIO]:
    """Yield a file for bytes that a user named: through a link, into a pipe or device as it is.

    Args:
        path: its name; a file under it that cannot be written to stays.

    Raises:
        OSError: it cannot be written; like any error inside the block, it leaves a file that was
            there as before.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            yield file
        return
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    with atomic_write(Path(os.path.realpath(path))) as file:
        yield file


def write_result(path: Path | str, content: str | bytes) -> None:
    """Write a `result_file` at once: the bytes, or a text, which becomes UTF-8."""
    content = content.encode() if isinstance(content, str) else content
    with result_file(path) as file:
        file.write(content)


def output_path(name: str | None) -> Path | None:
    """Turn a file's name into a path whose folder exists; InputError where it cannot be written.

    A file that was not there is not there afterwards either.
    """
    if name is None:
        return None
    path = Path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_fifo():  # to open it now would end its reader, or wait for one
            return path
        existed = path.exists()
        with open(path, "a"):
            pass
        if not existed:
            path.unlink()
        elif path.is_file() and not os.access(os.path.dirname(os.path.realpath(path)), os.W_OK):
            # Another file takes its place when it is whole.
            raise PermissionError(errno.EACCES, "nothing can be written into its folder")
    except OSError as error:
        raise InputError(f"cannot write {name!r} ({error.strerror}); name another file") from error
    return path
