"""The table of backbones: a name, and what builds it.

A backbone maps images (N, 3, H, W) to pooled features (N, F), tells F as `out_features`, and pools
with a submodule called `avgpool`. A new one is a file here and a line in `BACKBONES`.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ancor.errors import choose

if TYPE_CHECKING:
    from torch import nn


def _own(module: str, name: str, **options: Any) -> "Callable[[], nn.Module]":
    """Return a constructor that imports its module, and so torch, when it is called."""
    return lambda: getattr(import_module(f"ancor.models.{module}"), name)(**options)


def _torchvision(name: str) -> "Callable[[], nn.Module]":
    """Return a constructor of a torchvision ResNet without its classifier."""

    def build() -> "nn.Module":
        from torch import nn
        from torchvision import models

        network = getattr(models, name)()
        network.out_features = network.fc.in_features
        network.fc = nn.Identity()
        return network

    return build


BACKBONES: "dict[str, Callable[[], nn.Module]]" = {
    "conv4": _own("conv4", "Conv4"),
    "resnet12": _own("resnet12", "ResNet12"),
    "resnet12forcifar": _own("resnet12", "ResNet12", block_size=2),
    **{name: _torchvision(name) for name in ("resnet18", "resnet34", "resnet50", "resnet101")},
}


def build_backbone(name: str) -> "nn.Module":
    """Build the backbone `name`; InputError names the accepted ones."""
    return BACKBONES[choose("backbone", name, BACKBONES)]()


def same_weights(one: str, other: str) -> bool:
    """Return whether two backbones differ in nothing but regularization while training."""
    twins = {"resnet12forcifar": "resnet12"}
    return twins.get(one, one) == twins.get(other, other)
