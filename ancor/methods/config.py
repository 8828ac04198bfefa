"""The settings of the methods."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ancor.errors import InputError
from ancor.runtime.settings import Check, above, at_least, between, check_settings, one_of, setting

QUEUES = ("multi", "single", "none")
QUEUE_DTYPES = ("fp32", "bf16")
METRICS = ("angular", "norm")
CONTRASTIVE = ("cst_by_class", "cst_all_by_class", "cst_all")
CALCULATORS = ("cls", *CONTRASTIVE)
ANCHORS = ("all", "one")


def queue_length(text: str) -> int | str:
    """Parse a queue length: a number, or `auto`."""
    return text if text == "auto" else int(text)


def _is_queue_length(value: int | str) -> bool:
    return value == "auto" or (type(value) is int and value >= 1)


@dataclass(frozen=True)
class MethodConfig:
    """What the settings of every method have.

    Attributes:
        name: of the method, in `ancor.methods.registry`.
    """

    name: str = setting(
        "ancor",
        "training method; the settings below make ancor's variants",
        flags=("--method",),
        kw_only=True,
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def resolved(self, images_of_class: list[int], batch_size: int) -> "MethodConfig":
        """Return this with what follows from the training set.

        Args:
            images_of_class: number of training images of each class.
            batch_size: images of a step, over all processes.

        Raises:
            InputError: a setting does not fit these numbers.
        """
        return self

    def check(self, head: str) -> None:
        """Raise an InputError for a combination with this head that has no meaning."""


def _temperature(default: float) -> Any:
    return setting(
        default, "temperature of the contrastive logits", above(0), flags=("--cst-t",), metavar="T"
    )


def _momentum(default: float) -> Any:
    return setting(
        default, "momentum of the key encoder", between(0, 1), flags=("--encoder-m",), metavar="M"
    )


def _queue_length(default: int) -> Any:
    return setting(
        default,
        "keys that a queue holds; auto: as many as the largest class has images",
        Check(_is_queue_length, "1 or more, or auto"),
        flags=("--queue-k",),
        metavar="K",
        parse=queue_length,
    )


@dataclass(frozen=True)
class AncorConfig(MethodConfig):
    """The parts of ANCOR and of the methods that share them.

    Attributes:
        queue: `multi` (one a class), `single` or `none`.
        queue_length: keys K that a queue holds; `auto`: as many as there are images for it
            (`resolved` replaces it by the number).
        queue_dtype: what keys are stored in, `fp32` or `bf16`.
        metric: `angular` or `norm`.
        calculators: which losses are computed, each named by how its logits are made.
        loss_weights: factor of each loss in the total; None: all 1, as in the paper.
        temperature: T of the contrastive logits.
        encoder_momentum: m of the key encoder's moving average.
        drop_unfilled: leave queue slots that hold no key yet out of the negatives.
    """

    queue: str = setting(
        "multi", "multi (one for each class), single or none", one_of(QUEUES), metavar="KIND"
    )
    queue_length: int | str = _queue_length(65536)
    metric: str = setting("angular", "angular or norm", one_of(METRICS))
    calculators: tuple[str, ...] = setting(
        ("cls", "cst_by_class"),
        f"losses: {', '.join(CALCULATORS)}",
        one_of(CALCULATORS),
        flags=("--calc-types",),
    )
    temperature: float = _temperature(0.2)
    encoder_momentum: float = _momentum(0.999)
    drop_unfilled: bool = setting(
        False, "leave queue slots that hold no key yet out of the negatives"
    )
    queue_dtype: str = setting(
        "fp32", "what keys are stored in: fp32 or bf16", one_of(QUEUE_DTYPES)
    )
    loss_weights: tuple[float, ...] | None = setting(
        None,
        "factor of each loss in the total",
        above(0),
        metavar="W",
        unset="1 each",
    )

    @property
    def contrastive(self) -> tuple[str, ...]:
        """The losses that need keys."""
        return tuple(name for name in self.calculators if name in CONTRASTIVE)

    def resolved(self, images_of_class: list[int], batch_size: int) -> "AncorConfig":
        """Return this with a queue length for a training set of that many images a class.

        `auto` is the largest class for a queue a class, all images for a single one.
        """
        if self.queue_length != "auto":
            return self
        longest = max(images_of_class) if self.queue == "multi" else sum(images_of_class)
        return replace(self, queue_length=longest)

    def check(self, head: str) -> None:
        """Raise an InputError for a combination with this head that has no meaning."""
        for complaint in self._complaints(head):
            raise InputError(complaint)

    def _complaints(self, head: str) -> Iterator[str]:
        by_class = [name for name in self.contrastive if name.endswith("_by_class")]
        calculators = " ".join(self.calculators)
        weights = self.loss_weights
        if not self.calculators:
            yield "`calculators` is empty; name at least one"
        if weights is not None and len(weights) != len(self.calculators):
            yield (
                f"`loss_weights` {' '.join(map(str, weights))} and `calculators` {calculators} "
                "differ in number; give one weight for each loss"
            )
        if len(set(self.calculators)) < len(self.calculators):
            yield f"`calculators` {calculators} names one twice; name each once"
        if "cls" in self.calculators and head == "none":
            yield (
                "`calculators` cls needs class logits and `head` none has none; "
                "use `head` seq, fork or cls, or leave cls out"
            )
        if not self.contrastive:
            return
        first = self.contrastive[0]
        if head == "cls":
            yield (
                f"`calculators` {first} needs an embedding and `head` cls has none; "
                "use `head` seq, fork or none, or `calculators` cls"
            )
        if self.queue == "none":
            yield (
                f"`calculators` {first} takes its negatives from a queue and `queue` none has "
                "none; use `queue` multi or single"
            )
        if by_class and self.queue == "single":
            yield (
                f"`calculators` {by_class[0]} needs a queue for each class; use `queue` multi, "
                "or `calculators` cst_all with `queue` single"
            )
        if by_class and self.metric == "angular" and head != "seq":
            yield (
                f"`calculators` {by_class[0]} with `metric` angular measures angles around class "
                f"weights of the embedding's size, which `head` {head} lacks; use `head` seq or "
                "`metric` norm"
            )


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

    temperature: float = _temperature(0.07)
    base_temperature: float = setting(
        0.07, "the loss is scaled by the temperature over this", above(0), metavar="T"
    )
    anchors: str = setting(
        "all", "views whose loss counts: all, or one, the first of an image", one_of(ANCHORS)
    )


@dataclass(frozen=True)
class SimCLRConfig(SupConConfig):
    """SimCLR's settings, where they differ."""

    temperature: float = _temperature(0.5)


@dataclass(frozen=True)
class GrafitConfig(EmbeddingConfig):
    """What MaskCon and the modes beside it share; defaults are its authors'.

    Attributes:
        temperature: T1 of the logits.
        coarse_weight: w, the share of the loss that follows coarse labels.
        encoder_momentum: m of the key encoder's moving average.
        queue_length: keys K of the queue; `auto`: as many as there are images.
    """

    temperature: float = _temperature(0.1)
    coarse_weight: float = setting(
        0.5, "weight of what follows coarse labels in the loss", between(0, 1), metavar="W"
    )
    encoder_momentum: float = _momentum(0.99)
    queue_length: int | str = _queue_length(8192)

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

    temperature: float = _temperature(0.2)
    coarse_weight: float = setting(0.5, "factor of the coarse loss", at_least(0), metavar="W")
    encoder_momentum: float = _momentum(0.999)
    queue_length: int | str = _queue_length(65536)
