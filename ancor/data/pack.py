"""Writing a dataset's images into one file (`ancor.data.packed`), a piece at a time.

The images go into `<file>.part`, and what is known of each into `<file>.records`, after it, which
is locked meanwhile. A run that was cut off goes on behind the last image of which both are whole.
The file takes its name when all of it was read back and is as it was written.
"""

import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from torch import Tensor

from ancor.data.config import DataConfig
from ancor.data.file_config import PackConfig
from ancor.data.images import ImageFiles
from ancor.data.packed import HEADER, RECORD, PackedFile, PackedImages, image_digest
from ancor.data.partition import Partition
from ancor.data.resolve import partitions_of
from ancor.data.scan import report_skipped
from ancor.data.transform_spec import TransformSpec
from ancor.data.transforms import pixels_of, stored_form
from ancor.errors import InputError, RunError
from ancor.runtime.logging import progress
from ancor.runtime.text import megabytes
from ancor.safe_io.locking import lock
from ancor.safe_io.own_files import PACKED_MAGIC, is_packed

log = logging.getLogger(__name__)
CHUNK = 256  # images between two that a run may be cut off at
SIDE = 256  # of the shorter side of photographs: what evaluation resizes to


def pack(data: DataConfig, config: PackConfig, out: str) -> PackedFile:
    """Write all partitions of a dataset into one file, or go on with one that was cut off.

    Args:
        data: which images; those that cannot be read are an error, or are left out.
        config: how they are stored.
        out: the file's name; one that holds the same already is left as it is.

    Raises:
        InputError: images cannot be read, or the file cannot be written.
    """
    if is_packed(data.root):
        raise InputError(f"`root` {data.root!r} is packed already; give the folder it came from")
    partitions = list(partitions_of(data).values())
    about = _about(data, config, partitions)
    path = Path(out)
    if path.exists():
        found = PackedFile(path) if is_packed(path) else None
        if found is None or found.about["key"] != about["key"]:
            raise InputError(f"`out` {out!r} is there and holds something else; name another file")
        _check_unchanged(partitions, path)
        log.info("%r holds these images already", out)
        return found
    store = _storing(data.transforms, config)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        home = "" if data.root is None else os.path.join(Path(data.root), "")
        _write(path, partitions, about, store, home)
    except OSError as error:
        raise InputError(
            f"cannot write `out` {out!r} ({error.strerror}); make room or name another file: what "
            "was written is kept, and the same command goes on"
        ) from error
    for partition in partitions:
        report_skipped(partition)
    file = PackedFile(path)
    told = len(file.records), megabytes(file.size), file.index_hash
    log.info("%r: %d images, %s; SHA-256 of the index, which holds their checksums: %s", out, *told)
    return file


def _check_unchanged(partitions: list[Partition], path: Path) -> None:
    """Raise an InputError where a file was changed after its image was packed."""
    written = path.stat().st_mtime
    for images in (each.images for each in partitions if isinstance(each.images, ImageFiles)):
        if changed := images.newer(written):
            raise InputError(
                f"`out` {str(path)!r} was written before {changed!r} was changed; remove it, or "
                "name another file"
            )


def _about(data: DataConfig, config: PackConfig, partitions: list[Partition]) -> dict[str, Any]:
    """Return what the file's index tells; `key` is another one where its images would be."""
    size = _size(data, config)
    about = {
        "version": 1,
        "dataset": data.dataset,
        "settings": {**data.choices, "version": data.version},
        "encoding": config.encoding,
        "size": size,
        "quality": config.jpeg_quality,
        **({"interpolation": data.interpolation} if data.interpolation else {}),
        "partitions": [
            {
                "name": partition.name,
                "images": len(partition),
                "fine": partition.fine_labels is not None,
                "coarse_names": partition.hierarchy.coarse_names,
                "fine_names": partition.hierarchy.fine_names,
                "coarse_of_fine": partition.hierarchy.coarse_of_fine,
            }
            for partition in partitions
        ],
    }
    told = [
        partition.fingerprint("coarse" if partition.fine_labels is None else "fine")
        for partition in partitions
    ]
    key = hashlib.sha256(json.dumps([about, told]).encode()).hexdigest()
    return {**about, "key": key}


def _size(data: DataConfig, config: PackConfig) -> int | None:
    """Return the shorter side of what is stored; None: as it is."""
    native = data.spec.transforms.native_size
    if native is None:
        return config.size or SIDE
    if config.size not in (None, native):
        raise InputError(
            f"`size` {config.size}: images of {data.dataset} are {native} x {native} pixels and "
            "are stored as they are; leave `size` out"
        )
    return None


def _storing(spec: TransformSpec, config: PackConfig) -> Callable[[Image.Image | Tensor], tuple]:
    """Return what makes an image's stored bytes: image -> bytes, height, width."""
    side = None if spec.native_size is not None else config.size or SIDE
    resized = stored_form(replace(spec, resize=side, crop_mode="center"))

    def store(image: Image.Image | Tensor) -> tuple[bytes, int, int]:
        shorter = min(image.shape[1:] if isinstance(image, Tensor) else image.size)
        pixels = resized(image) if side is not None and shorter > side else pixels_of(image)
        rows = pixels.as_subclass(Tensor).permute(1, 2, 0).contiguous().numpy()
        if config.encoding == "uncompressed":
            return rows.tobytes(), *rows.shape[:2]
        buffer = io.BytesIO()
        Image.fromarray(rows).save(buffer, "JPEG", quality=config.jpeg_quality)
        return buffer.getvalue(), *rows.shape[:2]

    return store


