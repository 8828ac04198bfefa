"""Digits as files in folders of coarse classes, as somebody's own pictures are."""

from pathlib import Path

import numpy as np
from PIL import Image

from ancor.data.config import DataConfig

EACH = 12  # pictures of a digit


def write_digits(root: Path, fine: bool = False) -> None:
    """Write <coarse>/<digit>-<n>.png of each digit; with `fine`, <coarse>/<digit>/<n>.png.

    The coarse classes are called otherwise than those that an encoder is trained on.
    """
    partition = DataConfig("digits").load("train")
    names = partition.hierarchy
    for digit in range(10):
        for n, index in enumerate(np.flatnonzero(partition.fine_labels == digit)[:EACH].tolist()):
            coarse = f"of {names.coarse_names[partition.coarse_labels[index]]}"
            place = f"{digit}/{n:02}.png" if fine else f"{digit}-{n:02}.png"
            path = root / coarse / place
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(partition.images[index].numpy().transpose(1, 2, 0)).save(path)
