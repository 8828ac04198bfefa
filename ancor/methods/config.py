"""The settings of the methods."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ancor.errors import InputError
from ancor.runtime.settings import Check, above, between, check_settings, one_of, setting

QUEUES = ("multi", "single", "none")
QUEUE_DTYPES = ("fp32", "bf16")
QUEUE_LENGTHS = ("auto", "class")  # beside a number
METRICS = ("angular", "norm")
BALANCES = ("none", "class", "sqrt")
CONTRASTIVE = ("cst_by_class", "cst_all_by_class", "cst_all")
CALCULATORS = ("cls", *CONTRASTIVE)


def _is_queue_length(words: tuple[str, ...], value: int | str) -> bool:
    return value in words or (type(value) is int and value >= 1)


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


def temperature_setting(default: float) -> Any:
    """Make the setting of the temperature of contrastive logits."""
    return setting(
        default, "temperature of the contrastive logits", above(0), flags=("--cst-t",), metavar="T"
    )


def momentum_setting(default: float) -> Any:
    """Make the setting of the key encoder's momentum."""
    return setting(
        default, "momentum of the key encoder", between(0, 1), flags=("--encoder-m",), metavar="M"
    )


def length_setting(default: int, by_class: bool = False) -> Any:
    """Make the setting of a queue's length; `by_class`: whether each class may have its own."""
    of_each = "; class: in each class's as many as it has images" * by_class
    words = QUEUE_LENGTHS if by_class else QUEUE_LENGTHS[:1]
    return setting(
        default,
        "keys that a queue holds; auto: as many as the largest class has images, or as there are "
        "images for a single queue" + of_each,
        Check(partial(_is_queue_length, words), f"1 or more, {' or '.join(words)}"),
        flags=("--queue-k",),
        metavar="K",
    )


@dataclass(frozen=True)
class AncorConfig(MethodConfig):
    """The parts of ANCOR and of the methods that share them.

    Attributes:
        queue: `multi` (one a class), `single` or `none`.
        queue_length: keys K that a queue holds; `auto`: as many as there are images for it
            (`resolved` replaces it by the number); `class`: for each class as many as it has
            images.
        queue_dtype: what keys are stored in, `fp32` or `bf16`.
        metric: `angular` or `norm`.
        calculators: which losses are computed, each named by how its logits are made.
        loss_weights: factor of each loss in the total; None: all 1, as in the paper.
        temperature: T of the contrastive logits.
        encoder_momentum: m of the key encoder's moving average.
        drop_unfilled: leave queue slots that hold no key yet out of the negatives.
        class_weighting: how much each class counts in the loss `cls` (`ancor.methods.balance`).
    """

    queue: str = setting(
        "multi", "multi (one for each class), single or none", one_of(QUEUES), metavar="KIND"
    )
    queue_length: int | str = length_setting(65536, by_class=True)
    metric: str = setting("angular", "angular or norm", one_of(METRICS))
    calculators: tuple[str, ...] = setting(
        ("cls", "cst_by_class"),
        f"losses: {', '.join(CALCULATORS)}",
        one_of(CALCULATORS),
        flags=("--calc-types",),
    )
    temperature: float = temperature_setting(0.2)
    encoder_momentum: float = momentum_setting(0.999)
    drop_unfilled: bool = setting(
        False, "leave queue slots that hold no key yet out of the negatives"
    )
    queue_dtype: str = setting(
        "fp32", "what keys are stored in: fp32 or bf16", one_of(QUEUE_DTYPES)
    )
    class_weighting: str = setting(
        "none",
        "weights of classes in the loss cls: none (each image alike), class (each class alike) or "
        "sqrt, between them",
        one_of(BALANCES),
        metavar="HOW",
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
        if self.queue_length == "class" and self.queue == "single":
            yield (
                "`queue_length` class is a length for each class and `queue` single has one for "
                "all; use `queue` multi, or `queue_length` auto"
            )
        if self.class_weighting != "none" and "cls" not in self.calculators:
            yield (
                f"`class_weighting` {self.class_weighting} is of the loss cls, which `calculators` "
                f"{calculators} does not name; leave it out, or see `balance`"
            )
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
