"""The backbones of torchvision."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchvision import models

from ancor.errors import choose
from ancor.models.libraries import Library, Published, built, copy_state


class Torchvision(Library):
    """A classifier of torchvision without its last layer."""

    def __init__(self, name: str) -> None:
        known = list(models.list_models(module=models))
        arch, dot, tag = name.partition(".")
        super().__init__(choose("backbone of torchvision", arch, known))
        weights = models.get_model_weights(arch)
        self._weights, self._tagged = weights.DEFAULT, bool(dot)
        if dot:
            self._weights = weights[
                choose(f"weights of torchvision:{arch}", tag, list(weights.__members__))
            ]

    def build(self) -> nn.Module:
        """Build it."""
        return built(self._create)

    def _create(self) -> nn.Module:
        options = {}
        if self.name in ("googlenet", "inception_v3"):
            # As with their published weights; the losses beside the last are not for features.
            options = {"init_weights": False, "aux_logits": False, "transform_input": True}
        network = models.get_model(self.name, weights=None, **options)
        layers = [
            (n, m) for n, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))
        ]
        name, last = layers[-1]
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, nn.Identity())
        linear = isinstance(last, nn.Linear)
        network.out_features = last.in_features if linear else last.in_channels
        return network

    def preprocessing(self) -> dict[str, Any]:
        """Return what its weights' transforms say."""
        return self._preprocessing(self._weights)

    def _preprocessing(self, weights: models.WeightsEnum) -> dict[str, Any]:
        told = weights.transforms()
        (size,), (resize,) = told.crop_size, told.resize_size
        return {
            "image_size": size,
            "mean": tuple(told.mean),
            "std": tuple(told.std),
            "interpolation": told.interpolation.value,
            "crop_pct": math.floor(1e6 * size / resize) / 1e6,  # of which follows no side too small
            "crop_mode": "center",
        }

    def published(self) -> Published:
        """Return its weights."""
        return Published(
            str(self._weights), self._weights.url, license=self._weights.meta.get("license", "")
        )

    def other_tags(self) -> list[str]:
        """List the weights whose transforms say something else than the default's."""
        own, known = self.preprocessing(), type(self._weights)
        return [w.name for w in known if not self._tagged and self._preprocessing(w) != own]

    def load(
        self, network: nn.Module, tensors: Mapping[str, Tensor]
    ) -> tuple[list[str], list[str]]:
        """Copy what it has names for."""
        return copy_state(network, tensors)
