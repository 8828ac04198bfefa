"""Backbones: a name, and what builds it.

A backbone maps images (N, 3, H, W) to pooled features (N, F) and tells F as `out_features`. Names
are those of `BACKBONES`, where a new one is a file here and a line in the table, and those of two
libraries: `torchvision:NAME` and `timm:NAME`, or `timm:NAME.TAG` for one set of its weights. What
the libraries know of a backbone beside its network stands in `ancor.models.libraries`.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ancor.errors import choose
from ancor.models.names import RESNETS, SMALL, library_of

if TYPE_CHECKING:
    from torch import nn


def _own(module: str, name: str, **options: Any) -> "Callable[[], nn.Module]":
    """Return a constructor that imports its module, and so torch, when it is called."""
    return lambda: getattr(import_module(f"ancor.models.{module}"), name)(**options)


def _resnet(name: str, small: bool = False) -> "Callable[[], nn.Module]":
    """Return a constructor of a torchvision ResNet; `small`: 3 x 3 at first, and no max-pooling."""

    def build() -> "nn.Module":
        network = build_backbone(f"torchvision:{name}")
        if small:
            nn = import_module("torch.nn")
            network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            network.maxpool = nn.Identity()
        return network

    return build


BACKBONES: "dict[str, Callable[[], nn.Module]]" = {
    "conv4": _own("conv4", "Conv4"),
    "resnet12": _own("resnet12", "ResNet12"),
    "resnet12forcifar": _own("resnet12", "ResNet12", block_size=2),
    **{name: _resnet(name) for name in RESNETS},
    **{name + SMALL: _resnet(name, small=True) for name in RESNETS},
}


def check_backbone(name: str) -> bool:
    """Return whether a name may be a backbone's; a library's names are known to it alone."""
    return isinstance(name, str) and (name in BACKBONES or bool(library_of(name)[0]))


def build_backbone(name: str) -> "nn.Module":
    """Build the backbone `name`, with weights drawn at random.

    Raises:
        InputError: there is no such backbone, or its library is not installed.
    """
    if library_of(name)[0]:
        return import_module("ancor.models.libraries").library(name).build()
    return BACKBONES[choose("backbone", name, BACKBONES)]()
