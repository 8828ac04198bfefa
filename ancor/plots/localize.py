"""Where an encoder looks, as a heat map over the image."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ancor.data.hierarchy import Hierarchy
from ancor.data.images import ImageFiles
from ancor.data.partition import Partition
from ancor.errors import InputError
from ancor.evaluation.feature_bank import FeatureBank
from ancor.evaluation.localization import position_norms
from ancor.evaluation.models import Model
from ancor.plots.captions import caption_of, titled
from ancor.plots.grid import grid, show
from ancor.plots.style import finished, plain

log = logging.getLogger(__name__)

FILES = "files"  # what stands for a dataset's name where files are drawn
# Times the size of training: photographs as in the paper, 448 px for 224; of small images the last
# map has a few positions only, so they are enlarged further.
LARGER, LARGER_SMALL = 2, 4
MAP = "viridis"  # even in lightness, so that it reads without color too
PAIRS = 4  # images in a row, each beside its heat map


def files(paths: Sequence[str]) -> Partition:
    """Return image files as a partition without known labels; InputError where one is not there."""
    for path in paths:
        if not os.path.isfile(path):
            raise InputError(f"{path!r} is not a file; check the path of this image")
    images = ImageFiles([(os.path.dirname(p), [os.path.basename(p)]) for p in paths], upright=True)
    labels = np.zeros(len(paths), dtype=np.int64)
    return Partition(FILES, "given", images, labels, None, Hierarchy(("",)))


def larger_bank(
    model: Model, partition: Partition, image_size: int | None, seed: int
) -> FeatureBank:
    """Return a bank that sees images at a size, by default larger than in training."""
    transforms = model.transforms
    if image_size is None:
        times = LARGER if transforms.native_size is None else LARGER_SMALL
        transforms = transforms.with_size(times * transforms.size)
    if partition.dataset == FILES and transforms.native_size is not None:
        transforms = replace(transforms, native_size=None, resize=transforms.size)  # of any shape
    return model.bank(partition, seed=seed, transforms=transforms)


def draw(
    bank: FeatureBank, partition: Partition, images: np.ndarray, mode: str, path: str
) -> Figure:
    """Draw where a bank's encoder looks in some images.

    Args:
        bank: of the partition.
        partition: whose images are drawn.
        images: their numbers, (Q,).
        mode: level of the classes that are named.
        path: of the encoder's file, for the caption.
    """
    label = "norm of the embedding at each position"
    if not bank.encoder.config.embeds:
        label = "norm of the features at each position"
        log.info("Head %r has no embedding: %s is drawn", bank.encoder.config.head, label)
    seen = [bank.query_transform(partition.images[i]).permute(1, 2, 0).numpy() for i in images]
    norms = position_norms(bank, images)
    title = f"{partition.dataset}, {partition.name}"
    if partition.dataset == FILES:
        title = "where the encoder looks"
    title += f", {bank.transforms.size} px, map of {norms.shape[1]} x {norms.shape[2]}"
    names = [_name(partition, number, mode) for number in images.tolist()]
    caption = caption_of([path], [])
    return localize_figure(seen, norms, names, title, label, caption)


def _name(partition: Partition, number: int, mode: str) -> str:
    """Name an image by its class and number, or by its file."""
    if partition.dataset == FILES:
        return os.path.basename(partition.images.name(number))
    level = mode if mode == "coarse" or partition.fine_labels is not None else "coarse"
    return f"image {number}: {partition.hierarchy.names(level)[partition.labels(level)[number]]}"


def localize_figure(
    images: Sequence[np.ndarray],
    norms: np.ndarray,
    names: Sequence[str],
    title: str,
    label: str,
    caption: str = "",
) -> Figure:
    """Draw each image, and beside it its heat map over the image in gray.

    Args:
        images: bytes (H, W, 3) each.
        norms: (N, h, w); each image's own smallest and largest norm are the ends of its colors.
        names: of the images.
        title, caption: the lines above the figure.
        label: of the colors.
    """
    wide = min(PAIRS, len(images))
    rows = -(-len(images) // wide)
    figure, every = grid(rows, 2 * wide, side=1.5, gaps=range(2, 2 * wide, 2), above=0.17)
    places = every.reshape(-1, 2)
    for (beside, over), image, norm, name in zip(places, images, norms, names, strict=False):
        height, width = image.shape[:2]
        show(beside, image, plain(name, 22))
        show(over, np.repeat(image.mean(2, keepdims=True).astype(np.uint8), 3, axis=2))
        low, high = norm.min(), norm.max()
        over.imshow(
            norm,
            cmap=MAP,
            vmin=low,
            vmax=high,
            alpha=0.6,
            interpolation="bilinear",
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )
        over.set_title(f"{low:.3g} to {high:.3g}", fontsize=8, pad=3)
    tall = figure.get_figheight()
    bar = figure.add_axes((0.3, -0.35 / tall, 0.4, 0.12 / tall))
    colors = figure.colorbar(
        ScalarMappable(Normalize(0, 1), MAP), cax=bar, orientation="horizontal", alpha=0.6
    )
    colors.set_ticks([0, 1], labels=["lowest in the image", "highest"], fontsize=8)
    colors.set_label(label, fontsize=9)
    figure.suptitle(titled(title, caption), y=1 + 0.3 / tall, va="bottom", fontsize=11)
    return finished(figure)
