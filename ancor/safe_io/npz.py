"""Arrays from an .npz file, of strangers too: no pickle in it is read, and no bomb unpacked."""

import struct
import tokenize
import zipfile
import zlib
from typing import BinaryIO

import numpy as np

MOST_PACKED = 100  # times its size in the archive that an array of pixels or features may have
BROKEN = (
    KeyError,
    TypeError,
    EOFError,
    OSError,
    MemoryError,
    OverflowError,
    RuntimeError,
    struct.error,
    tokenize.TokenError,
    zlib.error,
    zipfile.BadZipFile,
)


def load(file: BinaryIO, *names: str) -> dict[str, np.ndarray]:
    """Read arrays by name; those of `names`, or all.

    Raises:
        ValueError: it is no such file, lacks a name, or an array in it is no plain one.
    """
    try:
        _refuse_bomb(file)
        with np.load(file, allow_pickle=False) as archive:
            found = {name: archive[name] for name in names or archive.files}
    except BROKEN as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    other = [name for name, array in found.items() if not isinstance(array, np.ndarray)]
    if other:
        raise ValueError(f"{other[0]!r} in it is no array")
    return found


def _refuse_bomb(file: BinaryIO) -> None:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.file_size > MOST_PACKED * member.compress_size + 2**20:
                raise ValueError(f"{member.filename!r} would unpack to {member.file_size} bytes")
    file.seek(0)
