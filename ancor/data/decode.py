"""From a file's bytes to an RGB image, whatever kind of image it is."""

import struct
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ancor.data.files import HOW_TO_READ, formats
from ancor.errors import InputError, RunError

HEIC = (b"heic", b"heix", b"hevc")  # brands that the first bytes of such a file name
# What to do about a file that is no image.
ADVICE = "replace or remove it, or give `skip_bad_images`"
LONGEST = 100  # times the shorter side; a longer image would take any memory when it is resized
BACKGROUND = "white"  # what shows through transparency, as on a page
SAMPLE_FORMAT, BITS_PER_SAMPLE, PHOTOMETRIC = 339, 258, 262  # tags of TIFF


def read_image(path: str, upright: bool = False, advice: str = ADVICE) -> Image.Image:
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


def decode(content: bytes, name: str, upright: bool = False, advice: str = ADVICE) -> Image.Image:
    """Decode an image into a PIL image of mode RGB.

    Of an animation the first frame is taken, of 16-bit gray the upper eight bits. Transparent
    pixels show white, whatever color is stored beneath; what is half transparent, as much of it.

    Args:
        content: the file's bytes.
        name: what errors call it.
        upright: whether to turn it as its EXIF orientation says.
        advice: the end of an error's message.

    Raises:
        InputError: it is empty, cut off, no image, of 32-bit or signed pixels, or of a size that
            `check_size` refuses.
    """

    def read() -> Image.Image:
        if not content:
            raise ValueError("the file is empty")
        if "HEIF" not in formats() and _is_heic(content):
            raise ValueError(f"it is HEIC: {HOW_TO_READ['HEIF']}")
        return _opened(content)

    return _as_rgb(read, name, upright, advice)


def stored_mode(content: bytes) -> str | None:
    """Return how an image file stores its pixels (`JPEG RGB`), or None where nothing tells."""
    try:
        with _opened(content) as image:
            return f"{image.format} {image.mode}"
    except unreadable():
        return None


def _is_heic(content: bytes) -> bool:
    return content[4:8] == b"ftyp" and any(brand in content[8:40] for brand in HEIC)


def as_rgb(image: Image.Image, name: str, advice: str) -> Image.Image:
    """Turn an open PIL image upright and into mode RGB; InputError as by `decode`."""
    return _as_rgb(lambda: image, name, True, advice)


def check_size(width: int, height: int, name: str, advice: str = ADVICE) -> None:
    """Raise an InputError where an image of these sides, in pixels, may be made to fill the memory.

    That is of more pixels than Pillow thinks sound (itself it only warns of up to twice as many),
    or so long that it grows without bound when its shorter side is resized.
    """
    most = Image.MAX_IMAGE_PIXELS
    if not min(width, height) or max(width, height) > LONGEST * min(width, height):
        reason = f"sides of a ratio up to {LONGEST} are accepted"
    elif most is not None and width * height > most:
        reason = f"at most {most} are accepted, as more may be made to fill the memory"
    else:
        return
    raise InputError(f"{name!r} is {width} x {height} pixels; {reason}; {advice}")


def unreadable() -> tuple[type[Exception], ...]:
    """Return what reading an image that is broken may raise."""
    broken = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, KeyError)
    broken += (OverflowError, struct.error, zlib.error, Image.DecompressionBombError)
    return (*broken, RuntimeError)  # of the readers of AVIF and HEIC


def _as_rgb(read: Callable, name: str, upright: bool, advice: str) -> Image.Image:
    try:
        image = read()
        check_size(*image.size, name, advice)  # no pixel has been unpacked yet
        form = _form(image)
        image.load()
        turned = ImageOps.exif_transpose(image) if upright else image
        opaque = turned.mode == "RGB" and "transparency" not in turned.info
        return turned if opaque else _rgb(turned, form)
    except InputError:
        raise
    except unreadable() as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = f"no image of the kinds {', '.join(formats())}"
        raise InputError(f"{name!r} cannot be decoded ({reason}); {advice}") from error


def _opened(content: bytes) -> Image.Image:
    """Read an image's header."""
    for kind in (Image.DecompressionBombWarning, UserWarning):  # both say what is an error or fine
        warnings.filterwarnings("ignore", category=kind, module="PIL")
    return Image.open(BytesIO(content), formats=formats())


class _Form(NamedTuple):
    """How a file stores its pixels, where Pillow's mode does not tell.

    Attributes:
        packing: Pillow's name of it, of a PNG that has not been loaded; else empty.
        bits: of a pixel of mode I;16.
        white_is_zero: whether such pixels count from white to black.
    """

    packing: str
    bits: int
    white_is_zero: bool


def _form(image: Image.Image) -> _Form:
    """Look at an image before it is loaded or turned, either of which forgets this."""
    tags = getattr(image, "tag_v2", {})
    if image.mode == "L" and 2 in tags.get(SAMPLE_FORMAT, ()):
        raise ValueError("signed pixels have no known range")
    tiles = getattr(image, "tile", ())
    packing = str(tiles[0][3]) if image.format == "PNG" and tiles else ""
    # Of 16 bits: PNG in older versions of Pillow, PGM as Pillow scales all of more than 8.
    wide = image.mode == "I" and image.format in ("PNG", "PPM")
    bits = 16 if wide or image.mode.startswith("I;16") else 0
    if tags.get(BITS_PER_SAMPLE) == (12,):
        bits = 12
    return _Form(packing, bits, tags.get(PHOTOMETRIC) == 0)


def _rgb(image: Image.Image, form: _Form) -> Image.Image:
    """Bring an image of any mode to RGB; what is transparent shows `BACKGROUND`."""
    if image.mode in ("I", "F") and not form.bits:
        raise ValueError(f"32-bit pixels, mode {image.mode}, have no known range")
    hidden = _color_key(image, form)
    if form.bits:
        gray = (np.asarray(image) >> (form.bits - 8)).astype(np.uint8)
        image = Image.fromarray(255 - gray if form.white_is_zero else gray)
    if image.mode in ("La", "RGBa"):  # of colors that are multiplied by their opacity
        image = image.convert(image.mode.upper())
    if image.mode in ("P", "PA", "LA", "RGBA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    image.info.pop("transparency", None)  # it is heeded, or no color of this image
    image = image.convert("RGB")
    if hidden is not None:
        image.paste(BACKGROUND, mask=Image.fromarray(np.uint8(255) * hidden))
    return image


def _color_key(image: Image.Image, form: _Form) -> np.ndarray | None:
    """Tell, (H, W) of bool, which pixels have the one color that a file calls transparent."""
    key, mode = np.asarray(image.info.get("transparency")), image.mode
    if key.dtype.kind not in "iu" or key.shape != ((3,) if mode == "RGB" else ()):
        return None
    if mode == "1":
        return np.asarray(image) == bool(key)
    if mode == "RGB":  # of 16 bits Pillow keeps the upper eight
        deep = form.packing == "RGB;16B" or key.max() > 255
        return (np.asarray(image) == (key >> 8 if deep else key)).all(axis=2)
    if mode == "L":  # the key counts in the file's own steps, Pillow's pixels to 255
        return np.asarray(image) == key * {"L;2": 85, "L;4": 17}.get(form.packing, 1)
    return np.asarray(image) == key if form.bits else None
