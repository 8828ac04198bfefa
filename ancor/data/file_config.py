"""The settings of the commands that write packed images and that look a dataset through."""

from dataclasses import dataclass

from ancor.data.transform_spec import SIDES
from ancor.errors import InputError
from ancor.runtime.settings import at_least, between, check_settings, one_of, setting

ENCODINGS = ("uncompressed", "jpeg")
QUALITY = 90  # of JPEG


@dataclass(frozen=True)
class PackConfig:
    """How images are stored in one file (`ancor.data.pack`).

    Attributes:
        size: pixels of the shorter side; larger images are resized. None: 256, or as they are where
            all images of the dataset are of one size.
        encoding: `uncompressed`, of which a crop is read alone, or `jpeg`.
        quality: of JPEG, 1 to 100; None: 90 there.
    """

    size: int | None = setting(
        None,
        "shorter side of the stored images; smaller ones stay as they are",
        between(*SIDES),
        metavar="PX",
        unset="256; images of one size as they are",
    )
    encoding: str = setting(
        "uncompressed",
        "uncompressed, of which a crop is read alone, or jpeg, of a tenth of the bytes",
        one_of(ENCODINGS),
    )
    quality: int | None = setting(
        None, "of jpeg, 1 to 100", between(1, 100), metavar="N", unset=str(QUALITY)
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.quality is not None and self.encoding != "jpeg":
            raise InputError(
                f"`quality` {self.quality} is of jpeg, and `encoding` is {self.encoding}; leave it "
                "out, or give `encoding` jpeg"
            )

    @property
    def jpeg_quality(self) -> int | None:
        """What JPEG is written by; None: images are not compressed."""
        return (self.quality or QUALITY) if self.encoding == "jpeg" else None


@dataclass(frozen=True)
class CheckConfig:
    """How a dataset is looked through (`ancor.data.report`), beside the episodes it is to give.

    Attributes:
        n_shots: support images of those episodes.
        deep: whether near duplicates are looked for.
        model_path: the encoder by whose features labels are doubted; None: they are not.
        html: file of the page with the pictures; None: none.
    """

    n_shots: int = setting(1, "support images a class", at_least(1), group="episodes")
    deep: bool = setting(False, "look for near duplicates inside and across partitions too")
    model_path: str | None = setting(
        None,
        "doubt labels by the features of this encoder: a checkpoint, or timm:NAME",
        metavar="FILE",
    )
    html: str | None = setting(
        None, "write a page with the pictures of what was found", metavar="FILE"
    )

    def __post_init__(self) -> None:
        check_settings(self)
