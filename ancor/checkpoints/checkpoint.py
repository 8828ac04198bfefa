"""Checkpoints: plain containers and tensors, under the parameter names of the published files."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ancor.checkpoints.checksum import CHECKSUM, sealed, verify
from ancor.checkpoints.state_dicts import (
    QUERY,
    check_encoder_state,
    load_encoder_state,
    recognize,
    tensors_of,
)
from ancor.errors import InputError
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime.from_dict import from_dict
from ancor.safe_io import weights
from ancor.safe_io.writing import atomic_write, replacing

log = logging.getLogger(__name__)

FORMAT = 2
READABLE = (1, FORMAT)  # format 1 had no checksum, and saved only after whole epochs
Stamp = tuple[int, int, int]
BEST, LAST, PREVIOUS = "model_best.pth.tar", "last.pth.tar", "previous.pth.tar"


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint with its checksum; `path` never names a file that is cut off.

    Raises:
        OSError: it cannot be written; what `path` named before is untouched.
    """
    with atomic_write(path) as file:
        try:
            torch.save(sealed(content), file)
        except RuntimeError as error:
            cause = error.__context__  # torch hides what the file said
            if not isinstance(cause, OSError):
                raise
            raise OSError(cause.errno, cause.strerror) from error


def stamp(path: Path) -> Stamp:
    """Tell a file from any other, and from itself after a change: inode, size, time of change."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def keep_as_previous(folder: Path, written: Stamp | None) -> None:
    """Let `previous` name what `last` names, before `last` is replaced: one is always whole.

    A `last` that is damaged is left to be replaced, and `previous` stays what it is.

    Args:
        folder: the run's.
        written: `stamp` of the `last` that this process wrote; any other one is read first.

    Raises:
        OSError: the names cannot be changed.
    """
    last = folder / LAST
    if not last.exists():
        return
    if stamp(last) != written:
        try:
            read(last)
        except InputError as error:
            log.warning("Not kept as %s: %s", PREVIOUS, error)
            return
    with replacing(folder / PREVIOUS) as temporary:
        try:
            os.link(last, temporary)
        except OSError:  # a file system without links
            shutil.copyfile(last, temporary)


def newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest checkpoint of a run that is whole, and its content; None: there is none.

    Says what it passes over, and why.

    Raises:
        InputError: there are files, and none is whole.
    """
    found = [folder / name for name in (LAST, PREVIOUS) if (folder / name).exists()]
    for path in found:
        try:
            return path, read(path)
        except InputError as error:
            log.warning("Passed over: %s", error)
    if found:
        raise InputError(
            f"no checkpoint in {str(folder)!r} is whole; restore one from a copy, or start afresh "
            "by `overwrite` instead of `resume` auto"
        )
    return None


