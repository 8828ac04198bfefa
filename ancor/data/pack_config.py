"""The settings of images that are packed into one file."""

from dataclasses import dataclass

from ancor.data.transform_spec import SIDES
from ancor.runtime.settings import between, check_settings, one_of, setting

ENCODINGS = ("uncompressed", "jpeg")


@dataclass(frozen=True)
class PackConfig:
    """How images are stored in one file (`ancor.data.pack`).

    Attributes:
        size: pixels of the shorter side; larger images are resized. None: 256, or as they are where
            all images of the dataset are of one size.
        encoding: `uncompressed`, of which a crop is read alone, or `jpeg`.
        quality: of JPEG, 1 to 100.
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
    quality: int = setting(90, "of JPEG, 1 to 100", between(1, 100))

    def __post_init__(self) -> None:
        check_settings(self)