def _write(
    path: Path, partitions: list[Partition], about: dict[str, Any], store: Callable, home: str
) -> None:
    """Write what is missing of the images, then the index and the header, and check it all.

    Args:
        path: the file's.
        partitions: whose images.
        about: what the index tells.
        store: makes an image's stored bytes.
        home: the beginning of images' names that is left out.
    """
    part, listed = (path.with_name(path.name + end) for end in (".part", ".records"))
    # Of the images as they are now: a part of others is not gone on with.
    states = [about["key"], *(partition.images.fingerprint() for partition in partitions)]
    key = hashlib.sha256(" ".join(states).encode()).digest()
    with _held(path, listed) as records, _opened(part) as images:
        known = _known(images, records, key)
        total = sum(map(len, partitions))
        if len(known):
            log.info("%d of %d images are there; going on", len(known), total)
        with progress(None, total=total, initial=len(known), desc="pack", unit="image") as bar:
            for chunk in _chunks(partitions, store, len(known)):
                bar.update(_append(chunk, images, records))
        records.seek(len(key))
        _finish(images, np.frombuffer(records.read(), RECORD), partitions, about, home)
        _verify(part, listed)
        os.replace(part, path)
        listed.unlink()


@contextmanager
def _held(path: Path, listed: Path) -> Iterator[BinaryIO]:
    """Open the records of a file, and hold it against other processes."""
    with _opened(listed) as records:
        lock(records, f"`out` {str(path)!r}")
        if path.exists():
            listed.unlink()
            raise InputError(f"another process has just written `out` {str(path)!r}; look at it")
        yield records


def _opened(path: Path) -> BinaryIO:
    path.touch()
    return open(path, "r+b")


def _known(images: BinaryIO, records: BinaryIO, key: bytes) -> np.ndarray:
    """Return the records of the images that are whole, and cut off both files behind them."""
    told = records.read()
    size = os.fstat(images.fileno()).st_size - HEADER.size
    known = np.empty(0, RECORD)
    if told[: len(key)] == key and size >= 0:
        whole = len(key) + (len(told) - len(key)) // RECORD.itemsize * RECORD.itemsize
        known = np.frombuffer(told[len(key) : whole], RECORD)
        known = known[np.cumsum(known["bytes"]) <= size]
    records.truncate(0)
    records.seek(0)
    records.write(key + known.tobytes())
    records.flush()
    images.truncate(HEADER.size + int(known["bytes"].sum()))
    images.seek(0, os.SEEK_END)
    return known


def _chunks(
    partitions: list[Partition], store: Callable, known: int
) -> Iterator[list[tuple[bytes, int, int]]]:
    """Yield the stored images behind the known ones, made by several threads."""
    with ThreadPoolExecutor() as pool:
        first = 0
        for partition in partitions:
            images, start = partition.images, max(0, known - first)
            for begin in range(start, len(images), CHUNK):
                numbers = range(begin, min(begin + CHUNK, len(images)))
                yield list(pool.map(lambda n, images=images: store(images[n]), numbers))
            first += len(images)


def _append(chunk: list[tuple[bytes, int, int]], images: BinaryIO, records: BinaryIO) -> int:
    """Write some images, and once they are on the disk, their records; return how many."""
    rows = np.empty(len(chunk), RECORD)
    for row, (content, height, width) in zip(rows, chunk, strict=True):
        images.write(content)
        row["bytes"], row["height"], row["width"] = len(content), height, width
        row["digest"] = np.frombuffer(image_digest(content), np.uint8)
    images.flush()
    os.fsync(images.fileno())
    records.write(rows.tobytes())
    records.flush()
    return len(chunk)


def _finish(
    file: BinaryIO,
    records: np.ndarray,
    partitions: list[Partition],
    about: dict[str, Any],
    home: str,
) -> None:
    """Write the index behind the images, and the header that leads to it."""
    names = [
        os.fsencode(partition.images.name(number).removeprefix(home))
        for partition in partitions
        for number in range(len(partition))
    ]
    coarse, fine = (
        np.concatenate([p.labels(level) if known(p) else np.full(len(p), -1) for p in partitions])
        for level, known in (("coarse", bool), ("fine", lambda p: p.fine_labels is not None))
    )
    text = json.dumps(about).encode()
    lengths = np.array([len(name) for name in names], "<u4")
    arrays = (records, coarse.astype("<i4"), fine.astype("<i4"), lengths)
    index = b"".join([text, *(each.tobytes() for each in arrays), *names])
    start = HEADER.size + int(records["bytes"].sum())
    file.seek(start)
    file.write(index)
    file.seek(0)
    digest = hashlib.sha256(index).digest()
    file.write(HEADER.pack(PACKED_MAGIC, len(records), start, len(index), len(text), digest))
    file.flush()
    os.fsync(file.fileno())


def _verify(part: Path, listed: Path) -> None:
    """Read all back; RunError where the disk holds something else than was written."""
    file = PackedFile(part)
    images = PackedImages(file, np.arange(len(file.records)))

    def check(start: int) -> None:
        for index in range(start, min(start + CHUNK, len(images))):
            images.content(index)

    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(check, range(0, len(images), CHUNK)))
    except InputError as error:
        listed.unlink()  # or the same command would go on from there
        raise RunError(
            f"{str(part)!r} is not what was written ({error}); check the disk"
        ) from error