def read(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint of this toolkit, on the CPU, without running anything that it contains.

    Raises:
        InputError: there is no such file, or it is not a whole checkpoint of this toolkit.
    """
    content = load(path)
    if not _is_ours(content, path):
        raise InputError(
            f"{str(path)!r} is not a checkpoint of this toolkit (no config in it); "
            "give a file that train.py wrote"
        )
    return {**content, "state_dict": tensors_of(content, str(path))}


def load(path: Path | str) -> Any:
    """Return what any file of weights holds; InputError where it cannot be read or is not whole."""
    content = weights.load(path)
    verify(content, str(path))
    return content


def _is_ours(content: Any, path: Path | str) -> bool:
    """Tell whether train.py wrote it; InputError where a later version did, or it was changed."""
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        return False
    number = content["config"].get("format", FORMAT)
    if (
        type(number) is not int
        or number not in READABLE
        or (number == FORMAT and CHECKSUM not in content)
    ):
        raise InputError(
            f"{str(path)!r} is of format {number!r:.80}"
            f"{'' if CHECKSUM in content else ', unsealed'}; "
            f"this version reads the formats {READABLE}: use the version of the toolkit that wrote "
            "it, or another copy of the file"
        )
    if not {"encoder", "data", "training"} <= content["config"].keys():
        return False
    _check_settings(content, path)
    return isinstance(content.get("state_dict"), dict)


def _check_settings(content: Mapping[str, Any], path: Path | str) -> None:
    """Raise an InputError where settings are not the plain tables that train.py writes."""
    config = content["config"]
    # Files that were exported from a published one tell neither data nor epoch.
    for name, kinds in {"data": (dict, type(None)), "training": (dict,)}.items():
        if not isinstance(config[name], kinds):
            raise InputError(
                f"{str(path)!r}: {name} is {config[name]!r:.80}, no table of settings; use another "
                "file"
            )
    try:
        json.dumps(config, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{str(path)!r} holds settings that are not plain values ({error}); use another file"
        ) from error
    words = {
        "selected_on": config.get("selected_on"),
        "dataset": (config["data"] or {}).get("dataset"),
    }
    for name, value in words.items():
        if not isinstance(value, str | None):
            raise InputError(f"{str(path)!r}: {name} is {value!r:.80}, no name; use another file")
    if type(config["training"].get("seed", 0)) is not int:
        raise InputError(f"{str(path)!r} does not tell its seed; use another file")
    if type(content.get("epoch", ...)) not in (int, type(None)):
        raise InputError(f"{str(path)!r} does not tell its epoch; use another file")


def load_encoder(path: Path | str, head: str | None = None) -> tuple[Encoder, dict[str, Any]]:
    """Read the query encoder of any file, in evaluation mode, and the file's content.

    Args:
        path: a checkpoint of this toolkit or the paper, a MoCo, SwAV or torchvision file; of
            torch's zip or older form, or .safetensors.
        head: which head it has, where a published file leaves two open.

    Returns:
        The encoder; and the content, in which a file that does not tell has `epoch` None and a
        `config` whose `data` and `selected_on` are None.

    Raises:
        InputError: it cannot be read, or holds no encoder known here.
    """
    content = load(path)
    config = own_encoder(content, path)
    if config is not None:
        state, prefix = tensors_of(content, str(path)), QUERY
    else:
        tensors = tensors_of(content, str(path))
        found = recognize(tensors, str(path), head)
        config, state, prefix = found.config, found.state, ""
        epoch = content["epoch"] if isinstance(content.get("epoch"), int) else None
        content = {**untold(config), "epoch": epoch, "state_dict": tensors}
    try:
        check_encoder_state(config, state, prefix)
        encoder = Encoder(config)
        load_encoder_state(encoder, state, prefix)
    except InputError as error:
        raise InputError(f"{str(path)!r} holds no whole {config.arch}: {error}") from error
    return encoder.eval(), content


def own_encoder(content: Any, path: Path | str) -> EncoderConfig | None:
    """Return the encoder that a file's content tells of; None: train.py did not write it."""
    if not _is_ours(content, path):
        return None
    return from_dict(EncoderConfig, content["config"]["encoder"], repr(str(path)))


def untold(config: EncoderConfig) -> dict[str, Any]:
    """Return the content of a file that tells of no training, without its tensors."""
    told = {"encoder": asdict(config), "data": None, "training": {"seed": 0}, "selected_on": None}
    return {"epoch": None, "config": told}


def about(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file's content tells of its encoder, without the tensors."""
    return {name: content[name] for name in ("epoch", "config")}


def class_names(content: Mapping[str, Any], path: Path | str) -> tuple[str, ...]:
    """Return the names of the classes that a file was trained on, by number; () if it has none.

    Raises:
        InputError: they are no list of names.
    """
    names = content["config"].get("classes") or ()
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"{str(path)!r}: classes is {names!r:.80}, no list of names; use another file"
        )
    return tuple(names)


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:  # hashlib.file_digest is of Python 3.11
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
