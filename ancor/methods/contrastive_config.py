"""The settings of the contrastive methods beside ANCOR; defaults are their authors'."""

from dataclasses import dataclass, replace

from ancor.errors import InputError
from ancor.methods.config import (
    MethodConfig,
    length_setting,
    momentum_setting,
    temperature_setting,
)
from ancor.runtime.settings import above, at_least, between, one_of, setting

ANCHORS = ("all", "one")


@dataclass(frozen=True)
class EmbeddingConfig(MethodConfig):
    """What the settings of methods that use an embedding alone have."""

    def check(self, head: str) -> None:
        """Raise an InputError unless the head makes an embedding and nothing else."""
        if head != "none":
            raise InputError(f"{self.name} uses an embedding, not `head` {head}; use `head` none")


@dataclass(frozen=True)
class SupConConfig(EmbeddingConfig):
    """SupCon's settings; defaults are its authors'.

    Attributes:
        temperature: T of the logits.
        base_temperature: the loss is scaled by T over it.
        anchors: whose loss is averaged: that of `all` views, or of the first alone, `one`.
    """

    temperature: float = temperature_setting(0.07)
    base_temperature: float = setting(
        0.07, "the loss is scaled by the temperature over this", above(0), metavar="T"
    )
    anchors: str = setting(
        "all", "views whose loss counts: all, or one, the first of an image", one_of(ANCHORS)
    )


@dataclass(frozen=True)
class SimCLRConfig(SupConConfig):
    """SimCLR's settings, where they differ."""

    temperature: float = temperature_setting(0.5)


@dataclass(frozen=True)
class GrafitConfig(EmbeddingConfig):
    """What MaskCon and the modes beside it share; defaults are its authors'.

    Attributes:
        temperature: T1 of the logits.
        coarse_weight: w, the share of the loss that follows coarse labels.
        encoder_momentum: m of the key encoder's moving average.
        queue_length: keys K of the queue; `auto`: as many as there are images.
    """

    temperature: float = temperature_setting(0.1)
    coarse_weight: float = setting(
        0.5, "weight of what follows coarse labels in the loss", between(0, 1), metavar="W"
    )
    encoder_momentum: float = momentum_setting(0.99)
    queue_length: int | str = length_setting(8192)

    def resolved(self, images_of_class: list[int], batch_size: int) -> "GrafitConfig":
        """Return this with a queue length for a training set of that many images a class."""
        length = sum(images_of_class) if self.queue_length == "auto" else self.queue_length
        return replace(self, queue_length=length)


@dataclass(frozen=True)
class MaskConConfig(GrafitConfig):
    """MaskCon's settings, with T2 of its soft targets."""

    target_temperature: float = setting(
        0.05, "temperature of MaskCon's soft targets", above(0), metavar="T"
    )


@dataclass(frozen=True)
class CoinsConfig(GrafitConfig):
    """CoIns' settings: `coarse_weight` is the factor of the coarse loss, beside 1 of the other."""

    temperature: float = temperature_setting(0.2)
    coarse_weight: float = setting(0.5, "factor of the coarse loss", at_least(0), metavar="W")
    encoder_momentum: float = momentum_setting(0.999)
    queue_length: int | str = length_setting(65536)
