"""Encoders for other programs: ONNX, torch.export's .pt2 and .safetensors, checked when written.

Graphs take images (N, 3, S, S) that are scaled and normalized already, for any N; how an image gets
there stands in each file's metadata.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

import ancor
from ancor.checkpoints import checkpoint, formats, state_dicts
from ancor.checkpoints.checksum import CHECKSUM, checksum
from ancor.checkpoints.pretrained import weights_file
from ancor.data.config import DataConfig
from ancor.errors import InputError, choose
from ancor.models.encoder import Encoder
from ancor.models.libraries import check_image_size
from ancor.models.names import HUB, OWN_WEIGHTS, file_name
from ancor.runtime.seeding import generator
from ancor.safe_io import weights

OUTPUTS = ("features", "embedding", "logits")


class Graph(nn.Module):
    """An encoder that returns some of its outputs, by name."""

    takes = "images"

    def __init__(self, encoder: Encoder, outputs: Sequence[str]) -> None:
        super().__init__()
        self.encoder, self.outputs = encoder, tuple(outputs)
        self.train(encoder.training)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map images (N, 3, S, S) to outputs by name, each (N, its size)."""
        found = self.encoder(images)
        return {name: getattr(found, name) for name in self.outputs}


def available_outputs(encoder: Encoder) -> tuple[str, ...]:
    """Return those of `OUTPUTS` that the encoder's head gives."""
    config = encoder.config
    gives = {"features": True, "embedding": config.embeds, "logits": config.classifies}
    return tuple(name for name in OUTPUTS if gives[name])


def chosen_outputs(encoder: Encoder, asked: Sequence[str] | None) -> tuple[str, ...]:
    """Return the outputs that were asked for, or all there are.

    Raises:
        InputError: one is unknown, or the encoder's head does not give it.
    """
    given = available_outputs(encoder)
    for name in asked or ():
        if choose("`output_layer`", name, OUTPUTS) not in given:
            raise InputError(
                f"`output_layer` {name}: the file's head, {encoder.config.head!r}, gives none; "
                f"accepted: {', '.join(given)}"
            )
    return tuple(dict.fromkeys(asked)) if asked else given


def output_file(source: str, to: str | None, named: str | None) -> tuple[Path, str]:
    """Return the file to write and its format.

    Args:
        source: the checkpoint.
        to: the format; None: what the name's suffix says.
        named: the file; None: beside the checkpoint, under its name with another suffix.

    Raises:
        InputError: the two disagree or leave the format open, or it is the checkpoint itself.
    """
    formats = ", ".join(WRITERS)
    if to is None and named is None:
        raise InputError(f"`to` is needed; accepted: {formats}")
    if to is not None:
        choose("`to`", to, WRITERS)
    suffix = Path(named).suffix if named else f".{to}"
    if suffix.removeprefix(".") not in WRITERS or (to and suffix != f".{to}"):
        raise InputError(
            f"`output` {named!r} does not end in {f'.{to}, as `to` says' if to else 'a format'}; "
            f"formats: {formats}"
        )
    name = file_name(source)
    beside = Path(f"{name}.pth" if name else source)
    if not beside.name:
        raise InputError(f"`model_path` {source!r} is not a file; check the path")
    path = Path(named) if named else beside.with_name(beside.stem.removesuffix(".pth") + suffix)
    if path.exists() and path.resolve() == weights_file(source).resolve():
        raise InputError(f"`output` {str(path)!r} is the checkpoint itself; name another file")
    return path, suffix.removeprefix(".")


def export(
    source: str,
    encoder: Encoder,
    content: dict,
    data: DataConfig,
    path: Path,
    to: str,
    outputs: Sequence[str],
) -> float:
    """Write an encoder for other programs, and compare what was written with PyTorch.

    The file names no folder of this machine (`without_folders`).

    Args:
        source: the checkpoint, whose hash goes into the file.
        encoder: what it holds, in evaluation mode, on the CPU.
        content: its content (`ancor.checkpoints.checkpoint.load_encoder`).
        data: how the network sees images.
        path: what is written; at no moment is it a file that is cut off or wrong.
        to: a key of `WRITERS`.
        outputs: names of `OUTPUTS` (of .safetensors, which holds the weights, all there are).

    Returns:
        The largest difference from PyTorch, relative to the output's largest value if above 1.

    Raises:
        InputError: a package is missing, images are too small for the backbone, or the file cannot
            be written.
        RunError: the difference is above `formats.TOLERANCE`; nothing is left behind.
    """
    content, data = without_folders(content, data)
    graph = Graph(encoder, outputs)
    about = metadata(source, encoder, content, data, outputs)
    if to == "safetensors":
        about[weights.CONTENT] = json.dumps(_own_content(content, data))
    size = data.transforms.size
    check_image_size(encoder.config.arch, size)
    count = max(formats.BATCHES)
    images = torch.randn(count, 3, size, size, generator=generator(0, "export"))
    _check_size(graph, images)
    return formats.write(path, WRITERS[to], graph, images, about, graph)


