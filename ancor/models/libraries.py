"""The backbones of torchvision and timm: their networks, preprocessing, and published weights.

A library is imported where one of its backbones is asked for; timm is an extra.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ancor.errors import InputError
from ancor.models.groups import batch_norms
from ancor.models.names import library_of
from ancor.runtime.devices import shapes_only
from ancor.runtime.lazy import imported

IMAGENET = re.compile(r"in(1k|12k|21k|22k)|imagenet", re.IGNORECASE)


@dataclass(frozen=True)
class Published:
    """Weights that a library publishes.

    Attributes:
        name: of the weights: `timm:resnet50.a1_in1k`, `ResNet50_Weights.IMAGENET1K_V2`.
        url: where they are; empty if only a repository is known.
        repository: on the Hugging Face hub; empty: none.
        file: their name there.
        license: as the library states it; empty: not at all.
    """

    name: str
    url: str = ""
    repository: str = ""
    file: str = ""
    license: str = ""


class Library(ABC):
    """A backbone of a library.

    Args:
        name: its name there, with its tag where it has one.

    Attributes:
        side: of the images that it is built for; None: the library does not tell.
    """

    side: int | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def build(self) -> nn.Module:
        """Build it with random weights; `out_features` tells F."""

    @cached_property
    def on_meta(self) -> nn.Module:
        """Itself without values, in evaluation: what is asked of its shapes allocates nothing."""
        with shapes_only():
            return self.build().eval()

    def has_batch_norm(self) -> bool:
        """Tell whether it has batch norm."""
        return bool(batch_norms(self.on_meta))

    @abstractmethod
    def preprocessing(self) -> dict[str, Any]:
        """Return what it wants of images, as settings of `ancor.data.config.DataConfig`."""

    @abstractmethod
    def published(self) -> Published | None:
        """Return its published weights; None: there are none."""

    @abstractmethod
    def other_tags(self) -> list[str]:
        """List the tags of its weights that want images prepared otherwise, if it has none."""

    @abstractmethod
    def load(
        self, network: nn.Module, tensors: Mapping[str, Tensor]
    ) -> tuple[list[str], list[str]]:
        """Copy weights by the library's names into a network.

        Returns:
            The names that it has and the weights lack, and those of the weights that it lacks.

        Raises:
            RuntimeError: shapes differ.
        """


def built(create: Callable[[], nn.Module]) -> nn.Module:
    """Return what `create` builds, on meta too where a library computes widths by tensors."""
    try:
        return create()
    except NotImplementedError:  # RegNets: tensors on meta have no values to compute with
        with torch.device("cpu"):
            return create().to("meta")


@cache
def library(backbone: str) -> Library:
    """Return a backbone's library; InputError where it knows no such name or is not installed."""
    of, name = library_of(backbone)
    module = imported(f"ancor.models.{of}_library")
    return getattr(module, of.capitalize())(name)


def copy_state(
    network: nn.Module, tensors: Mapping[str, Tensor], left: Collection[str] = ()
) -> tuple[list[str], list[str]]:
    """Copy tensors into a network by name; as `Library.load`. `left` names those that it keeps."""
    own = network.state_dict()  # which knows the versions of its names
    found = {name: tensor for name, tensor in tensors.items() if name in own and name not in left}
    missing = [name for name in own if name not in found]
    own.update(found)
    network.load_state_dict(own)
    return missing, [name for name in tensors if name not in found]


def check_image_size(backbone: str, size: int) -> None:
    """Raise an InputError where a library's backbone cannot pass images of a size."""
    if not library_of(backbone)[0] or size == library(backbone).side:
        return
    try:
        with shapes_only():
            library(backbone).on_meta(torch.empty(2, 3, size, size))
    except (AssertionError, RuntimeError, ValueError, TypeError) as error:
        own = library(backbone).preprocessing()["image_size"]
        raise InputError(
            f"`image_size` {size}: {backbone} cannot pass such images ({str(error).strip():.100}); "
            f"its own are of {own}"
        ) from error


def saw_imagenet(name: str) -> bool:
    """Return whether weights of this name were trained with the labels of ImageNet."""
    return bool(IMAGENET.search(name))
