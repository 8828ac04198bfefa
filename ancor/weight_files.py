"""Reading a file of weights, whatever wrote it, without running anything that it contains.

Read are torch's zip files and its older form, and safetensors.
"""

import json
import os
import pickle
import pickletools
import struct
import warnings
import zipfile
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ancor.errors import BROKEN_PICKLE, InputError
from ancor.own_files import SAFETENSORS, hint, recognized

BROKEN = (
    *BROKEN_PICKLE,
    RuntimeError,
    OSError,
    AssertionError,
    StopIteration,
    NotImplementedError,
    RecursionError,
    struct.error,
    zipfile.BadZipFile,
)
SAFETENSORS_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
# In a .safetensors file's metadata: in JSON, what a checkpoint holds beside its tensors.
CONTENT = "checkpoint"


class _FloatType:
    """Stands for `numpy.dtype` while reading: the types of NumPy's floats and no others."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        formats = {"f8": "d", "f4": "f", "f2": "e"}
        if code not in formats:
            raise pickle.UnpicklingError(f"a NumPy value of type {code!r}")
        self.format = "<" + formats[code]

    def __setstate__(self, state: tuple) -> None:
        if state[1] == ">":
            self.format = ">" + self.format[1:]


def _float(kind: _FloatType, content: bytes) -> float:
    """Stands for NumPy's maker of scalars."""
    (value,) = struct.unpack(kind.format, content)
    return value


# The paper's files hold validation accuracies as NumPy floats; both spellings of NumPy's core.
ADMITTED = [
    (_FloatType, "numpy.dtype"),
    (_float, "numpy.core.multiarray.scalar"),
    (_float, "numpy._core.multiarray.scalar"),
]


def load(path: Path | str) -> Any:
    """Read plain containers, tensors and NumPy floats (as Python's), on the CPU.

    Raises:
        InputError: there is no such file, it is cut off, or it asks for anything else.
    """
    path = Path(path)
    if not os.path.isfile(path):  # which, unlike Path's, takes names that no file can have
        raise InputError(f"no file of weights at {str(path)!r}; check the path{hint(path)}")
    try:
        if path.suffix == ".safetensors":
            return _load_safetensors(path)
        _refuse_packed(path)
        with torch.serialization.safe_globals(ADMITTED), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # tells of pickle's newer protocols
            return torch.load(path, map_location="cpu", weights_only=True)
    except BROKEN as error:
        raise InputError(_refusal(path, error)) from error


def _refuse_packed(path: Path) -> None:
    """Raise a ValueError for an archive that unpacks to more than it holds; torch's never do."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename!r} in it is packed, and torch packs nothing")


def _refusal(path: Path, error: Exception) -> str:
    known = recognized(path)
    if known is not None and not known.weights:
        return f"{str(path)!r} is no file of weights; it is {known}"
    asked = _asked_for(path)
    if asked is not None:
        return (
            f"{str(path)!r} asks for {asked!r}; a file of weights may hold only tensors, plain "
            "containers and NumPy floats, so nothing of it was run: fetch the file again from its "
            "own source"
        )
    text = str(error).partition("WeightsUnpickler error: ")[2] or str(error)
    reason = text.strip().partition("\n")[0][:200].rstrip(".") or type(error).__name__
    renamed = hint(path) if known is SAFETENSORS and path.suffix != ".safetensors" else ""
    return (
        f"{str(path)!r} cannot be read as a file of weights ({reason}); fetch the file again"
        f"{renamed}"
    )


def _asked_for(path: Path) -> str | None:
    """Return the first name in a file's pickle that no file of weights needs, running nothing."""
    needed = {name for _, name in ADMITTED} | {"collections.OrderedDict", "_codecs.encode"}
    words: list[str] = []
    try:
        for instruction, argument, _ in pickletools.genops(_pickle_of(path)):
            if instruction.name in ("GLOBAL", "INST"):
                name = argument.replace(" ", ".")
            elif instruction.name == "STACK_GLOBAL":
                name = ".".join(words[-2:])
            else:
                words += [argument] if isinstance(argument, str) else []
                continue
            if name not in needed and not name.startswith("torch."):
                return name
    except BROKEN:
        pass  # cut off or no pickle at all: it asks for nothing more
    return None


def _pickle_of(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as file:
        member = next(m for m in file.infolist() if m.filename.endswith("data.pkl"))
        return b"" if member.compress_type != zipfile.ZIP_STORED else file.read(member)


def _load_safetensors(path: Path) -> dict[str, Any]:
    """Read tensors, sorted by name: length of the header, the header in JSON, all tensors' bytes.

    Where the metadata has it, the content of a checkpoint, whose `state_dict` the tensors are.
    """
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    if length > len(content) - 8:
        raise ValueError(f"a header of {length} bytes in a file of {len(content)}")
    header = json.loads(content[8 : 8 + length])
    data = bytearray(content[8 + length :])
    about = header.pop("__metadata__", {})
    tensors = {name: _slice(name, entry, data) for name, entry in sorted(header.items())}
    return {**json.loads(about[CONTENT]), "state_dict": tensors} if CONTENT in about else tensors


def _slice(name: str, entry: dict[str, Any], data: bytearray) -> Tensor:
    kind, shape = SAFETENSORS_TYPES[entry["dtype"]], entry["shape"]
    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= len(data) or end - start != prod(shape) * kind.itemsize:
        raise ValueError(f"{name!r} lies outside the file or does not fit its shape {shape}")
    part = torch.empty(prod(shape), dtype=kind)
    if part.numel():
        part = torch.frombuffer(data[start:end], dtype=kind)
    return part.reshape(shape)
