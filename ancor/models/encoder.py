"""The encoder: a backbone and a head."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor, nn

from ancor.errors import InputError, choose
from ancor.models.backbones import BACKBONES, build_backbone
from ancor.models.heads import BARE, HEADS, build_head

WIDEST = 1_000_000  # outputs of a head: more are a mistake, and would fill the memory first


@dataclass(frozen=True)
class EncoderConfig:
    """What defines an encoder's weights: their names and shapes follow from it.

    Attributes:
        arch: name of the backbone (`ancor.models.backbones.BACKBONES`).
        head: name of the head (`ancor.models.heads.HEADS`); `BARE` in files without one.
        mlp: whether a hidden layer stands before the head.
        dim: size D of the embedding.
        num_classes: number C of classes that the head tells apart.
    """

    arch: str = "resnet50"
    head: str = "seq"
    mlp: bool = False
    dim: int = 128
    num_classes: int = 1

    def __post_init__(self) -> None:
        choose("backbone", self.arch, BACKBONES)
        if self.head != BARE:
            choose("head", self.head, HEADS)
        for what, value in (("--cst-dim", self.dim), ("number of classes", self.num_classes)):
            if type(value) is not int or not 1 <= value <= WIDEST:
                raise InputError(f"{what} {value!r}: accepted: 1 to {WIDEST}")

    @property
    def embeds(self) -> bool:
        """Whether the head makes an embedding."""
        return self.head in ("seq", "fork", "none")

    @property
    def classifies(self) -> bool:
        """Whether the head makes class logits."""
        return self.head in ("seq", "fork", "cls")


class EncoderOutput(NamedTuple):
    """Pooled features (N, F); embedding (N, D) and class logits (N, C) where the head has them."""

    features: Tensor
    embedding: Tensor | None
    logits: Tensor | None


class Encoder(nn.Module):
    """A backbone and a head; its four forms follow from `config.head`."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.arch)
        self.head = build_head(
            config.head, config.mlp, self.backbone.out_features, config.dim, config.num_classes
        )

    def forward(self, images: Tensor) -> EncoderOutput:
        """Encode images (N, 3, H, W)."""
        features = self.backbone(images)
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
