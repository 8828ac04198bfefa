"""Weights under the names of published files, and what such a file holds.

Names in files differ from those in this package: `module.encoder_q.<backbone's name>` is
`encoder.backbone.<name>` here, `module.encoder_q.fc.<name>` is `encoder.head.<name>`. This module
is the only place that knows. MoCo's files have the same names, SwAV's and torchvision's a shorter
prefix or none.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ancor.errors import InputError
from ancor.models.backbones import BACKBONES, build_backbone
from ancor.models.config import BARE, EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime.devices import shapes_only

PREFIX = "module."
QUERY, KEY = PREFIX + "encoder_q.", PREFIX + "encoder_k."
# What the encoder's names may begin with, the longest first.
PREFIXES = (QUERY, "encoder_q.", PREFIX, "")
DROPPED = ("projection", "prototypes")  # of SwAV: parts of its loss, not of the encoder
PAPER_DIM = 128
# Batches seen: torch before 0.4.1 did not count them, and evaluation does not ask.
COUNTER = "num_batches_tracked"


class Published(NamedTuple):
    """What a file holds, as far as an encoder is concerned.

    Attributes:
        config: the encoder, read from names and shapes.
        state: its tensors, by their names in files without a prefix.
        missing: names that the backbone has and the file has not, or in another shape.
        unexpected: names of the file that are no part of the encoder.
    """

    config: EncoderConfig
    state: dict[str, Tensor]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


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
        InputError: names are missing, or shapes or kinds of numbers differ.
    """
    ours = encoder_state(encoder, prefix)
    _check_fit(ours, state)
    with torch.no_grad():
        for name, tensor in ours.items():
            tensor.copy_(state.get(name, tensor))


def check_encoder_state(
    config: EncoderConfig, state: Mapping[str, Tensor], prefix: str = ""
) -> None:
    """Raise the InputError of `load_encoder_state` before an encoder takes any memory."""
    with shapes_only():
        ours = encoder_state(Encoder(config), prefix)
    _check_fit(ours, state)


def _check_fit(ours: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    missing = [name for name in ours if name not in state and not name.endswith(COUNTER)]
    if missing:
        raise InputError(f"the file lacks {len(missing)} tensors, {missing[0]!r} first")
    for name, tensor in ours.items():
        if name in state and tensor.shape != state[name].shape:
            raise InputError(
                f"{name!r} is {tuple(state[name].shape)} in the file and {tuple(tensor.shape)} in "
                "the model"
            )
        if name in state and not name.endswith(COUNTER) and not state[name].is_floating_point():
            raise InputError(f"{name!r} is of {state[name].dtype} in the file, no real numbers")


def tensors_of(content: Any, path: str) -> dict[str, Tensor]:
    """Return the tensors of a file's content by name, for no gradient to reach.

    Raises:
        InputError: it holds none.
    """
    if isinstance(content, Mapping):
        for key in ("state_dict", "model", "teacher"):  # the last is DINO's
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
        found = [(n, t) for n, t in content.items() if isinstance(n, str) and isinstance(t, Tensor)]
        # torch.compile puts a part of its own into the names of what it wraps, at any depth.
        named = {n.replace("_orig_mod.", ""): t.detach() for n, t in found}
        if len(named) < len(found):
            raise InputError(
                f"{path!r} holds tensors under the same name with and without '_orig_mod.'; save "
                "the state dict of one model"
            )
        if named:
            return named
    raise InputError(
        f"{path!r} holds no weights; give a checkpoint of train.py or of the paper, or a MoCo, "
        "SwAV or torchvision file"
    )


def recognize(
    tensors: Mapping[str, Tensor], path: str, head: str | None = None, arch: str | None = None
) -> Published:
    """Find the encoder in a file's tensors.

    Args:
        tensors: by name.
        path: what errors call the file.
        head: which head it is, where the shapes leave that open; None: the likelier one.
        arch: the backbone, a library's too, where the file tells it; None: it does not.

    Raises:
        InputError: no backbone of ours has such names.
    """
    prefix = next(p for p in PREFIXES if any(name.startswith(p) for name in tensors))
    inside = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    body = {n: tuple(t.shape) for n, t in inside.items() if not n.startswith(("fc.", *DROPPED))}
    last = {n.removeprefix("fc."): t.shape for n, t in inside.items() if n.startswith("fc.")}
    arch = arch or _arch(body, path)
    expected = backbone_shapes(arch)
    config = _with_head(arch, last, _queue_dim(tensors), head)
    kept = encoder_shapes(config)
    return Published(
        config,
        {name: tensor for name, tensor in inside.items() if name in kept},
        tuple(n for n, s in expected.items() if body.get(n) != s and not n.endswith(COUNTER)),
        tuple(name for name in inside if name not in kept),
    )


def parts(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, int]]:
    """Count tensors and bytes of each part of a file: encoders, queue, or all in one."""
    sizes: dict[str, dict[str, int]] = {}
    for name, tensor in tensors.items():
        first = name.removeprefix(PREFIX).partition(".")[0]
        known = first if first in ("encoder_q", "encoder_k", "queue", "queue_ptr") else "encoder"
        size = sizes.setdefault(known, {"tensors": 0, "bytes": 0})
        size["tensors"] += 1
        size["bytes"] += tensor.nbytes
    return sizes


