"""Reading a file of weights, whatever wrote it, without running anything that it contains.

Read are torch's zip files and its older form, and safetensors. A file of torch's is first gone
through without its numbers (`_Outline`): what it would become is known before torch reads it.
"""

import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from ancor.errors import InputError
from ancor.safe_io import bounded
from ancor.safe_io.broken import BROKEN
from ancor.safe_io.own_files import SAFETENSORS, hint, recognized

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


class _Storage(NamedTuple):
    """Stands for a storage, or a part of one: its key, its numbers' type, how many there are."""

    key: str
    dtype: torch.dtype
    count: int


class _Tensor:
    """Stands for a tensor."""


_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
}


class _Outline(bounded.Unpickler):
    """Goes through a pickle of torch's with stand-ins for storages and tensors.

    Args:
        file: open for reading.
        account: what the file may become; each part of a storage that a tensor shows is paid for.
        size: bytes of the file, which all storages together do not exceed.

    Attributes:
        storages: bytes of each storage by its key.
    """

    def __init__(self, file: BinaryIO, account: bounded.Account, size: int) -> None:
        rebuild = "torch._utils", "_rebuild_"
        admitted = {
            **{tuple(name.rsplit(".", 1)): made for made, name in ADMITTED},
            **{("torch", f"{name}Storage"): kind for name, kind in _STORAGES.items()},
            **{("torch.cuda", f"{name}Storage"): kind for name, kind in _STORAGES.items()},
            **{("torch", str(kind).removeprefix("torch.")): kind for kind in _STORAGES.values()},
            ("collections", "OrderedDict"): bounded.plain_dict,
            ("collections", "Counter"): bounded.plain_dict,
            ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
            ("torch", "Size"): lambda sizes=(): tuple(sizes),
            ("torch", "device"): lambda *place: str(place),
            (rebuild[0], rebuild[1] + "tensor"): self._tensor,
            (rebuild[0], rebuild[1] + "tensor_v2"): self._tensor,
            (rebuild[0], rebuild[1] + "parameter"): _parameter,
            (rebuild[0], rebuild[1] + "parameter_with_state"): _parameter,
        }
        for module in ("builtins", "__builtin__"):
            admitted |= {(module, "set"): bounded.plain_set, (module, "complex"): complex}
        super().__init__(file, account, admitted, "utf-8")
        self.storages: dict[str, int] = {}
        self._seen: set[tuple] = set()
        self._left = size

    def persistent_load(self, pid: Any) -> _Storage:
        """Stand for a storage, of which torch's older form may name a part."""
        kind, dtype, key, _, count, *part = pid
        plain = isinstance(dtype, torch.dtype) and type(key) is str and type(count) is int
        if kind not in ("storage", b"storage") or not plain or count < 0:
            raise pickle.UnpicklingError("it names something that is not a storage of numbers")
        size = count * dtype.itemsize
        if key not in self.storages:
            self.storages[key] = size
            self._left -= size
        if self.storages[key] != size or self._left < 0:
            raise pickle.UnpicklingError("it names more numbers than it holds")
        if part and part[0] is not None:
            key, start, length = part[0]
            if not 0 <= start <= start + length <= count:
                raise pickle.UnpicklingError("it names numbers outside those that it holds")
            count = length
        return _Storage(str(key), dtype, count)

    def _tensor(
        self,
        storage: _Storage,
        start: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        *marks: Any,
    ) -> _Tensor:
        """Stand for a tensor, all of whose numbers lie in the storage."""
        shape, strides = tuple(shape), tuple(strides)
        numbers = (start, *shape, *strides)
        if not isinstance(storage, _Storage) or any(type(n) is not int or n < 0 for n in numbers):
            raise pickle.UnpicklingError("a tensor in it is not made of numbers")
        if len(shape) != len(strides) or any(marks[2:]):  # the marks of negative and conjugate ones
            raise pickle.UnpicklingError("a tensor in it is not plain")
        last = start + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if prod(shape) and last >= storage.count:
            raise pickle.UnpicklingError("a tensor in it reaches beyond its numbers")
        if (storage, numbers) not in self._seen:
            self._seen.add((storage, numbers))
            self.account.spend(bounded.extent(shape, storage.dtype.itemsize))
        return _Tensor()

    def refuse(self, name: str) -> None:
        """Raise an InputError that tells the name."""
        raise _Asked(name)


