"""From a file's bytes to an RGB image, whatever kind of image it is."""

import struct
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from ancor.data.files import HOW_TO_READ, formats
from ancor.errors import InputError, RunError

if TYPE_CHECKING:
    from PIL import Image

HEIC = (b"heic", b"heix", b"hevc")  # brands that the first bytes of such a file name
# What to do about a file that is no image.
ADVICE = "replace or remove it, or give --skip-bad-images"


def read_image(path: str, upright: bool = False, advice: str = ADVICE) -> "Image.Image":
    """Read an image file (see `decode`).

    Raises:
        InputError: it cannot be read as an image.
        RunError: the file has vanished.
    """
    return decode(read_bytes(path), path, upright, advice)


def read_bytes(path: str) -> bytes:
    """Read a file of the dataset; RunError where it has vanished."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise RunError(f"{path!r} was there at the start and has vanished") from error
    except OSError as error:
        raise InputError(f"cannot read {path!r} ({error.strerror}); check it") from error


def decode(content: bytes, name: str, upright: bool = False, advice: str = ADVICE) -> "Image.Image":
    """Decode an image into a PIL image of mode RGB.

    Of an animation the first frame is taken, of 16-bit grey the upper eight bits.

    Args:
        content: the file's bytes.
        name: what errors call it.
        upright: whether to turn it as its EXIF orientation says.
        advice: the end of an error's message.

    Raises:
        InputError: it is empty, cut off, no image, a decompression bomb, or of 32-bit pixels.
    """

    def read() -> "Image.Image":
        if not content:
            raise ValueError("the file is empty")
        if "HEIF" not in formats() and _is_heic(content):
            raise ValueError(f"it is HEIC: {HOW_TO_READ['HEIF']}")
        return _opened(content)

    return _as_rgb(read, name, upright, advice)


def _is_heic(content: bytes) -> bool:
    return content[4:8] == b"ftyp" and any(brand in content[8:40] for brand in HEIC)


def as_rgb(image: "Image.Image", name: str, advice: str) -> "Image.Image":
    """Turn an open PIL image upright and into mode RGB; InputError as by `decode`."""
    return _as_rgb(lambda: image, name, True, advice)


def _as_rgb(read: Callable, name: str, upright: bool, advice: str) -> "Image.Image":
    from PIL import Image, ImageOps

    broken = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError)
    broken += (OverflowError, struct.error, zlib.error, Image.DecompressionBombError)
    broken += (RuntimeError,)  # of the readers of AVIF and HEIC
    try:
        image = read()
        image.load()
        if upright:
            image = ImageOps.exif_transpose(image)
        return image if image.mode == "RGB" else _rgb(image)
    except broken as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = f"no image of the kinds {', '.join(formats())}"
        raise InputError(f"{name!r} cannot be decoded ({reason}); {advice}") from error


def _opened(content: bytes) -> "Image.Image":
    """Read an image's header; an error where it announces more pixels than Pillow thinks sound.

    Pillow itself only warns of up to twice as many. No pixel has been unpacked yet.
    """
    from PIL import Image

    for kind in (Image.DecompressionBombWarning, UserWarning):  # both say what is an error or fine
        warnings.filterwarnings("ignore", category=kind, module="PIL")
    image = Image.open(BytesIO(content), formats=formats())
    width, height = image.size
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError(
            f"{width} x {height} pixels; at most {Image.MAX_IMAGE_PIXELS} are accepted, as more "
            "may be made to fill the memory"
        )
    return image


def _rgb(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels, mode {image.mode}, have no known range")
    # A palette's transparency goes by way of RGBA, or Pillow warns on every image.
    return (image.convert("RGBA") if image.mode == "P" else image).convert("RGB")