def encoder_shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of an encoder's tensors, by their names in files without a prefix."""
    with shapes_only():
        state = encoder_state(Encoder(config))
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@cache
def backbone_shapes(arch: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a backbone's tensors."""
    with shapes_only():
        state = build_backbone(arch).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _arch(body: Mapping[str, tuple[int, ...]], path: str) -> str:
    """Return the backbone that shares most names and shapes with the file."""

    def share(arch: str) -> float:
        expected = backbone_shapes(arch)
        common = sum(expected.get(name) == shape for name, shape in body.items())
        return common / len(expected.keys() | body.keys())

    best = max(BACKBONES, key=share)
    if share(best) < 0.5:
        raise InputError(
            f"{path!r} holds no encoder known here ({len(body)} tensors, such as "
            f"{next(iter(body), 'none')!r}); accepted: {', '.join(BACKBONES)}"
        )
    return best


def _queue_dim(tensors: Mapping[str, Tensor]) -> int | None:
    """Return D of the queue (C, D, K) or (D, K) in a file of a whole method."""
    queues = [tensors[n] for n in (PREFIX + "queue", "queue") if n in tensors]
    return queues[0].shape[-2] if queues and queues[0].ndim in (2, 3) else None


def _with_head(
    arch: str, last: Mapping[str, torch.Size], queue_dim: int | None, named: str | None
) -> EncoderConfig:
    """Read the head from the shapes of a file's `fc`; a head that is none of ours counts as none.

    Args:
        arch: the backbone.
        last: shapes by the names behind `fc.`.
        queue_dim: D of the file's queue, where it has one.
        named: the head, where shapes leave two of them open.
    """
    mlp = "2.weight" in last or "2.fc1.weight" in last
    final = {n.removeprefix("2."): shape for n, shape in last.items()} if mlp else last
    if any(len(shape) != 2 for name, shape in final.items() if name.endswith("weight")):
        return EncoderConfig(arch, BARE)
    if "fc1.weight" in final and "fc2.weight" in final:
        (dim, features), (classes, inputs) = final["fc1.weight"], final["fc2.weight"]
        head = "seq" if inputs == dim else "fork"
        if dim == features and named in ("seq", "fork"):
            head = named
        config = EncoderConfig(arch, head, mlp, dim, classes)
    elif "weight" in final:
        outputs = final["weight"][0]
        # A lone layer embeds if it gives what the queue holds; with no queue, if of the usual size.
        head = "none" if outputs == (queue_dim or PAPER_DIM) else "cls"
        if queue_dim is None and named in ("cls", "none"):
            head = named
        is_cls = head == "cls"
        config = EncoderConfig(
            arch, head, mlp, queue_dim or PAPER_DIM if is_cls else outputs, outputs if is_cls else 1
        )
    else:
        return EncoderConfig(arch, BARE)
    ours = {n: s for n, s in encoder_shapes(config).items() if n.startswith("fc.")}
    fits = ours == {f"fc.{name}": tuple(shape) for name, shape in last.items()}
    return config if fits else EncoderConfig(arch, BARE)