class _Asked(Exception):
    """A file asks for a name that no file of weights needs."""


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def load(path: Path | str) -> Any:
    """Read plain containers, tensors and NumPy floats (as Python's), on the CPU.

    What is returned can be walked through by plain recursion, and every tensor in it is a dense
    one of numbers.

    Raises:
        InputError: there is no such file, it is cut off, it asks for anything else, or it would
            become far larger than it is (`ancor.safe_io.bounded`).
    """
    path = Path(path)
    if not os.path.isfile(path):  # which, unlike Path's, takes names that no file can have
        raise InputError(f"no file of weights at {str(path)!r}; check the path{hint(path)}")
    try:
        size = path.stat().st_size
        if path.suffix == ".safetensors":
            content = _load_safetensors(path)
        else:
            _go_through(path, size)
            with torch.serialization.safe_globals(ADMITTED), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # tells of pickle's newer protocols
                content = torch.load(path, map_location="cpu", weights_only=True)
        bounded.check_plain(content, bounded.Account(size), _check_tensor)
        return content
    except _Asked as error:
        raise InputError(
            f"{str(path)!r} asks for {str(error)!r}; a file of weights may hold only dense "
            "tensors, plain containers and NumPy floats, so nothing of it was run: fetch the file "
            "again from its own source"
        ) from error
    except BROKEN as error:
        raise InputError(_refusal(path, error)) from error


def _refusal(path: Path, error: Exception) -> str:
    known = recognized(path)
    if known is not None and not known.weights:
        return f"{str(path)!r} is not a file of weights; it is {known}"
    text = str(error).partition("WeightsUnpickler error: ")[2] or str(error)
    reason = text.strip().partition("\n")[0][:200].rstrip(".") or type(error).__name__
    renamed = hint(path) if known is SAFETENSORS and path.suffix != ".safetensors" else ""
    return (
        f"{str(path)!r} cannot be read as a file of weights ({reason}); fetch the file again"
        f"{renamed}"
    )


def _check_tensor(value: Any) -> None:
    """Raise a ValueError for a tensor that is not a plain array of numbers."""
    if not isinstance(value, Tensor):
        return
    dense = value.layout == torch.strided and value.device.type == "cpu"
    known = type(value) in (Tensor, torch.nn.Parameter) and value.dtype in _STORAGES.values()
    if not (dense and known) or value.is_nested or value.is_conj() or value.is_neg():
        raise ValueError(f"a tensor in it is not plain: {value.dtype}, {value.layout}")


def _go_through(path: Path, size: int) -> None:
    """Raise one of `BROKEN`, or `_Asked`, where a file would become what it does not hold."""
    account = bounded.Account(size)
    with open(path, "rb") as file:
        if file.read(4) == b"PK\x03\x04":  # by which torch knows its zip files
            members = _members(file, size)
            outline = _Outline(BytesIO(members["data.pkl"]), account, size)
            outline.load()
            for key, count in outline.storages.items():
                if members.get(f"data/{key}") != count:
                    raise ValueError(f"{key!r} in it is of another size than it tells")
            return
        file.seek(0)
        for _ in range(3):  # the older form's magic number, version, and machine
            _Outline(file, account, size).load()
        outline = _Outline(file, account, size)
        outline.load()
        if outline.storages.keys() != set(_Outline(file, account, size).load()):
            raise ValueError("it does not hold all numbers that it names")


def _members(file: BinaryIO, size: int) -> Mapping[str, Any]:
    """Return the sizes of an archive's members by name, and the content of data.pkl."""
    with zipfile.ZipFile(file) as archive:
        listed = archive.infolist()
        top = listed[0].filename.partition("/")[0] + "/" if listed else ""
        members = {m.filename.removeprefix(top): m.file_size for m in listed}
        if sum(m.file_size for m in listed) > size or len(members) < len(listed):
            raise ValueError("it would unpack to more than it holds")
        return {**members, "data.pkl": archive.read(f"{top}data.pkl")}


def _load_safetensors(path: Path) -> dict[str, Any]:
    """Read tensors, sorted by name, by the library, once the header is known to be small and plain.

    Where the metadata has it, the content of a checkpoint, whose `state_dict` the tensors are.
    """
    content = path.read_bytes()  # not mapped: a file that is cut off later would kill the process
    length = int.from_bytes(content[:8], "little")
    about = bounded.parsed(content[8 : 8 + length]).get("__metadata__", {})
    account = bounded.Account(len(content))
    found = safetensors.torch.load(content)
    for tensor in found.values():
        account.spend(bounded.extent(tensor.shape, tensor.itemsize))
    tensors = dict(sorted(found.items()))
    return (
        {**bounded.parsed(about[CONTENT]), "state_dict": tensors} if CONTENT in about else tensors
    )
