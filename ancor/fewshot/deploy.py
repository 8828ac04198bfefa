"""A few-shot classifier as one file for programs without this toolkit, checked when written."""

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

import ancor
from ancor.checkpoints import checkpoint, formats
from ancor.data.transform_spec import TransformSpec
from ancor.errors import InputError
from ancor.fewshot.checks import AUTO, UNKNOWN
from ancor.fewshot.classifier import Classifier
from ancor.fewshot.graphs import ClassifierGraph
from ancor.runtime.seeding import generator

TOLERANCE = 1e-3  # of probabilities; a low temperature multiplies the features' rounding


def export(source: Path | str, model: Classifier, path: Path, to: str) -> tuple[float, dict]:
    """Write a fitted classifier for other programs, and compare it with `predict`.

    Args:
        source: its file, whose hash goes into the new one.
        model: what it holds, on the CPU.
        path: what is written; at no moment is it a file that is cut off or wrong.
        to: a key of `ancor.checkpoints.formats.GRAPHS`.

    Returns:
        The largest difference from PyTorch, and the file's metadata.

    Raises:
        InputError: the classifier has no graph, a package is missing, or the file cannot be
            written.
        RunError: the difference is above `TOLERANCE`; nothing is left behind.
    """
    if to not in formats.GRAPHS:
        raise InputError(
            f"`to` {to} holds weights alone; a classifier is written as "
            f"{' or '.join(formats.GRAPHS)}"
        )
    graph, size = ClassifierGraph(model), model.encoder.transforms.size
    about = metadata(source, model, graph)
    shape = (max(formats.BATCHES), size, size, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(0, "export"))

    def expected(pixels: Tensor) -> dict[str, Tensor]:
        features = model.encoder.encode_prepared(pixels.permute(0, 3, 1, 2))
        found = {"probabilities": torch.from_numpy(model.predict_proba(features))}
        if model.unknown is not None:
            found["unknown"] = torch.from_numpy(model.predict(features) == UNKNOWN)
        return found

    texts = {name: json.dumps(value) for name, value in about.items()}
    writer = formats.GRAPHS[to]
    return formats.write(path, writer, graph, pixels, texts, expected, TOLERANCE), about


def metadata(source: Path | str, model: Classifier, graph: ClassifierGraph) -> dict[str, Any]:
    """Return what a program has to know to use the file, by name."""
    encoder, size = model.encoder, model.encoder.transforms.size
    return {
        "made_by": f"ancor-toolkit {ancor.__version__}",
        "classifier_sha256": checkpoint.sha256(source),
        "arch": encoder.network.config.arch,
        "classifier": model.episode.classifier,
        "coarse_first": model.episode.coarse_first,
        "centered": model.center_ is not None,
        "temperature": model.temperature_,
        "unknown": model.unknown,
        "unknown_similarity": model.threshold() if model.unknown == AUTO else None,
        "back_off": model.back_off,
        "coarse_by": model.coarse_by,
        "class_names": model.classes_.tolist(),
        "coarse_of_class": None if model.coarse_ is None else model.coarse_.tolist(),
        "coarse_names": list(encoder.coarse_names) or None,
        "outputs": list(graph.outputs),
        "input": f"RGB, upright, (N, {size}, {size}, 3) of uint8",
        **preparation(encoder.transforms),
    }


def preparation(spec: TransformSpec) -> dict[str, Any]:
    """Return how an image becomes a row of the graph's input, in the order of the steps.

    `keep_shape` says whether `resize_to` is the side of the shorter side, or of both; `crop_to` is
    of the center, and what is cropped is resized to `image_size`, if that is another. Pillow
    resizes as `predict` does, to a gray level; `pillow_filter` is its number of the interpolation.

    Raises:
        InputError: the encoder sees images with a border.
    """
    photographs, interpolation = spec.native_size is None, spec.interpolation or "bilinear"
    if spec.border:
        raise InputError(
            f"`crop_mode` {spec.crop_mode} with images of {spec.resize} px in {spec.size}: a file "
            "to deploy describes no border; take an encoder trained with `crop_mode` squash"
        )
    return {
        "resize_to": spec.resize if photographs else spec.native_size,
        "keep_shape": not (photographs and spec.crop_mode == "squash"),
        "crop_to": spec.size if photographs else spec.native_size,
        "image_size": spec.size,
        "interpolation": interpolation,
        "pillow_filter": int(Image.Resampling[interpolation.upper()]),
        "mean": list(spec.mean),
        "std": list(spec.std),
    }
