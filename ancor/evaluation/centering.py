"""Features about the mean of the training images' (Wang et al., 2019, arXiv 1911.04623: CL2N)."""

import logging
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.data.scan import report_skipped
from ancor.data.views import QUERY_VIEW
from ancor.errors import InputError, MissingPartition
from ancor.evaluation.feature_bank import FeatureBank
from ancor.evaluation.models import Model

log = logging.getLogger(__name__)


def center(vectors: Tensor, mean: Tensor) -> Tensor:
    """Subtract a mean (F,) from vectors (..., F), and scale them to unit length."""
    return F.normalize(vectors - mean, dim=-1)


class CenteredBank:
    """A bank whose features are centered by the mean of its model's training images.

    Args:
        bank: what computes them.
        mean: (F,).
    """

    def __init__(self, bank: FeatureBank, mean: Tensor) -> None:
        self.bank, self.mean = bank, mean
        self.width, self.device, self.kind = bank.width, bank.device, bank.kind

    def stream(self, pairs: np.ndarray) -> Iterator[Tensor]:
        """Yield features of pairs (P, 2) of image and view, in order: (n, F) of float32."""
        with closing(self.bank.stream(pairs)) as batches:
            for features in batches:
                yield center(features, self.mean)

    def test_features(self) -> Tensor:
        """Features of every image under the test transform, (N, F) of float32."""
        return center(self.bank.test_features(), self.mean)


def training_mean(model: Model, kind: str = "features") -> Tensor:
    """Return the mean (F,) of the features of a model's training images, as queries are seen.

    Raises:
        InputError: the model does not tell which they are, or they are not there.
    """
    if model.data is None:
        raise InputError(
            "`center` subtracts the mean of the training images' features, and an encoder in "
            "memory does not tell where they are; give its file"
        )
    try:
        train = model.data.load("train")
    except MissingPartition as error:
        raise InputError(
            "`center` subtracts the mean of the training images' features, and there is no "
            f"partition 'train' ({error}); leave it out, or name data that has one"
        ) from error
    images = np.arange(len(train))
    bank = model.bank(train, kind)
    total = torch.zeros(bank.width, dtype=torch.float64)
    for features in bank.stream(np.stack([images, np.full_like(images, QUERY_VIEW)], axis=1)):
        total += features.double().sum(0)
    log.info("Features are centered by the mean of %d images of the partition 'train'", len(train))
    report_skipped(train)
    return (total / len(train)).float()
