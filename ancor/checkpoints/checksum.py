"""A checksum of a checkpoint's content, kept inside it."""

import hashlib
import struct
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ancor.errors import InputError

CHECKSUM = "checksum"


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's content with its checksum, which plain torch.load reads as one more."""
    return {**content, CHECKSUM: checksum(content)}


def verify(content: Any, path: str) -> None:
    """Raise an InputError where a content is not what its checksum says; without one, nothing."""
    if not isinstance(content, Mapping) or CHECKSUM not in content:
        return
    told = content[CHECKSUM]
    if not isinstance(told, str) or checksum(content) != told:
        raise InputError(
            f"{path!r} is damaged: its content is not what was saved (the checksum differs); "
            "take another copy, or the save before it"
        )


def checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 over the names, types, shapes and values of a content, its own checksum left out."""
    digest = hashlib.sha256()
    _add(digest, {name: value for name, value in content.items() if name != CHECKSUM})
    return digest.hexdigest()


def weights_hash(network: nn.Module) -> str:
    """SHA-256 over the names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", value: Any) -> None:
    """Add plain containers, numbers and tensors; each says its type and size, so none run over."""
    if isinstance(value, Tensor):
        _add(digest, ["tensor", str(value.dtype), list(value.shape), list(value.stride())])
        digest.update(_bytes(value))
    elif isinstance(value, Mapping):
        digest.update(b"m%d:" % len(value))
        for name, inner in value.items():
            _add(digest, name)
            _add(digest, inner)
    elif isinstance(value, list | tuple):
        digest.update(b"l%d:" % len(value))
        for inner in value:
            _add(digest, inner)
    elif isinstance(value, float):
        digest.update(b"f" + struct.pack("<d", value))
    else:
        text = repr(value).encode()
        digest.update(b"%s%d:%s" % (type(value).__name__.encode(), len(text), text))


def _bytes(tensor: Tensor) -> memoryview:
    """Return a tensor's numbers as bytes, in the order in which they lie in memory."""
    by_stride = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
    flat = tensor.detach().cpu().permute(by_stride).contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy())
