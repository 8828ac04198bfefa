"""The mean of unlabeled images' features, by which a few-shot classifier centers all others."""

import logging
from pathlib import Path

import torch
from torch import Tensor

from ancor.data.resolve import resolve_data
from ancor.errors import InputError
from ancor.evaluation.centering import training_mean
from ancor.evaluation.models import Model
from ancor.fewshot import inputs
from ancor.fewshot.image_encoder import ImageEncoder

log = logging.getLogger(__name__)

AT_ONCE = 4096  # images whose features are held


def mean_features(encoder: ImageEncoder, center: bool | str | Path) -> Tensor | None:
    """Return the mean (F,) of the images that `FewShotClassifier.center` names; None of False.

    Raises:
        InputError: the encoder does not tell its training images, or they or the folder's cannot
            be read.
    """
    if center is False:
        return None
    if center is True:
        return _of_training(encoder)
    paths = inputs.image_paths(center)
    total = torch.zeros(encoder.width, dtype=torch.float64)
    for start in range(0, len(paths), AT_ONCE):
        vectors = encoder.features(paths[start : start + AT_ONCE]).vectors
        total += vectors.double().sum(0)
    log.info("Features are centered by the mean of %d images in %r", len(paths), str(center))
    return (total / len(paths)).float()


def _of_training(encoder: ImageEncoder) -> Tensor:
    told = encoder.content["config"].get("data") if encoder.content else None
    if not (told or {}).get("dataset"):
        raise InputError(
            "`center` subtracts the mean of the training images' features, and this encoder does "
            "not tell which they are; give a folder of images like those to come, without labels"
        )
    data = resolve_data({}, told)
    return training_mean(
        Model(encoder.network, encoder.transforms, encoder.runtime, data=data), encoder.kind
    ).cpu()
