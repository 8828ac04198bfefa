"""The encoder: a backbone and a head."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ancor.models.backbones import build_backbone
from ancor.models.config import EncoderConfig
from ancor.models.heads import build_head


class EncoderOutput(NamedTuple):
    """Pooled features (N, F); embedding (N, D) and class logits (N, C) where the head has them."""

    features: Tensor
    embedding: Tensor | None
    logits: Tensor | None


class Encoder(nn.Module):
    """A backbone and a head; its four forms follow from `config.head`.

    Args:
        config: what defines it.
        backbone: one of `config.arch`, with its weights; None: a new one.
    """

    def __init__(self, config: EncoderConfig, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.arch) if backbone is None else backbone
        self.head = build_head(config, self.backbone.out_features)

    def forward(self, images: Tensor) -> EncoderOutput:
        """Encode images (N, 3, H, W); or go on from what the backbone made of them, (N, F)."""
        features = images if images.ndim == 2 else self.backbone(images)
        return EncoderOutput(features, *self.head(features))

    @property
    def class_weight(self) -> Tensor | None:
        """Weight of the layer that makes the logits: (C, D) for `seq`, (C, F) for `fork`, `cls`."""
        return self.classifier.weight if self.config.classifies else None

    def class_weight_among(self, kind: str) -> Tensor | None:
        """Class weights as directions among the outputs of a kind; None where they are not.

        Args:
            kind: `features` or `embedding`, fields of `EncoderOutput`.
        """
        beside_embedding = kind == "embedding" and self.config.head == "seq"
        on_backbone = kind == "features" and self.config.head != "seq" and not self.config.mlp
        return self.class_weight if beside_embedding or on_backbone else None

    def with_classes(self, rows: Sequence[int]) -> "Encoder":
        """Return one of this backbone whose classifier has only some classes, in another order.

        Its `config` stays that of the whole, which is what is saved.

        Args:
            rows: numbers of the classes that it has; none: its classifier is no use.
        """
        other = copy.deepcopy(self, {id(self.backbone): self.backbone})
        layer = other.classifier
        chosen = torch.tensor(rows, dtype=torch.int64, device=layer.weight.device)
        layer.weight = nn.Parameter(layer.weight.detach()[chosen])
        layer.bias = nn.Parameter(layer.bias.detach()[chosen])
        layer.out_features = len(rows)
        return other

    @property
    def embedder(self) -> nn.Module:
        """The layer that makes the embedding (heads `seq`, `fork`, `none`)."""
        return self._final.fc1 if self.config.head in ("seq", "fork") else self._final

    @property
    def classifier(self) -> nn.Module:
        """The layer that makes the logits (heads `seq`, `fork`, `cls`)."""
        return self._final.fc2 if self.config.head in ("seq", "fork") else self._final

    @property
    def _final(self) -> nn.Module:
        return self.head[-1] if self.config.mlp else self.head

    def _shared_modules(self) -> Iterator[nn.Module]:
        """Yield the modules that a key encoder has too, in one order for all heads."""
        yield self.backbone
        if self.config.mlp:
            yield self.head[0]
        yield self._final if self.config.head == "cls" else self.embedder

    def shared_parameters(self) -> list[nn.Parameter]:
        """List the parameters of which a key encoder keeps the moving average."""
        return [p for module in self._shared_modules() for p in module.parameters()]

    def shared_state(self) -> list[Tensor]:
        """List the parameters and buffers that a key encoder has too, in its own order."""
        return [t for module in self._shared_modules() for t in module.state_dict().values()]

    @property
    def key_config(self) -> EncoderConfig:
        """The key encoder's form: embeddings only (logits with head `cls`, as in the files)."""
        return replace(self.config, head="cls" if self.config.head == "cls" else "none")

    def key_encoder(self) -> "Encoder":
        """Return a new encoder without gradient that starts as a copy of this one.

        Its `shared_parameters` pair with this one's.
        """
        key = Encoder(self.key_config)
        for ours, theirs in zip(self._shared_modules(), key._shared_modules(), strict=True):
            theirs.load_state_dict(ours.state_dict())
        return key.requires_grad_(False)
