"""Features on disk, shared by all commands and safe to share between runs.

A folder holds one folder for each set of things that features depend on, by its hash, and that one
files of some thousand features each. A file is written under another name and renamed when whole,
and it is never changed: runs at once or cut off leave nothing wrong behind. Hashes guard what is
read; a file that does not fit them is removed and its features are computed again.
"""

import errno
import hashlib
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ancor.errors import InputError
from ancor.evaluation.rows import RowReader
from ancor.safe_io import bounded
from ancor.safe_io.broken import BROKEN
from ancor.safe_io.writing import atomic_write

log = logging.getLogger(__name__)

FORMAT = 2  # 1: before transparency and blue-first arrays were heeded
BLOCK = 8192  # features a file
Compute = Callable[[np.ndarray], Iterator[Tensor]]


class FeatureCache:
    """Keeps features of (image, view) pairs in a folder.

    Args:
        folder: the cache's, whatever else it holds.
        depends_on: all that features depend on, as JSON can hold it.
        width: features of a pair.

    Raises:
        InputError: there cannot be such a folder, for another reason than a full disk.
    """

    def __init__(self, folder: Path, depends_on: Mapping[str, Any], width: int) -> None:
        text = json.dumps({"format": FORMAT, **depends_on}, sort_keys=True)
        self.key, self.width = hashlib.sha256(text.encode()).hexdigest(), width
        self.folder = folder / self.key[:32]
        self._writes = True
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(self.folder)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise InputError(
                    f"`feature_cache` {str(folder)!r} cannot be used ({error.strerror}); name "
                    "another folder, or leave it out"
                ) from error
            self._stop_writing(error)

    def stream(self, pairs: np.ndarray, compute: Compute) -> Iterator[Tensor]:
        """Yield features of pairs (P, 2), in order; `compute` is asked for those not kept."""
        files, codes, places = self._index()
        wanted = _codes(pairs)
        at = np.minimum(np.searchsorted(codes, wanted), max(len(codes) - 1, 0))
        known = codes[at] == wanted if len(codes) else np.zeros(len(wanted), dtype=bool)
        opened: dict[int, Tensor | None] = {}
        with closing(RowReader(compute(pairs[~known]))) as computed:
            for start in range(0, len(pairs), BLOCK):
                part = slice(start, start + BLOCK)
                block = torch.empty((len(pairs[part]), self.width))
                filled = self._fill(block, places, at[part], known[part], files, opened)
                self._add(block, pairs[part], known[part], filled, computed, compute)
                yield block

    def _add(
        self,
        block: Tensor,
        pairs: np.ndarray,
        known: np.ndarray,
        filled: np.ndarray,
        computed: RowReader,
        compute: Compute,
    ) -> None:
        """Fill a block's other rows by computing, and write them to a file."""
        fresh, lost = ~known, known & ~filled  # lost: in a file that turned out to be broken
        sources = [(fresh, computed)]
        if lost.any():
            sources.append((lost, RowReader(compute(pairs[lost]))))
        for rows, reader in sources:
            found = torch.empty((int(rows.sum()), self.width))
            reader.read_into(found)
            block[torch.from_numpy(rows)] = found
        if not filled.all():
            self._write(pairs[~filled], block[torch.from_numpy(~filled)])

    def _index(self) -> tuple[list[Path], np.ndarray, np.ndarray]:
        """List files, the codes of the pairs in them, sorted, and (file, row) of each."""
        files, codes, places = [], [np.empty(0, np.int64)], [np.empty((0, 2), np.int64)]
        for path in sorted(self.folder.glob("*.features")):
            try:
                pairs = self._read(path, features=False)
            except BROKEN as error:
                _discard(path, error)
                continue
            codes.append(_codes(pairs))
            rows = np.arange(len(pairs))
            places.append(np.stack([np.full_like(rows, len(files)), rows], axis=1))
            files.append(path)
        codes, first = np.unique(np.concatenate(codes), return_index=True)
        return files, codes, np.concatenate(places)[first]

    def _fill(
        self,
        block: Tensor,
        places: np.ndarray,
        at: np.ndarray,
        known: np.ndarray,
        files: list[Path],
        opened: dict[int, Tensor | None],
    ) -> np.ndarray:
        """Copy what files hold into a block; return which rows of it were filled."""
        filled = np.zeros(len(block), dtype=bool)
        if not known.any():
            return filled
        places = places[at]
        for number in np.unique(places[known, 0]).tolist():
            if number not in opened:
                if len(opened) > 3:
                    opened.pop(next(iter(opened)))
                opened[number] = self._open(files[number])
            if opened[number] is not None:
                mine = np.flatnonzero(known & (places[:, 0] == number))
                block[mine] = opened[number][places[mine, 1]]
                filled[mine] = True
        return filled

    def _open(self, path: Path) -> Tensor | None:
        try:
            return torch.from_numpy(self._read(path, features=True))
        except BROKEN as error:
            _discard(path, error)
            return None

    def _read(self, path: Path, features: bool) -> np.ndarray:
        """Read a file's pairs or features; one of `BROKEN` where it is not as written."""
        with open(path, "rb") as file:
            header = bounded.parsed(file.readline(10_000))
            if header["key"] != self.key or header["width"] != self.width:
                raise ValueError("it belongs to other features")
            if type(header["rows"]) is not int or not 0 <= header["rows"] <= BLOCK:
                raise ValueError("it tells no number of rows")
            content = file.read(16 * header["rows"])
            if features:
                content = file.read(4 * header["rows"] * self.width + 1)
        if hashlib.sha256(content).hexdigest() != header["features" if features else "pairs"]:
            raise ValueError("its content does not fit its hash")
        if features:
            return np.frombuffer(bytearray(content), dtype="<f4").reshape(-1, self.width)
        return np.frombuffer(content, dtype="<i8").reshape(-1, 2)

    def _write(self, pairs: np.ndarray, features: Tensor) -> None:
        if not self._writes:
            return
        contents = {
            "pairs": np.ascontiguousarray(pairs, dtype="<i8").tobytes(),
            "features": features.numpy().astype("<f4").tobytes(),
        }
        header = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        header |= {"key": self.key, "width": self.width, "rows": len(pairs)}
        try:
            # Another name for each that is written, as other runs write here too.
            with atomic_write(self.folder / f"{secrets.token_hex(8)}.features") as file:
                file.write(json.dumps(header).encode() + b"\n")
                file.writelines(contents.values())
        except OSError as error:
            self._stop_writing(error)

    def _stop_writing(self, error: OSError) -> None:
        self._writes = False
        log.warning(
            "Notice: the feature cache %r cannot be written to (%s); going on without",
            str(self.folder.parent),
            error.strerror,
        )


def _codes(pairs: np.ndarray) -> np.ndarray:
    """One number for each pair (P, 2) of image and view; views start at -2."""
    return (pairs[:, 0].astype(np.int64) << 32) + pairs[:, 1] + 2


def _discard(path: Path, error: Exception) -> None:
    log.warning("Notice: %r in the feature cache is broken (%s): computed again", path.name, error)
    try:
        path.unlink(missing_ok=True)
    except OSError as left:
        log.warning("Notice: it cannot be removed (%s)", left.strerror)


def _remove_leftovers(folder: Path) -> None:
    """Remove what runs that were cut off had not finished, a day later."""
    for path in (*folder.glob("*.tmp"), *folder.glob("*.part")):  # as versions before called it
        with suppress(FileNotFoundError):  # another run has finished or removed it
            if path.stat().st_mtime < time.time() - 86_400:
                path.unlink()
