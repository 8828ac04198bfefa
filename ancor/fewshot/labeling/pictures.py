"""The pictures of a folder with their features, as a labeling session begins with them."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn import functional as F

from ancor.data.images import ImageFiles
from ancor.data.partition import Partition
from ancor.data.subclass_folders import relative_paths
from ancor.errors import InputError, capped
from ancor.evaluation.feature_bank import features_name, kind_of
from ancor.evaluation.models import Model
from ancor.fewshot.image_encoder import ImageEncoder
from ancor.fewshot.support_set import Features


@dataclass(frozen=True, eq=False)
class Pictures:
    """N pictures in files, and what an encoder says of them.

    Attributes:
        partition: the pictures and their coarse classes; fine ones, where known, only judge.
        features: of each picture under the test transform, without views.
        encoder: what made them.
        root: folder that `paths` begin at.
        paths: of each picture, as labels.csv names it.
    """

    partition: Partition
    features: Features
    encoder: ImageEncoder
    root: str
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.partition)

    @property
    def coarse_names(self) -> tuple[str, ...]:
        """The coarse classes by number."""
        return self.partition.hierarchy.coarse_names

    def checked(self, numbers: Iterable[int]) -> list[int]:
        """Return numbers of pictures as they are; InputError where there is no such picture."""
        found = list(numbers)
        for number in found:
            if type(number) is not int or not 0 <= number < len(self):
                raise InputError(f"picture {number!r:.20}: expected 0 to {len(self) - 1}")
        return found

    def coarse_name(self, picture: int) -> str:
        """Return the name of a picture's coarse class."""
        return self.coarse_names[self.partition.coarse_labels[picture]]


def read(
    model: Model,
    partition: Partition,
    *,
    only_base: bool | None = None,
    features_out: str | None = None,
    allow_outside_root: bool = False,
) -> Pictures:
    """Compute the features of a partition's pictures, or take them from the model's cache.

    Args:
        model: the encoder, with the folder that the partition was read from.
        partition: pictures in files.
        only_base, features_out: which features (`ancor.evaluation.feature_bank.kind_of`).
        allow_outside_root: whether pictures may be links to files outside the folder.

    Raises:
        InputError: the pictures are in no files, a link leads outside, or one cannot be read.
    """
    if not isinstance(partition.images, ImageFiles):
        raise InputError(
            f"the images of `dataset` {partition.dataset!r} are in no files of their own; name a "
            "folder of image files as `root`, with `dataset` folder"
        )
    root, paths = relative_paths(partition, model.data.root if model.data else None)
    if not allow_outside_root:
        _check_inside(root, paths)
    kind = kind_of(model.network, model.content, only_base, features_out)
    vectors = F.normalize(model.bank(partition, kind).test_features(), dim=1)
    encoder = ImageEncoder(
        model.saved or model.network,
        model.transforms,
        model.runtime,
        content=model.content,
        features_out=features_name(kind),
    )
    return Pictures(partition, without_views(vectors), encoder, root, tuple(paths))


def without_views(vectors: torch.Tensor) -> Features:
    """Return vectors (N, F) of unit length as features that are learned from as they are."""
    coarse = torch.full((len(vectors),), -1)
    return Features(vectors, vectors[:, None][:, :0], coarse, coarse[:, None][:, :0])


def _check_inside(root: str, paths: list[str]) -> None:
    """Raise an InputError where a picture is a link to a file outside the folder."""
    home, real_folder = os.path.realpath(root), cache(os.path.realpath)
    outside = []
    for path in paths:
        folder, name = os.path.split(os.path.join(home, path))
        real = os.path.join(real_folder(folder), name)
        real = os.path.realpath(real) if os.path.islink(real) else real
        if os.path.commonpath([home, real]) != home:
            outside.append(path)
    if outside:
        raise InputError(
            f"{len(outside)} pictures are links that lead outside {root!r}: "
            f"{capped(map(repr, outside))}; give `allow_outside_root` if that is meant"
        )
