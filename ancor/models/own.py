"""A network of one's own as a backbone."""

import copy

import torch
from torch import Tensor, nn

from ancor.errors import InputError
from ancor.models.backbones import BACKBONES


def named_module(network: nn.Module, size: int = 64) -> str:
    """Give a network of one's own a name among `BACKBONES`, for as long as this process lives.

    Each backbone of the name is a copy of it, weights included.

    Args:
        network: maps images (N, 3, S, S) to features (N, F).
        size: side S of the images on which F is found, where `out_features` does not tell it.

    Raises:
        InputError: its output is of another shape.
    """
    if not isinstance(getattr(network, "out_features", None), int):
        was_training = network.training
        like = next((p for p in network.parameters()), torch.empty(0))
        with torch.no_grad():
            features = network.eval()(torch.zeros(2, 3, size, size, device=like.device))
        network.train(was_training)
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
            shape = tuple(getattr(features, "shape", ())) or type(features).__name__
            raise InputError(
                f"the network gives {shape} for images (2, 3, {size}, {size}); expected (2, F): "
                "pooled features without a classifier"
            )
        network.out_features = features.shape[1]
    name = f"python:{type(network).__name__}-{len(BACKBONES)}"
    BACKBONES[name] = lambda: copy.deepcopy(network)
    return name