def without_folders(content: dict, data: DataConfig) -> tuple[dict, DataConfig]:
    """Return a file's content, and how images are seen, with names alone in place of paths.

    Others read what is made of them, and have other folders.
    """
    config = content["config"]
    start = str(config.get("pretrained_on") or "")
    told = {**config, "pretrained_on": start if _public(start) else os.path.basename(start)}
    values = {field.name: getattr(data, field.name) for field in fields(data)}
    paths = {n: v for n, v in values.items() if isinstance(v, str) and os.sep in v}
    bare = replace(data, **{name: os.path.basename(path) for name, path in paths.items()})
    return {**content, "config": told}, bare


def _public(weights: Any) -> bool:
    """Return whether weights that a training started from are known on other machines too."""
    return weights == OWN_WEIGHTS or str(weights).startswith(HUB)


def metadata(
    source: str, encoder: Encoder, content: dict, data: DataConfig, outputs: Sequence[str]
) -> dict[str, str]:
    """Return what a program has to know to use the file: by name, each value in JSON."""
    config, about, spec = encoder.config, content["config"], data.transforms
    photographs = spec.native_size is None
    side = spec.resize if photographs else spec.size
    sides = {"center": "shorter side", "squash": "both sides", "border": "longer side"}
    resized = f"{sides[spec.crop_mode if photographs else 'squash']} to {side}"
    values = {
        "made_by": f"ancor-toolkit {ancor.__version__}",
        "checkpoint_sha256": checkpoint.sha256(weights_file(source)),
        "arch": config.arch,
        "pretrained_on": about.get("pretrained_on") or None,
        "head": config.head,
        "mlp": config.mlp,
        "features": encoder.backbone.out_features,
        "embedding": config.dim if "embedding" in available_outputs(encoder) else None,
        "classes": config.num_classes if encoder.class_weight is not None else None,
        "class_names": list(checkpoint.class_names(content, source)),
        "outputs": list(outputs),
        "dataset": (about["data"] or {}).get("dataset"),
        "trained_on": about["training"].get("mode"),
        "selected_on": about.get("selected_on"),
        "epoch": content["epoch"],
        "input": f"RGB, (N, 3, {spec.size}, {spec.size}), scaled to 0-1, minus mean, over std",
        "image_size": spec.size,
        "resize": resized,
        "crop": f"the central {spec.size} x {spec.size}" if photographs else None,
        "border": spec.border,
        "interpolation": f"{spec.interpolation or 'bilinear'}, antialiased",
        "mean": list(spec.mean),
        "std": list(spec.std),
    }
    return {name: json.dumps(value) for name, value in values.items()}


def _check_size(graph: Graph, images: Tensor) -> None:
    try:
        with torch.inference_mode():
            graph(images[:1])
    except RuntimeError as error:
        raise InputError(
            f"`image_size` {images.shape[-1]}: {graph.encoder.config.arch} cannot pass images of "
            "so few pixels; give more"
        ) from error


def _own_content(content: dict, data: DataConfig) -> dict:
    """Return what makes a .safetensors file a checkpoint that this toolkit evaluates unasked."""
    config = content["config"]
    known = {**asdict(data), "root": None} if config["data"] else None
    training = {name: config["training"].get(name) for name in ("mode", "seed")}
    if _public(config["training"].get("pretrained")):  # a file's path is of this machine
        training["pretrained"] = config["training"]["pretrained"]
    kept = {
        name: config[name]
        for name in ("encoder", "selected_on", "classes", "pretrained_on")
        if name in config
    }
    kept |= {"format": checkpoint.FORMAT, "data": known, "training": training}
    return {"epoch": content["epoch"], "config": kept}


def _write_safetensors(graph: Graph, images: Tensor, about: dict, path: Path) -> Graph:
    tensors = sorted(state_dicts.encoder_state(graph.encoder, state_dicts.QUERY).items())
    # As they will be read: in this order, and laid out in the plain way.
    state = {name: t.clone(memory_format=torch.contiguous_format) for name, t in tensors}
    content = json.loads(about[weights.CONTENT])
    content[CHECKSUM] = checksum({**content, "state_dict": state})
    about = {**about, weights.CONTENT: json.dumps(content)}
    path.write_bytes(safetensors.torch.save(state, metadata=about))
    return Graph(checkpoint.load_encoder(path)[0], graph.outputs)


WRITERS = {**formats.GRAPHS, "safetensors": _write_safetensors}
