"""The settings of an encoder."""

from dataclasses import dataclass

from ancor.errors import InputError
from ancor.models.backbones import BACKBONES, check_backbone
from ancor.runtime.settings import Check, between, check_settings, one_of, setting

HEADS = ("seq", "fork", "cls", "none")
BARE = "absent"  # the head of files that hold a backbone alone; training accepts no such head
MAX_OUTPUTS = 1_000_000  # of a head: more are a mistake, and would fill the memory first
HEAD_HELP = "seq (classifier on the embedding), fork (both on the features), cls or none"


@dataclass(frozen=True)
class EncoderConfig:
    """What defines an encoder's weights: their names and shapes follow from it.

    Attributes:
        arch: name of the backbone (`ancor.models.backbones`).
        head: name of the head (`ancor.models.heads`); `BARE` in files without one.
        mlp: whether a hidden layer stands before the head.
        dim: size D of the embedding.
        num_classes: number C of classes that the head tells apart.
    """

    arch: str = setting(
        "resnet50",
        f"backbone: {', '.join(BACKBONES)}; timm:NAME or torchvision:NAME, of these libraries",
        Check(check_backbone, "", BACKBONES),
        flags=("-a", "--arch", "--model"),
    )
    head: str = setting("seq", HEAD_HELP, one_of((*HEADS, BARE)))
    mlp: bool = setting(False, "a hidden layer before the head", negatable=True)
    dim: int = setting(
        128,
        "size of the embedding",
        between(1, MAX_OUTPUTS),
        flags=("--cst-dim", "--dim"),
        metavar="D",
    )
    num_classes: int = 1

    def __post_init__(self) -> None:
        check_settings(self)
        if type(self.num_classes) is not int:
            raise InputError(f"number of classes {self.num_classes!r:.80}: expected int")
        between(1, MAX_OUTPUTS).require("number of classes", self.num_classes)

    @property
    def embeds(self) -> bool:
        """Whether the head makes an embedding."""
        return self.head in ("seq", "fork", "none")

    @property
    def classifies(self) -> bool:
        """Whether the head makes class logits."""
        return self.head in ("seq", "fork", "cls")
