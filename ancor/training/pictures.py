"""t-SNE pictures of an encoder while it trains, for TensorBoard."""

import logging
from collections.abc import Iterator

import numpy as np
import torch

from ancor.checkpoints.classes import class_rows
from ancor.data.partition import Partition
from ancor.data.views import QUERY_VIEW
from ancor.evaluation.feature_bank import FeatureBank, class_weights
from ancor.models.encoder import Encoder
from ancor.plots.board import pixels
from ancor.plots.projections import project
from ancor.plots.tsne import Layout, figure
from ancor.runtime.devices import Runtime
from ancor.runtime.logging import RunLog
from ancor.runtime.seeding import address_seed
from ancor.training.config import RunConfig

log = logging.getLogger(__name__)
MOST_IMAGES = 1000  # of a picture: t-SNE then takes a few seconds


class FeaturePictures:
    """Draws the same images at every call: all coarse classes, and the fine ones of one of them.

    As tsne.py does: the head's embedding if there is one, class weights as stars if they live
    there.

    Args:
        bank: of the encoder that trains, on the partition's images.
        partition: where the images are drawn from; without fine labels the second picture falls
            away.
        seed: draws the images.
        trained_on: coarse classes by the numbers of the class weights; () where there are none.
    """

    def __init__(
        self, bank: FeatureBank, partition: Partition, seed: int, trained_on: tuple[str, ...]
    ) -> None:
        self.bank, self.partition, self.seed, self.trained_on = bank, partition, seed, trained_on
        self.kind = "embedding" if bank.encoder.config.embeds else "features"
        self.rows = class_rows(trained_on, partition.hierarchy.coarse_names)
        if self.rows is None and bank.encoder.class_weight_among(self.kind) is not None:
            log.info(
                "Notice: t-SNE plots have no stars, as the coarse classes of partition %r are not "
                "those that are trained on",
                partition.name,
            )
        labels = partition.coarse_labels if partition.fine_labels is None else partition.fine_labels
        classes = np.unique(labels)
        each = max(2, MOST_IMAGES // len(classes))
        rng = np.random.default_rng(address_seed(seed, "feature pictures"))
        own = (np.flatnonzero(labels == label) for label in classes)
        self.images = np.concatenate([rng.permutation(images)[:each] for images in own])

    def __call__(self, run_log: RunLog, step: int) -> None:
        """Draw the encoder's features as they are after `step` steps."""
        for name, layout in self._layouts():
            drawn = np.moveaxis(pixels(figure(layout)), 2, 0)
            run_log.picture(f"t-SNE {self.partition.name}/{name}", drawn, step)

    def _layouts(self) -> Iterator[tuple[str, Layout]]:
        hierarchy = self.partition.hierarchy
        weights = class_weights(self.bank.encoder, self.kind, len(self.trained_on))
        weights = None if self.rows is None or weights is None else weights[self.rows]
        points, stars = project(self._outputs(), weights, seed=self.seed)
        coarse = self.partition.coarse_labels[self.images]
        about = f"{self.partition.dataset}, {self.partition.name}"
        yield "coarse", Layout(about, points, coarse, hierarchy.coarse_names, self.images, stars)
        if self.partition.fine_labels is None:
            return
        inside = np.bincount(hierarchy.coarse_of_fine).argmax()
        shown = coarse == inside
        fine, labels = np.unique(
            self.partition.fine_labels[self.images[shown]], return_inverse=True
        )
        about = f"{about}: fine classes of {hierarchy.coarse_names[inside]!r}"
        names, star = [hierarchy.fine_names[n] for n in fine], stars[inside : inside + 1]
        yield (
            "fine",
            Layout(about, points[shown], labels, names, self.images[shown], star, len(star) > 0),
        )

    def _outputs(self) -> np.ndarray:
        pairs = np.stack([self.images, np.full_like(self.images, QUERY_VIEW)], axis=1)
        outputs = [getattr(output, self.kind).float() for output in self.bank.outputs(pairs)]
        return torch.cat(outputs).cpu().numpy()


def pictures_of(
    config: RunConfig, encoder: Encoder, partition: Partition, runtime: Runtime
) -> FeaturePictures:
    """Return what draws a run's pictures of a partition."""
    bank = FeatureBank(encoder, partition.images, config.data.transforms, runtime)
    coarse = config.classes if config.training.mode == "coarse" else ()
    return FeaturePictures(bank, partition, config.training.seed, coarse)
