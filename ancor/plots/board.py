"""What TensorBoard shows beside curves: figures, settings with scores, and the features.

Functions take a `torch.utils.tensorboard.SummaryWriter`.
"""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from ancor.data.partition import Partition
from ancor.plots.style import write
from ancor.plots.thumbnails import thumbnail
from ancor.runtime.text import printable

SIDE = 32  # of a thumbnail in the projector's sprite, in pixels


def add_projector(
    writer: SummaryWriter,
    features: np.ndarray,
    images: Sequence[Any],
    labels: Mapping[str, Sequence[str]],
    step: int,
    tag: str = "features",
) -> None:
    """Put features into the embedding projector, each with its thumbnail and labels.

    Args:
        writer: a SummaryWriter; the projector shows what was added to its folder last.
        features: (N, F).
        images: N images of a dataset, PIL or tensors.
        labels: of each kind of label its N names, such as `fine` and `coarse`; two kinds or more.
        step: optimizer steps done.
        tag: what the projector calls them.
    """
    sprites = np.stack([np.asarray(thumbnail(image, SIDE)) for image in images])
    rows = [[_cell(name) for name in row] for row in zip(*labels.values(), strict=True)]
    with redirect_stdout(None):  # it says so when it replaces what an earlier call wrote
        writer.add_embedding(
            np.asarray(features),
            metadata=rows,
            metadata_header=list(labels),
            label_img=torch.from_numpy(sprites).permute(0, 3, 1, 2).float() / 255,
            global_step=step,
            tag=tag,
        )


def class_labels(partition: Partition, images: np.ndarray) -> dict[str, list[str]]:
    """Return the names of images' classes, of the levels that are known, and their numbers."""
    hierarchy = partition.hierarchy
    found = {"coarse": [hierarchy.coarse_names[c] for c in partition.coarse_labels[images]]}
    if partition.fine_labels is not None:
        fine = [hierarchy.fine_names[label] for label in partition.fine_labels[images]]
        found = {"fine": fine, **found}
    return {**found, "image": [str(number) for number in images]}


def _cell(name: str) -> str:
    """Return a name as a table of tabs and lines can hold it; an empty cell would move others."""
    return printable(" ".join(name.split())) or "-"


def add_hparams(
    writer: SummaryWriter, settings: Mapping[str, Any], scores: Mapping[str, float]
) -> None:
    """Put a run's settings and scores into the table of hyper-parameters.

    Args:
        writer: a SummaryWriter; the table's row is its folder.
        settings: by name; lists are told as text, those that are None are left out.
        scores: by name.
    """
    plain = {
        name: value if isinstance(value, bool | int | float) else printable(str(value))
        for name, value in settings.items()
        if value is not None
    }
    writer.add_hparams(plain, {f"score/{k}": v for k, v in scores.items()}, run_name=".")


def add_figure(writer: SummaryWriter, name: str, figure: Figure, step: int) -> None:
    """Put a matplotlib figure among the images."""
    writer.add_image(name, pixels(figure), step, dataformats="HWC")


def pixels(figure: Figure) -> np.ndarray:
    """Draw a matplotlib figure: (H, W, 3) of uint8."""
    buffer = io.BytesIO()
    write(figure, buffer, format="png", dpi=100)
    return np.asarray(Image.open(buffer).convert("RGB"))
