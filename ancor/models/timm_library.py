"""The backbones of timm, which is an extra."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ancor.errors import InputError, choose
from ancor.models.libraries import Library, Published, built
from ancor.runtime.devices import shapes_only
from ancor.runtime.lazy import imported


class Timm(Library):
    """A backbone of timm: its pooled features, or what its head makes of them before the classes.

    Networks whose position embedding can follow the image's size are made so.
    """

    def __init__(self, name: str) -> None:
        try:
            timm = imported("timm", without=["wandb"])  # half a second
        except ImportError as error:
            raise InputError(
                f"backbone 'timm:{name}' needs timm: pip install 'ancor-toolkit[timm]'"
            ) from error
        super().__init__(name)
        self._timm = timm
        arch, dot, tag = name.partition(".")
        choose("backbone of timm", arch, timm.list_models())
        if dot:
            tags = [t.partition(".")[2] for t in timm.models.get_arch_pretrained_cfgs(arch)]
            choose(f"tag of timm:{arch}", tag, tags)
        with shapes_only():
            self._options = {"num_classes": 0}
            network = self._create()
            if getattr(network, "dynamic_img_size", None) is False:
                self._options["dynamic_img_size"] = True
                network = self._create()
        self.on_meta, self.config = network.eval(), network.pretrained_cfg
        _, height, self.side = self.config["input_size"]
        if height != self.side:
            raise InputError(
                f"backbone 'timm:{name}' is made for images of {height} x {self.side} pixels, and "
                "those here are square; choose another"
            )

    @cached_property
    def _width(self) -> int:
        """Its number of features, which takes a pass."""
        with shapes_only():
            features = self.on_meta(torch.zeros(2, 3, self.side, self.side))
        if not isinstance(features, Tensor) or features.ndim != 2:
            raise InputError(
                f"backbone 'timm:{self.name}' gives no features (N, F); choose one for "
                "classification"
            )
        return features.shape[1]

    def _create(self, **options: Any) -> nn.Module:
        return built(lambda: self._timm.create_model(self.name, **self._options, **options))

    def build(self) -> nn.Module:
        """Build it."""
        network = self._create()
        network.out_features = self._width
        return network

    def preprocessing(self) -> dict[str, Any]:
        """Return what its `pretrained_cfg` says."""
        return self._preprocessing(self.config)

    def _preprocessing(self, config: dict[str, Any]) -> dict[str, Any]:
        found = self._timm.data.resolve_data_config({}, pretrained_cfg=config)
        return {
            "image_size": found["input_size"][-1],
            "mean": tuple(found["mean"]),
            "std": tuple(found["std"]),
            "interpolation": found["interpolation"].replace("random", "bicubic"),
            "crop_pct": found["crop_pct"],
            "crop_mode": found["crop_mode"],
        }

    def published(self) -> Published | None:
        """Return the weights of its tag."""
        told = self.config
        if not told.get("hf_hub_id") and not told.get("url"):
            return None
        tag = told.get("tag")
        return Published(
            f"timm:{told['architecture']}{f'.{tag}' if tag else ''}",
            told.get("url") or "",
            told.get("hf_hub_id") or "",
            told.get("hf_hub_filename") or "model.safetensors",
            told.get("license") or "",
        )

    def other_tags(self) -> list[str]:
        """List the tags whose `pretrained_cfg` says something else than the default's."""
        if "." in self.name:
            return []
        known = self._timm.models.get_arch_pretrained_cfgs(self.name)
        told = {name: self._preprocessing(config.to_dict()) for name, config in known.items()}
        own = self.preprocessing()
        return [name.partition(".")[2] for name, theirs in told.items() if theirs != own]

    def load(
        self, network: nn.Module, tensors: Mapping[str, Tensor]
    ) -> tuple[list[str], list[str]]:
        """Copy them as timm does: its own filters know the names of others."""
        if "_conv_stem.weight" in tensors:
            tensors = efficientnet_lite(tensors, network, self.name)
        told = {"state_dict": dict(tensors)}
        with _loads() as seen:
            made = self._create(pretrained=True, pretrained_cfg_overlay=told)
        network.load_state_dict(made.state_dict())
        names = self.config.get("classifier") or ()
        layers = (names,) if isinstance(names, str) else names
        classifier = [f"{n}.{part}" for n in layers for part in ("weight", "bias")]
        unused = [name for name in classifier if name in tensors and name not in made.state_dict()]
        for result in seen:
            unused += [name for name in result.unexpected_keys if name not in unused]
        return [name for result in seen for name in result.missing_keys], unused


@contextmanager
def _loads() -> Iterator[list]:
    """Collect what modules say of the weights that they load; timm tells its log alone.

    That log is silent meanwhile: without a handler it writes all names on the console.
    """
    seen, load = [], nn.Module.load_state_dict
    own = logging.getLogger("timm")
    level = own.level

    def watched(module: nn.Module, *given: Any, **options: Any) -> Any:
        seen.append(load(module, *given, **options))
        return seen[-1]

    nn.Module.load_state_dict = watched
    own.setLevel(logging.ERROR)
    try:
        yield seen
    finally:
        nn.Module.load_state_dict = load
        own.setLevel(level)


def efficientnet_lite(
    tensors: Mapping[str, Tensor], network: nn.Module, name: str
) -> dict[str, Tensor]:
    """Rename the tensors of efficientnet_lite_pytorch's files as timm has them.

    Args:
        tensors: by the file's names.
        network: whose they become.
        name: timm's name of it.

    Raises:
        InputError: the backbone is not one of TensorFlow's padding, with which they were trained:
            in the others every shape fits and the features are wrong.
    """
    if not name.startswith("tf_efficientnet_lite"):
        raise InputError(
            f"backbone 'timm:{name}': the file's weights are EfficientNet-Lite's, trained with "
            "TensorFlow's padding; choose timm:tf_efficientnet_lite0 (to 4)"
        )
    stages = enumerate(network.blocks)
    places = [f"blocks.{s}.{b}." for s, stage in stages for b in range(len(stage))]
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    outer["_fc"] = "classifier"
    plain = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    expanded = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw"}
    expanded |= {"_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}

    def renamed(old: str) -> str:
        if not old.startswith("_blocks."):
            layer, _, rest = old.partition(".")
            return f"{outer.get(layer, layer)}.{rest}"
        _, number, layer, rest = old.split(".", 3)
        names = expanded if f"_blocks.{number}._expand_conv.weight" in tensors else plain
        place = places[int(number)] if int(number) < len(places) else f"blocks.{number}."
        return f"{place}{names.get(layer, layer)}.{rest}"

    return {renamed(old): tensor for old, tensor in tensors.items()}
