"""The settings of the methods that keep something of every training image."""

from dataclasses import dataclass

from ancor.errors import InputError
from ancor.methods.config import temperature_setting
from ancor.methods.contrastive_config import EmbeddingConfig
from ancor.runtime.settings import as_words, at_least, between, setting


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
