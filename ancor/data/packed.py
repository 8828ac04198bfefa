"""Packed images: a dataset in one file, which is mapped into memory; `ancor.data.pack` writes it.

The file is `HEADER`, the images one after the other, and the index: a JSON text, then for each
image a `RECORD`, its coarse label and its fine label (int32; -1: not known), the length of its name
(uint32), and the names. An uncompressed image is its rows of RGB bytes, so that a crop is read from
the map without the rest; the others are JPEG. The header holds the index's SHA-256, a record its
image's BLAKE2b.

Anybody may have written such a file: nothing in it is run, and what it says of itself is checked
against its size before it is believed.
"""

import hashlib
import mmap
import os
import struct
import warnings
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ancor.data.decode import check_size, decode
from ancor.data.fields import as_now
from ancor.data.file_config import ENCODINGS
from ancor.data.hierarchy import Hierarchy
from ancor.data.images import state_of
from ancor.data.partition import Partition
from ancor.errors import InputError, MissingPartition, RunError, capped
from ancor.safe_io import bounded
from ancor.safe_io.broken import BROKEN
from ancor.safe_io.own_files import PACKED_MAGIC

HEADER = struct.Struct(
    "<8sQQQQ32s"
)  # magic, images, index's start, its bytes, its JSON's, its hash
RECORD = np.dtype([("bytes", "<u8"), ("height", "<u4"), ("width", "<u4"), ("digest", "u1", 16)])
ADVICE = "pack the images again, or take another copy"


def image_digest(content: bytes | memoryview) -> bytes:
    """Return the checksum of a stored image, 16 bytes."""
    return hashlib.blake2b(content, digest_size=16).digest()


class PackedFile:
    """A file of packed images, opened; its images are read when they are asked for.

    Attributes:
        path: the file's.
        about: what the index's JSON tells.
        records: (N,) of `RECORD`.
        starts: where each image begins in the file, (N,) of int64.
        coarse, fine: labels, (N,) of int32.

    Raises:
        InputError: it is no such file, or is cut off or damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = os.path.abspath(path)
        try:
            self._read()
        except (*BROKEN, InputError) as error:
            raise InputError(
                f"{self.path!r} cannot be read as packed images ({error}); {ADVICE}"
            ) from error

    def _read(self) -> None:
        self.size = os.path.getsize(self.path)
        with open(self.path, "rb") as file:
            magic, count, start, length, text, told = HEADER.unpack(file.read(HEADER.size))
            if magic != PACKED_MAGIC:
                raise ValueError("it begins otherwise")
            fixed = count * (RECORD.itemsize + 12)
            if start + length != self.size or text + fixed > length:
                raise ValueError(f"it has {self.size} bytes, and its header tells of others")
            file.seek(start)
            index = file.read(length)
        if hashlib.sha256(index).digest() != told:
            raise ValueError("its index is not what was written: the checksum differs")
        self.index_hash = told.hex()
        self.about = _about(bounded.parsed(index[:text]))
        ends = np.cumsum([text, RECORD.itemsize * count, *[4 * count] * 3]).tolist()
        parts = [index[a:b] for a, b in pairwise(ends)]
        self.records = np.frombuffer(parts[0], RECORD)
        self.coarse, self.fine = (np.frombuffer(part, "<i4") for part in parts[1:3])
        self.starts = HEADER.size + _starts(self.records["bytes"], start - HEADER.size)
        self.names = index[ends[-1] :]
        lengths = np.frombuffer(parts[3], "<u4").astype(np.uint64)
        self.name_starts = _starts(lengths, len(self.names))
        if sum(part["images"] for part in self.about["partitions"]) != count:
            raise ValueError("its partitions have another number of images")
        self._check_sizes()

    def _check_sizes(self) -> None:
        sizes = np.stack([self.records["width"], self.records["height"]], axis=1)
        for width, height in np.unique(sizes, axis=0).tolist():
            check_size(width, height, self.path, ADVICE)
        if self.about["encoding"] == "uncompressed":
            pixels = sizes[:, 0].astype(np.uint64) * sizes[:, 1]
            if (self.records["bytes"] != 3 * pixels).any():
                raise ValueError("an image has other bytes than its sides tell")

    @cached_property
    def map(self) -> Tensor:
        """The file's bytes, to be read only; no page of it is read before it is asked for."""
        with open(self.path, "rb") as file:
            if os.path.getsize(self.path) != self.size:
                raise RunError(f"{self.path!r} has changed since it was opened; start again")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with warnings.catch_warnings():  # that the map cannot be written to
            warnings.simplefilter("ignore", UserWarning)
            return torch.from_numpy(np.frombuffer(mapped, dtype=np.uint8))

    def stored(self, number: int) -> Tensor:
        """Return an image's bytes as they are in the file, without copying them."""
        start = int(self.starts[number])
        return self.map[start : start + int(self.records["bytes"][number])]

    def name(self, number: int) -> str:
        """Return an image's name: its path below the folder that it came from."""
        start, end = self.name_starts[number : number + 2].tolist()
        return os.fsdecode(self.names[start:end])

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the map: a loading process maps the file itself."""
        return {name: value for name, value in self.__dict__.items() if name != "map"}


def _starts(lengths: np.ndarray, total: int) -> np.ndarray:
    """Return where each of some lengths begins, and the last ends; ValueError: not at `total`."""
    if (len(lengths) and lengths.max() > total) or sum(lengths.tolist()) != total:
        raise ValueError("what it lists has other lengths than it has bytes")
    return np.concatenate([[0], np.cumsum(lengths.astype(np.int64))])


def _about(told: Any) -> dict[str, Any]:
    """Return an index's JSON, whose fields are of the right types; else one of `BROKEN`."""
    if told["version"] != 1:
        raise ValueError(f"version {told['version']!r:.40}, and 1 is read")
    if told["encoding"] not in ENCODINGS:
        raise ValueError(f"encoding {told['encoding']!r:.40}")
    if not isinstance(told["dataset"], str) or not isinstance(told["settings"], Mapping):
        raise TypeError("it tells no dataset")
    for part in told["partitions"]:
        names = (part["name"], *part["coarse_names"], *part["fine_names"])
        numbers = (part["images"], *part["coarse_of_fine"])
        if not all(isinstance(name, str) for name in names):
            raise TypeError("a name in it is not a text")
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise TypeError("a count in it is not a whole number")
        if not isinstance(part["fine"], bool):
            raise TypeError("it does not tell whether fine labels are known")
    return told


