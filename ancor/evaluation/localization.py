"""Where an encoder looks: its head at each position of the last feature map.

The paper's picture: the norm of the embedding is high where the image holds what tells classes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ancor.data.views import QUERY_VIEW
from ancor.errors import InputError
from ancor.evaluation.feature_bank import FeatureBank
from ancor.models.encoder import Encoder


def embedded(encoder: Encoder, features: Tensor) -> Tensor:
    """Map features (..., F) to the embedding (..., D); without a head for it, to themselves."""
    if not encoder.config.embeds:
        return features
    hidden = encoder.head[:-1](features) if encoder.config.mlp else features
    return F.linear(hidden, encoder.embedder.weight, encoder.embedder.bias)


@torch.inference_mode()
def position_norms(bank: FeatureBank, images: np.ndarray) -> np.ndarray:
    """Norm of the embedding at each position of the last feature map, under the test transform.

    Args:
        bank: of the encoder and the images; large images want a small batch size.
        images: numbers of images, (N,).

    Returns:
        (N, h, w) of float32, where h and w are the map's sides.
    """
    pairs = np.stack([images, np.full_like(images, QUERY_VIEW)], axis=1)
    norms = []
    with _last_maps(bank.encoder) as maps:
        for _ in bank.outputs(pairs):
            vectors = embedded(bank.encoder, maps.pop().float().movedim(1, -1))
            norms.append(vectors.norm(dim=-1).cpu())
    return torch.cat(norms).numpy()


@contextmanager
def _last_maps(encoder: Encoder) -> Iterator[list[Tensor]]:
    """Give a list to which every pass adds what goes into the pooling, (N, F, h, w)."""
    backbone, maps = encoder.backbone, []
    pooling = getattr(backbone, "avgpool", None) or getattr(backbone, "global_pool", None)

    def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        if given[0].ndim != 4 or given[0].shape[1] != backbone.out_features:
            raise _no_map(encoder)
        maps.append(given[0])

    if not isinstance(pooling, nn.Module):  # transformers name a way of pooling
        raise _no_map(encoder)
    hook = pooling.register_forward_pre_hook(keep)
    try:
        yield maps
    finally:
        hook.remove()


def _no_map(encoder: Encoder) -> InputError:
    return InputError(
        f"backbone {encoder.config.arch!r} does not pool a map of its features, so there is none "
        "to draw; choose conv4, resnet12 or a ResNet"
    )
