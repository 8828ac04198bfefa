"""Arrays from an .npz file, of strangers too: no pickle in it is read, and no bomb unpacked."""

import os
import zipfile
from typing import BinaryIO

import numpy as np

from ancor.safe_io import bounded
from ancor.safe_io.broken import BROKEN

MOST_PACKED = 20  # times the size of the file that its arrays may have together


def load(file: BinaryIO, *names: str) -> dict[str, np.ndarray]:
    """Read arrays by name; those of `names`, or all.

    Raises:
        ValueError: it is no such file, lacks a name, an array in it is no plain one, or it would
            become far larger than it is.
    """
    try:
        most = _most(file)
        with np.load(file, allow_pickle=False) as archive:
            found = {name: archive[name] for name in names or archive.files}
    except BROKEN as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    other = [name for name, array in found.items() if not isinstance(array, np.ndarray)]
    if other:
        raise ValueError(f"{other[0]!r} in it is not an array")
    if sum(bounded.extent(array.shape, array.itemsize) for array in found.values()) > most:
        raise ValueError("an array in it has more rows than there can be")
    return found


def _most(file: BinaryIO) -> int:
    """Bytes that the arrays may have; ValueError where the archive would unpack to more."""
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    most = bounded.FLOOR + MOST_PACKED * size
    unpacked = sum(member.file_size for member in members)
    if unpacked > most or sum(member.compress_size for member in members) > size:
        raise ValueError(f"it would unpack to {unpacked} bytes")
    file.seek(0)
    return most