class PackedImages:
    """Images of a packed file.

    Args:
        file: the file.
        positions: (n,), which of its images.
    """

    def __init__(self, file: PackedFile, positions: np.ndarray) -> None:
        self.file, self.positions = file, positions
        self.uncompressed = file.about["encoding"] == "uncompressed"

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> Tensor | Image.Image:
        """Return an image; what is uncompressed as bytes (3, H, W), which are the map's own."""
        if not self.uncompressed:
            return decode(self._checked(index).numpy().tobytes(), self.name(index), advice=ADVICE)
        number = self.positions[index]
        _, height, width, _ = self.file.records[number].tolist()
        return self.file.stored(number).view(height, width, 3).permute(2, 0, 1)

    def _checked(self, index: int) -> Tensor:
        """Return an image's stored bytes; InputError where they are not what was written."""
        number = self.positions[index]
        stored = self.file.stored(number)
        if image_digest(stored.numpy()) != self.file.records["digest"][number].tobytes():
            raise InputError(
                f"{self.name(index)!r} is damaged: it is not what was packed (the checksum "
                f"differs); {ADVICE}, or give `skip_bad_images`"
            )
        return stored

    @property
    def made_smaller(self) -> int | None:
        """Shorter side that packing brought larger images to; None: none of these has it."""
        side, records = self.file.about.get("size"), self.file.records[self.positions]
        shorter = np.minimum(records["height"], records["width"])
        return side if type(side) is int and (shorter == side).any() else None

    def path(self, index: int) -> str:
        """Return the path of the image's file below the folder that was packed."""
        return self.file.name(self.positions[index])

    def name(self, index: int) -> str:
        """Name an image in messages: its path, and the file."""
        return f"{self.path(index)} in {self.file.path}"

    def content(self, index: int) -> bytes:
        """Return the sides and the stored bytes, which are compared with their checksum."""
        record = self.file.records[self.positions[index]]
        return struct.pack("<II", record["height"], record["width"]) + bytes(
            self._checked(index).numpy()
        )

    def fingerprint(self) -> str:
        """Hash what the index tells of the images, and what tells that the file is the same."""
        return hashlib.sha256(f"{self.identity()} {state_of(self.file.path)}".encode()).hexdigest()

    def identity(self) -> str:
        """Hash the images' sides and checksums."""
        return hashlib.sha256(self.file.records[self.positions].tobytes()).hexdigest()

    def subset(self, kept: np.ndarray) -> "PackedImages":
        """Return the images at the positions `kept`."""
        return PackedImages(self.file, self.positions[kept])


def load(partition: str, path: str, dataset: str, settings: Mapping[str, Any]) -> Partition:
    """Read a partition of a packed file.

    Args:
        partition: its name.
        path: the file's.
        dataset: the dataset that it is to hold.
        settings: those that say which of the dataset's images and classes are meant.

    Raises:
        MissingPartition: it holds no such partition.
        InputError: it cannot be read, or was packed from another dataset or by other settings.
    """
    file = PackedFile(path)
    if file.about["dataset"] != dataset:
        raise InputError(
            f"`dataset` {dataset}: {path!r} was packed from {file.about['dataset']!r:.100}; "
            "leave `dataset` out, or pack the other one"
        )
    told = as_now({**file.about["settings"], "dataset": dataset})
    for name, value in settings.items():
        packed = told.get(name)
        if value != packed:
            raise InputError(
                f"`{name}` {value}: {path!r} was packed with {packed!r:.100}; give the same, or "
                "pack the images again"
            )
    first = 0
    for part in file.about["partitions"]:
        positions = np.arange(first, first + part["images"])
        if part["name"] == partition:
            try:
                return _partition(file, part, positions)
            except InputError as error:
                raise InputError(f"{path!r} holds no sound labels ({error}); {ADVICE}") from error
        first += part["images"]
    names = capped(part["name"] for part in file.about["partitions"])
    raise MissingPartition(
        f"{path!r} has no partition {partition!r}, only {names}; take another partition, or pack "
        "a folder that has it"
    )


def _partition(file: PackedFile, part: Mapping[str, Any], positions: np.ndarray) -> Partition:
    coarse = file.coarse[positions].astype(np.int64)
    fields = ("coarse_names", "fine_names", "coarse_of_fine")
    hierarchy = Hierarchy(*(tuple(part[name]) for name in fields))
    dataset, images = file.about["dataset"], PackedImages(file, positions)
    layout = f"packed in {file.path!r}, {file.about['encoding']}"
    if part["fine"]:
        fine = file.fine[positions]
        found = Partition.from_fine(dataset, part["name"], images, fine, hierarchy, layout)
        agree = np.array_equal(found.coarse_labels, coarse)
    else:
        found = Partition(dataset, part["name"], images, coarse, None, hierarchy, layout)
        agree = not len(coarse) or 0 <= coarse.min() <= coarse.max() < hierarchy.num_coarse
    if not agree:
        raise InputError("an image's labels are of two coarse classes, or of none")
    return found
