"""The views of images that training and evaluation ask for."""

from collections.abc import Callable
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ancor.data.partition import Images
from ancor.data.transform_spec import VIEW_KINDS, TransformSpec
from ancor.data.transforms import pixels_of, training_view
from ancor.errors import choose
from ancor.runtime.seeding import address_seed, seeded

# View numbers of an image under the test transform and of its mirror image; those from 0 on are
# random augmentations.
QUERY_VIEW, MIRROR_VIEW = -1, -2
SUPPORT_VIEW = "support view"  # address of their randomness


class TrainingViews(Dataset):
    """Items for training: asked for (epoch, index), it gives (views, drawings, label, index).

    An image is decoded once for all its views. A view, bytes (3, S, S), is a function of (seed,
    epoch, index, view number) alone; so is its drawing (`ancor.data.color`). Asked for (number,
    index, purpose), for a pass that is no epoch, they are functions of the purpose too.

    Args:
        images: the training images.
        labels: (N,) of int64.
        spec: what views are drawn from.
        views: the kind of each view of an item, of `VIEW_KINDS`.
        seed: the run's seed.
        color: whether the drawings are applied here; where not, `recolor` has to follow.
    """

    def __init__(
        self,
        images: Images,
        labels: np.ndarray,
        spec: TransformSpec,
        views: tuple[str, ...],
        seed: int,
        color: bool = True,
    ) -> None:
        self.images, self.labels, self.seed, self.color = images, labels, seed, color
        self.specs = [VIEW_KINDS[choose("view", kind, VIEW_KINDS)](spec) for kind in views]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(
        self, request: tuple[int, int] | tuple[int, int, str]
    ) -> tuple[tuple[Tensor, ...], tuple[np.ndarray, ...], int, int]:
        epoch, index, *purpose = request
        address = " ".join(["training view", *purpose])
        pixels = pixels_of(self.images[index])
        made = []
        for view, spec in enumerate(self.specs):
            rng = Random(address_seed(self.seed, address, epoch, index, view))
            made.append(training_view(pixels, spec, rng, self.color))
        views, drawings = zip(*made, strict=True)
        return views, drawings, int(self.labels[index]), index


class EvaluationViews(Dataset):
    """Items for evaluation: the image and view number at each position of a list.

    View -1 is the image under the test transform, view -2 its mirror image; views 0, 1, ... are
    random augmentations, each a function of (seed, image, view number).

    Args:
        images: the images of the partition.
        pairs: (P, 2) of int64: image, view.
        query_transform: what view -1 is made by.
        support_transform: what the other views are made by.
        seed: seed of the views.
    """

    def __init__(
        self,
        images: Images,
        pairs: np.ndarray,
        query_transform: Callable,
        support_transform: Callable,
        seed: int,
    ) -> None:
        self.images, self.pairs, self.seed = images, pairs, seed
        self.query_transform, self.support_transform = query_transform, support_transform

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, position: int) -> Tensor:
        image, view = self.pairs[position].tolist()
        if view in (QUERY_VIEW, MIRROR_VIEW):
            picture = self.query_transform(self.images[image])
            return picture if view == QUERY_VIEW else picture.flip(-1)
        with seeded(self.seed, SUPPORT_VIEW, image, view):
            return self.support_transform(self.images[image])


def distinct_views(pairs: np.ndarray, spec: TransformSpec, seed: int) -> np.ndarray:
    """Name views by what they show, where a support view flips at most.

    Args:
        pairs: (P, 2) of image and view.
        spec: the transforms.
        seed: seed of the views.

    Returns:
        Pairs (P, 2) of the same pictures, each picture under one name if support views only flip.
    """
    if not spec.support_only_flips:
        return pairs
    if not spec.flip:
        shown = np.where(pairs[:, 1] == MIRROR_VIEW, MIRROR_VIEW, QUERY_VIEW)
        return np.stack([pairs[:, 0], shown], axis=1)
    generator = torch.Generator()

    def shown(image: int, view: int) -> int:
        if view < 0:
            return view
        # The draw of `support_transform`.
        generator.manual_seed(address_seed(seed, SUPPORT_VIEW, image, view))
        flipped = bool(torch.rand(1, generator=generator) < 0.5)
        return MIRROR_VIEW if flipped else QUERY_VIEW

    views = [shown(image, view) for image, view in pairs.tolist()]
    return np.stack([pairs[:, 0], np.array(views, dtype=np.int64)], axis=1)
