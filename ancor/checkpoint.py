"""Checkpoints: plain containers and tensors, under the parameter names of the published files.

Names in files differ from those in this package: `module.encoder_q.<backbone's name>` is
`encoder.backbone.<name>` here, `module.encoder_q.fc.<name>` is `encoder.head.<name>`. This module
is the only place that knows.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ancor.errors import InputError
from ancor.methods.ancor import Ancor
from ancor.models.dropblock import DropBlock
from ancor.models.encoder import Encoder, EncoderConfig

FORMAT = 1
PREFIX = "module."
BEST, LAST = "model_best.pth.tar", "last.pth.tar"


def published_name(name: str) -> str:
    """Map a parameter's name in an `Encoder` to its name in files, without a prefix."""
    part, _, rest = name.partition(".")
    return f"fc.{rest}" if part == "head" else rest


def encoder_state(encoder: Encoder, prefix: str = "") -> dict[str, Tensor]:
    """Return an encoder's tensors (the live ones, not copies) by their names in files."""
    return {prefix + published_name(name): t for name, t in encoder.state_dict().items()}


def load_encoder_state(encoder: Encoder, state: Mapping[str, Tensor], prefix: str = "") -> None:
    """Copy tensors from a file's `state` into an encoder.

    Raises:
        InputError: names are missing, or shapes differ.
    """
    names = {name: prefix + published_name(name) for name in encoder.state_dict()}
    missing = [file_name for file_name in names.values() if file_name not in state]
    if missing:
        raise InputError(f"the file lacks {len(missing)} tensors, {missing[0]!r} first")
    for name, tensor in encoder.state_dict().items():
        if tensor.shape != state[names[name]].shape:
            raise InputError(
                f"{names[name]!r} is {tuple(state[names[name]].shape)} in the file and "
                f"{tuple(tensor.shape)} in the model"
            )
    encoder.load_state_dict({name: state[file_name] for name, file_name in names.items()})


def method_state(method: Ancor) -> dict[str, Tensor]:
    """Return all tensors of a method by their names in files.

    A method without keys still gets its `encoder_k` names, as the paper's files have them: they
    point at the query encoder's tensors, so they take no room.
    """
    state = encoder_state(method.encoder, PREFIX + "encoder_q.")
    if method.key_encoder is not None:
        state |= encoder_state(method.key_encoder, PREFIX + "encoder_k.")
    else:
        with torch.device("meta"):
            names = encoder_state(Encoder(method.encoder.key_config), PREFIX + "encoder_k.")
        state |= dict(zip(names, method.encoder.shared_state(), strict=True))
    if method.queue is not None:
        state |= {PREFIX + name: tensor for name, tensor in method.queue.state_dict().items()}
    return state


def load_method_state(method: Ancor, state: Mapping[str, Tensor]) -> None:
    """Copy tensors from a file's `state` into a method; InputError where they do not fit."""
    load_encoder_state(method.encoder, state, PREFIX + "encoder_q.")
    if method.key_encoder is not None:
        load_encoder_state(method.key_encoder, state, PREFIX + "encoder_k.")
    if method.queue is not None:
        for name, tensor in method.queue.state_dict().items():
            found = state.get(PREFIX + name)
            if found is None or found.shape != tensor.shape:
                raise InputError(
                    f"the file's {name} does not fit the model's {tuple(tensor.shape)}"
                )
            tensor.copy_(found)


def clocks(method: Ancor) -> dict[str, int]:
    """Return every DropBlock's count of training forwards, by module name."""
    return {
        name: int(module.clock)
        for name, module in method.named_modules()
        if isinstance(module, DropBlock)
    }


def set_clocks(method: Ancor, counts: Mapping[str, int]) -> None:
    """Restore what `clocks` returned."""
    for name, module in method.named_modules():
        if isinstance(module, DropBlock) and name in counts:
            module.clock.fill_(counts[name])


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint to a temporary name in the same folder, then rename it.

    At no moment does `path` name a file that is cut off.
    """
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        torch.save(dict(content), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint of this toolkit, on the CPU, without running anything that it contains.

    Raises:
        InputError: there is no such file, or it is not a whole checkpoint of this toolkit.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no checkpoint at {str(path)!r}; give a file that train.py wrote")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{str(path)!r} cannot be read as a checkpoint ({reason})") from error
    if not isinstance(content, dict) or "config" not in content or "state_dict" not in content:
        raise InputError(
            f"{str(path)!r} is no checkpoint of this toolkit (no config in it); "
            "give a file that train.py wrote"
        )
    return content


def load_encoder(path: Path | str) -> tuple[Encoder, dict[str, Any]]:
    """Read the query encoder of a checkpoint, in evaluation mode, and the checkpoint's content."""
    content = read(path)
    encoder = Encoder(EncoderConfig(**content["config"]["encoder"]))
    load_encoder_state(encoder, content["state_dict"], PREFIX + "encoder_q.")
    return encoder.eval(), content


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
