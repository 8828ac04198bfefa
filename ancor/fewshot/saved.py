"""The file of a saved few-shot classifier: one line of JSON, then NumPy's .npz without pickle.

The line names format and version and carries the SHA-256 of what follows, which is read only if it
fits. So a file that is cut off or damaged is found out before anything of it is used.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ancor.errors import InputError
from ancor.safe_io import bounded, npz
from ancor.safe_io.broken import BROKEN
from ancor.safe_io.own_files import hint
from ancor.safe_io.writing import write_result

KIND = "ancor few-shot classifier"
VERSION = 1
ABOUT = "about"  # the array that holds everything but arrays, as JSON


def write(path: Path | str, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a file whole, then give it its name.

    Args:
        path: its name.
        about: what JSON can hold, or numbers of NumPy, as settings may be.
        arrays: by name.

    Raises:
        InputError: it cannot be written.
    """
    text = np.frombuffer(json.dumps(about, default=np.generic.item).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{ABOUT: text}, **arrays)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    header = json.dumps({"kind": KIND, "version": VERSION, "sha256": digest})
    try:
        write_result(path, header.encode() + b"\n" + content)
    except OSError as error:
        raise InputError(
            f"cannot write {str(path)!r} ({error.strerror}); name another file"
        ) from error


def read(path: Path | str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `write` was given.

    Raises:
        InputError: there is no such file, it is another kind of file or of another version, or it
            is damaged.
    """
    name = repr(str(path))
    try:
        with open(path, "rb") as file:
            header, content = _header(file.readline(1000)), file.read()
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {name} ({reason}); check the path") from error
    if header.get("kind") != KIND:
        raise InputError(
            f"{name} is not a saved few-shot classifier; give a file that ancor predict --save or "
            f"FewShotClassifier.save wrote{hint(path)}"
        )
    if header.get("version") != VERSION:
        raise InputError(
            f"{name} is a saved classifier of version {header.get('version')!r}; this toolkit "
            f"reads version {VERSION}: use the toolkit that wrote it, or save it anew"
        )
    if hashlib.sha256(content).hexdigest() != header.get("sha256"):
        raise InputError(
            f"{name} is damaged or cut off (its content does not fit its checksum); copy it again, "
            "or save it anew"
        )
    try:
        arrays = npz.load(io.BytesIO(content))
        return bounded.parsed(arrays.pop(ABOUT).tobytes()), arrays
    except BROKEN as error:
        raise InputError(f"{name} holds no classifier ({error}); save it anew") from error


def _header(line: bytes) -> dict[str, Any]:
    try:
        header = bounded.parsed(line)
    except ValueError:
        return {}
    return header if isinstance(header, dict) else {}
