"""Reading pickles from the internet without running what they ask for (ours).

A pickle is a program that may call any function by name. Here it finds a dozen names, each bound to
a stand-in that makes plain data and nothing else; every other name is refused.
"""

import os
import pickle
import re
from collections.abc import Callable
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ancor.errors import InputError
from ancor.safe_io import bounded
from ancor.safe_io.broken import BROKEN

MOST_OF_NOTHING = 10_000  # rows that an array without a byte in it may have
DTYPE_CODES = re.compile(r"b1|[iu][1248]|f[248]|f16|c8|c16|c32|O[48]?|[SU]\d{1,9}")


class _Callable:
    """A function that a pickle may call, and that its BUILD instruction cannot change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a function is given a state")


class _Dtype:
    """Stands for `numpy.dtype` while reading: a plain type of numbers, strings or objects."""

    __slots__ = ("dtype",)

    def __init__(self, code: str | bytes, align: bool = False, copy: bool = False) -> None:
        if not DTYPE_CODES.fullmatch(text(code)):
            raise pickle.UnpicklingError(f"NumPy type {code!r} is not plain")
        self.dtype = np.dtype(text(code))

    def __setstate__(self, state: tuple) -> None:
        _version, order, *structure = state[:5]
        if any(part is not None for part in structure):
            raise pickle.UnpicklingError("a structured NumPy type is not plain")
        self.dtype = self.dtype.newbyteorder({"<": "<", ">": ">"}.get(text(order), "="))


class _Array(np.ndarray):
    """An array that accepts its state only where shape, type and content fit together."""

    def __setstate__(self, state: tuple) -> None:
        _version, shape, dtype, fortran, content = state
        size = prod(shape) if min(shape, default=0) >= 0 else -1
        if size == 0 and bounded.extent(shape, 1) > MOST_OF_NOTHING:
            raise pickle.UnpicklingError(f"an array of shape {shape} without an item")
        if dtype.dtype.hasobject:
            fits = isinstance(content, list) and len(content) == size
        else:
            fits = isinstance(content, bytes) and len(content) == size * dtype.dtype.itemsize
        if not fits:
            raise pickle.UnpicklingError(f"an array's content does not fit its shape {shape}")
        super().__setstate__((1, tuple(shape), dtype.dtype, bool(fortran), content))


_NDARRAY = object()


def _reconstruct(kind: object, shape: tuple, code: bytes) -> _Array:
    if kind is not _NDARRAY:
        raise pickle.UnpicklingError("an array of another class than numpy.ndarray")
    return np.ndarray.__new__(_Array, (0,), "b")


def _from_buffer(content: bytes, dtype: _Dtype, shape: tuple, order: str) -> np.ndarray:
    array = np.frombuffer(content, dtype=dtype.dtype).reshape(shape, order=order)
    if not array.size and bounded.extent(array.shape, 1) > MOST_OF_NOTHING:
        raise pickle.UnpicklingError(f"an array of shape {shape} without an item")
    return array


def _scalar(dtype: _Dtype, content: bytes) -> np.generic:
    (value,) = np.frombuffer(content, dtype=dtype.dtype)
    return value


def _encode(content: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`, by which old protocols spell bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return content.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


def _bytearray(content: bytes | str = b"", encoding: str = "latin1") -> bytearray:
    return bytearray(
        _encode(content, encoding) if isinstance(content, str) else memoryview(content)
    )


_BUILTINS = {
    "set": _Callable(bounded.plain_set),
    "frozenset": _Callable(lambda items=(): frozenset(bounded.plain_set(items))),
    "complex": _Callable(complex),
    "bytes": _Callable(_empty_bytes),
    "bytearray": _Callable(_bytearray),
}
_ADMITTED = {
    ("collections", "OrderedDict"): _Callable(bounded.plain_dict),
    ("_codecs", "encode"): _Callable(_encode),
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Callable(_Dtype),
    **{
        (module, name): f for module in ("builtins", "__builtin__") for name, f in _BUILTINS.items()
    },
}
for _core in ("numpy.core", "numpy._core"):
    _ADMITTED[_core + ".multiarray", "_reconstruct"] = _Callable(_reconstruct)
    _ADMITTED[_core + ".multiarray", "scalar"] = _Callable(_scalar)
    _ADMITTED[_core + ".numeric", "_frombuffer"] = _Callable(_from_buffer)


class _Unpickler(bounded.Unpickler):
    def __init__(self, file: BinaryIO, account: bounded.Account, source: str) -> None:
        # Strings of Python 2 come as bytes: some of them are pixels.
        super().__init__(file, account, _ADMITTED, encoding="bytes")
        self.source = source

    def refuse(self, name: str) -> None:
        raise InputError(
            f"{self.source!r} asks for {name!r}; a data file may hold only plain containers, "
            "strings, bytes, numbers and NumPy arrays, so nothing of it was run: fetch the file "
            "again from its own source"
        )


def text(value: str | bytes) -> str:
    """Return a string of Python 2 or 3 as str."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def texts(values: object) -> tuple[str, ...] | None:
    """Return a list of strings of Python 2 or 3 as str; None where it is none."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, list | tuple) or not all(isinstance(v, str | bytes) for v in values):
        return None
    return tuple(map(text, values))


def load(path: Path | str) -> Any:
    """Read a pickle that holds only plain containers, strings, bytes, numbers and NumPy arrays.

    Strings written by Python 2 come as bytes (see `text`).

    Raises:
        InputError: it cannot be read, is cut off, asks for any other name, or would become far
            larger than it is (`ancor.safe_io.bounded`).
    """
    try:
        with open(path, "rb") as file:
            return _load(file, os.fstat(file.fileno()).st_size, str(path))
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r} ({error.strerror}); check `root`") from error


def loads(content: bytes, source: str) -> Any:
    """Read a pickle from memory as `load` does; `source` names it in errors."""
    return _load(BytesIO(content), len(content), source)


def _load(file: BinaryIO, size: int, source: str) -> Any:
    try:
        value = _Unpickler(file, bounded.Account(size), source).load()
        bounded.check_plain(value, bounded.Account(size), cost=bounded.STEP)
        return value
    except InputError:
        raise
    except BROKEN as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(
            f"{source!r} is not a whole pickle of plain data ({reason:.200}); fetch the file again"
        ) from error


def whole_numbers(value: object) -> np.ndarray | None:
    """Return a list or array (N,) of whole numbers as int64; None where it is anything else.

    Lists are looked through one by one: of lists in lists NumPy would make an array whose size has
    no bound in the file's.
    """
    if isinstance(value, list | tuple):
        if not all(isinstance(n, int | np.integer) and abs(int(n)) < 2**62 for n in value):
            return None
        return np.array(value, dtype=np.int64)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.ndim == 1:
        return np.asarray(value).astype(np.int64)
    return None


def text_keys(value: object, source: str) -> dict[str, Any]:
    """Return a dict with its keys as str; InputError where `value` is not a dict."""
    if not isinstance(value, dict):
        raise InputError(
            f"{source!r} holds a {type(value).__name__} where a dict is expected; "
            "fetch the file again"
        )
    return {text(key): item for key, item in value.items() if isinstance(key, str | bytes)}
