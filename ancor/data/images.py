"""Where the images of a partition are: in memory, encoded in memory, or in files.

Each class gives image i by indexing, its name in messages by `name(i)`, the bytes that tell it from
others by `content(i)`, some of its images by `subset(kept)`, a hash that changes when any of its
images does by `fingerprint()`, and one that is the same wherever the images are kept by
`identity()`. All are compact arrays inside, so that handing one to worker processes costs nothing a
million times over.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from ancor.data.decode import decode, read_bytes, read_image
from ancor.errors import RunError

TICK = 0.02  # seconds; Linux counts a file's times in steps of up to a hundredth of one
COARSE = 10_000_000  # nanoseconds; the finest times of file systems that keep but one


def _hash(*parts) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part)
    return digest.hexdigest()


class GrayImages:
    """Gray images in memory, (N, H, W) of uint8, given out with three equal channels."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self.pixels[index]).expand(3, -1, -1)

    def name(self, index: int) -> str:
        """Name an image in messages."""
        return f"image {index}"

    def content(self, index: int) -> bytes:
        """Return the pixels' bytes."""
        return self.pixels[index].tobytes()

    def fingerprint(self) -> str:
        """Hash all pixels."""
        return _hash(str(self.pixels.shape).encode(), self.pixels)

    def identity(self) -> str:
        """Hash all pixels."""
        return self.fingerprint()

    def subset(self, kept: np.ndarray) -> "GrayImages":
        """Return the images at the positions `kept`."""
        return type(self)(self.pixels[kept])


class ColorImages(GrayImages):
    """Color images in memory, (N, 3, H, W) of uint8."""

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self.pixels[index])


class _Strings:
    """Many byte strings in one buffer: no object for each, so that processes can share it."""

    def __init__(self, strings: Iterable[bytes], lengths: Sequence[int]) -> None:
        self.ends = np.cumsum(np.asarray(lengths, dtype=np.int64))
        self.buffer = np.empty(self.ends[-1] if len(self.ends) else 0, dtype=np.uint8)
        for end, length, string in zip(self.ends.tolist(), lengths, strings, strict=True):
            self.buffer[end - length : end] = np.frombuffer(string, dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> bytes:
        start = self.ends[index - 1] if index else 0
        return self.buffer[start : self.ends[index]].tobytes()


class EncodedImages:
    """Encoded images (PNG, JPEG, ...) in memory, decoded when asked for.

    Args:
        encoded: the images' bytes.
        source: the file that they come from, for messages.
    """

    def __init__(self, encoded: Iterable[bytes], lengths: Sequence[int], source: str) -> None:
        self.encoded, self.source = _Strings(encoded, lengths), source

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int):
        return decode(self.content(index), self.name(index))

    def name(self, index: int) -> str:
        """Name an image in messages."""
        return f"image {index} of {self.source}"

    def content(self, index: int) -> bytes:
        """Return the encoded bytes."""
        return self.encoded[index]

    def fingerprint(self) -> str:
        """Hash all encoded bytes."""
        return _hash(self.encoded.ends, self.encoded.buffer)

    def identity(self) -> str:
        """Hash all encoded bytes."""
        return self.fingerprint()

    def subset(self, kept: np.ndarray) -> "EncodedImages":
        """Return the images at the positions `kept`."""
        chosen = [self.encoded[index] for index in kept.tolist()]
        return EncodedImages(chosen, [len(c) for c in chosen], self.source)


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise RunError(f"{path!r} was there at the start and has vanished") from error


def state_of(path: str) -> str:
    """Return what differs if a file's content does, without opening it where that is possible.

    Size and time of modification can be kept by what replaces it (cp -p, rsync, tar), the time of
    change (ctime) and the file's number cannot. The device's number is left out: it differs between
    the machines that share a disk. A file system that rounds times and whose two are one keeps no
    time of change of its own (FAT, an ISO or squashfs image): there it is the content.
    """
    status = _status(path)
    changed = status.st_ctime_ns
    if changed == status.st_mtime_ns and changed % COARSE == 0:
        return _hash(read_bytes(path))
    return f"{status.st_size} {status.st_mtime_ns} {changed} {status.st_ino}"


class ImageFiles:
    """Image files, decoded when asked for.

    Args:
        listed: for each folder, the names of its images.
        upright: whether to turn images as their EXIF orientation says.
    """

    def __init__(self, listed: Sequence[tuple[str, Sequence[str]]], upright: bool = False) -> None:
        self.folders = [folder for folder, _ in listed]
        counts = [len(names) for _, names in listed]
        self.folder_of = np.repeat(np.arange(len(listed), dtype=np.int32), counts)
        names = [os.fsencode(name) for _, inside in listed for name in inside]
        self.names = _Strings(names, [len(name) for name in names])
        self.upright = upright

    def __len__(self) -> int:
        return len(self.folder_of)

    def __getitem__(self, index: int):
        return read_image(self.name(index), self.upright)

    def name(self, index: int) -> str:
        """Return the file's path."""
        return os.path.join(self.folders[self.folder_of[index]], os.fsdecode(self.names[index]))

    def content(self, index: int) -> bytes:
        """Return the file's bytes."""
        return read_bytes(self.name(index))

    def fingerprint(self) -> str:
        """Hash all paths and what tells that a file is no longer the same (`state_of`)."""
        digest = hashlib.sha256(str(self.upright).encode())
        for index in range(len(self)):
            path = self.name(index)
            digest.update(f"{path!r} {state_of(path)}\n".encode())
        time.sleep(TICK)  # a file that changes from now on has another time
        return digest.hexdigest()

    def identity(self) -> str:
        """Hash the files' sizes, and their paths below the folder that holds them all."""
        home = os.path.commonpath(self.folders) if self.folders else ""
        folders = [os.path.relpath(folder, home) for folder in self.folders]
        digest = hashlib.sha256()
        for index in range(len(self)):
            below = os.path.join(folders[self.folder_of[index]], os.fsdecode(self.names[index]))
            digest.update(f"{below!r} {_status(self.name(index)).st_size}\n".encode())
        return digest.hexdigest()

    def newer(self, moment: float) -> str | None:
        """Return the first file that was changed after a moment, in seconds; None: none was."""
        names = map(self.name, range(len(self)))
        return next((name for name in names if _status(name).st_mtime > moment), None)

    def subset(self, kept: np.ndarray) -> "ImageFiles":
        """Return the images at the positions `kept`."""
        listed = [os.path.split(self.name(index)) for index in kept.tolist()]
        return ImageFiles([(folder, [name]) for folder, name in listed], self.upright)
