"""scikit-learn's digits (UCI, 1797 images of 8x8 pixels): the dataset that needs no file."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from ancor.data.hierarchy import Hierarchy
from ancor.data.images import GrayImages
from ancor.data.partition import Partition

HIERARCHY = Hierarchy(
    coarse_names=("closed loops", "straight strokes", "open curves"),
    fine_names=tuple("0123456789"),
    coarse_of_fine=(0, 1, 2, 2, 1, 2, 0, 1, 0, 0),
)
# Image i belongs to a partition by i % 5.
REMAINDERS = {"train": (2, 3, 4), "validation": (1,), "test": (0,)}


def load(partition: str) -> Partition:
    """Read a partition: gray values 0-16 become 0-255, 8x8 pixels become 32x32 bilinearly."""
    digits = load_digits()
    kept = np.isin(np.arange(len(digits.target)) % 5, REMAINDERS[partition])
    small = torch.from_numpy(digits.images[kept])[:, None] * (255 / 16)
    large = F.interpolate(small, size=32, mode="bilinear", align_corners=False)[:, 0]
    pixels = large.round().to(torch.uint8).numpy()
    return Partition.from_fine(
        "digits", partition, GrayImages(pixels), digits.target[kept], HIERARCHY
    )
