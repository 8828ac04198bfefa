"""The table of backbones: a name, and what builds it.

A backbone maps images (N, 3, H, W) to pooled features (N, F), tells F as `out_features`, and pools
with a submodule called `avgpool`. A new one is a file here and a line in `BACKBONES`.
"""

from collections.abc import Callable

from torch import nn

from ancor.errors import choose
from ancor.models.conv4 import Conv4
from ancor.models.resnet12 import ResNet12


def _torchvision(name: str) -> nn.Module:
    from torchvision import models

    network = getattr(models, name)()
    network.out_features = network.fc.in_features
    network.fc = nn.Identity()
    return network


BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "conv4": Conv4,
    "resnet12": ResNet12,
    "resnet12forcifar": lambda: ResNet12(block_size=2),
    "resnet18": lambda: _torchvision("resnet18"),
    "resnet34": lambda: _torchvision("resnet34"),
    "resnet50": lambda: _torchvision("resnet50"),
    "resnet101": lambda: _torchvision("resnet101"),
}


def build_backbone(name: str) -> nn.Module:
    """Build the backbone `name`; InputError names the accepted ones."""
    return BACKBONES[choose("backbone", name, BACKBONES)]()


def same_weights(one: str, other: str) -> bool:
    """Tell whether two backbones differ in nothing but regularisation while training."""
    twins = {"resnet12forcifar": "resnet12"}
    return twins.get(one, one) == twins.get(other, other)
