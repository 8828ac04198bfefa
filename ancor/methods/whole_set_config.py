"""The settings of the methods that keep something of every training image: SNCA and SCGM."""

from dataclasses import dataclass

from ancor.errors import InputError
from ancor.methods.config import METRICS, AncorConfig, temperature_setting
from ancor.methods.contrastive_config import EmbeddingConfig
from ancor.runtime.settings import above, as_words, at_least, between, one_of, setting

CLASS_NORMS = ("embedding", "means", "both", "none")


@dataclass(frozen=True)
class SncaConfig(EmbeddingConfig):
    """SNCA (defaults: the authors').

    Attributes:
        temperature: T, by which similarities are divided.
        margin: taken from the similarities to the image's own class.
        memory_momentum: share of a row of the memory that stays at a step; the first, then
            another from each epoch of `memory_schedule` on.
        memory_schedule: those epochs, from 0.
    """

    temperature: float = temperature_setting(0.05)
    margin: float = setting(
        0.0, "taken from the similarities to images of the own class", at_least(0)
    )
    memory_momentum: tuple[float, ...] = setting(
        (0.5, 0.8, 0.9),
        "share of a memory's row that stays at a step, at first and from each of the epochs of "
        "the memory's schedule on",
        between(0, 1),
        metavar="M",
    )
    memory_schedule: tuple[int, ...] = setting(
        (80, 120), "epochs at which the memory's momentum changes", metavar="EPOCH"
    )

    def momentum(self, epoch: int) -> float:
        """Return the memory's momentum in an epoch, from 0."""
        return self.memory_momentum[sum(epoch >= start for start in self.memory_schedule)]

    def resolved(self, images_of_class: list[int], batch_size: int) -> "SncaConfig":
        """Return this; InputError where no image has another of its class."""
        if max(images_of_class) < 2:
            raise InputError("snca compares images of a class, and each class has a single one")
        return self

    def check(self, head: str) -> None:
        """Raise an InputError for another head than `none`, and where momenta and epochs differ."""
        super().check(head)
        if len(self.memory_momentum) != len(self.memory_schedule) + 1:
            raise InputError(
                f"`memory_momentum` {as_words(self.memory_momentum)} and `memory_schedule` "
                f"{as_words(self.memory_schedule)}: expected one momentum more than epochs"
            )


@dataclass(frozen=True)
class SubclassConfig(EmbeddingConfig):
    """What SCGM's two methods share (defaults: the authors').

    Attributes:
        num_subclasses: Z, over all classes together.
        subclass_temperature: tau, by which similarities to subclasses are divided.
        subclass_weight: alpha, factor of the losses of subclasses.
        sharpness: lambda, the power of probabilities in the assignment.
        assign_every: epochs from one assignment to the next.
    """

    num_subclasses: int = setting(
        100, "subclasses that are sought, over all classes", at_least(1), metavar="Z"
    )
    subclass_temperature: float = setting(
        0.1, "temperature of the similarities to subclasses", above(0), metavar="T"
    )
    subclass_weight: float = setting(
        0.5, "factor of the losses of subclasses", at_least(0), metavar="W"
    )
    sharpness: float = setting(
        25.0, "power of the probabilities by which images are assigned to subclasses", above(0)
    )
    assign_every: int = setting(
        5, "epochs from one assignment to subclasses to the next", at_least(1)
    )

    def resolved(self, images_of_class: list[int], batch_size: int) -> "SubclassConfig":
        """Return this; InputError where there are fewer subclasses than classes."""
        if self.num_subclasses < len(images_of_class):
            raise InputError(
                f"`num_subclasses` {self.num_subclasses}: expected {len(images_of_class)} or more, "
                "one for each class"
            )
        return super().resolved(images_of_class, batch_size)


@dataclass(frozen=True)
class ScgmGConfig(SubclassConfig):
    """SCGM-G.

    Attributes:
        metric: how embeddings are compared with subclasses: `norm`, or `angular` around the
            class's mean.
        class_norm: what has unit length in the class logits: `embedding`, `means`, `both`, `none`.
    """

    metric: str = setting("norm", "angular or norm", one_of(METRICS))
    class_norm: str = setting(
        "embedding",
        f"what has unit length in the class logits: {', '.join(CLASS_NORMS)}",
        one_of(CLASS_NORMS),
        metavar="WHAT",
    )


@dataclass(frozen=True)
class ScgmAConfig(SubclassConfig, AncorConfig):
    """SCGM-A: ANCOR's settings, and those of the subclasses.

    Attributes:
        class_temperature: by which similarities of a subclass to the classes are divided.
        detach_means: keep the gradients of the subclasses' losses from the means, as published.
    """

    class_temperature: float = setting(
        1.0, "temperature of a subclass's similarities to classes", above(0), metavar="T"
    )
    detach_means: bool = setting(
        True, "train no means by the losses of subclasses, as published", negatable=True
    )

    def check(self, head: str) -> None:
        """Raise an InputError for another head than `none`, and as ANCOR's with head `seq`.

        Class means stand where that head has its weights.
        """
        EmbeddingConfig.check(self, head)
        AncorConfig.check(self, "seq")
