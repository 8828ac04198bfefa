"""Characters drawn in the fonts that matplotlib carries (ours): 230 classes with no download.

Drawn, not photographed. Latin, Greek and Cyrillic capitals share shapes across coarse classes, and
a fine class is met in several faces.
"""

import random
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ancor.data.hierarchy import Hierarchy
from ancor.data.images import GrayImages
from ancor.data.partition import Partition
from ancor.errors import InputError
from ancor.runtime.seeding import address_seed


def _span(first: int, last: int) -> str:
    return "".join(map(chr, range(first, last + 1)))


BLOCKS = {
    "Latin capitals": _span(0x41, 0x5A),
    "Latin small letters": _span(0x61, 0x7A),
    "digits": _span(0x30, 0x39),
    "Greek capitals": _span(0x391, 0x3A1) + _span(0x3A3, 0x3A9),
    "Greek small letters": _span(0x3B1, 0x3C9),
    "Cyrillic capitals": _span(0x410, 0x42F),
    "Cyrillic small letters": _span(0x430, 0x44F),
    "accented Latin capitals": _span(0xC0, 0xD6),
    # Of mathematical signs the 16 faces have few in common.
    "mathematical signs": "+−×÷=<>±¬~|∂%‰°½",
    "punctuation signs": "!?&#@*/;:§¶()[{}",
}
CHARACTERS = "".join(BLOCKS.values())
HIERARCHY = Hierarchy(
    coarse_names=tuple(BLOCKS),
    fine_names=tuple(CHARACTERS),
    coarse_of_fine=tuple(n for n, block in enumerate(BLOCKS.values()) for _ in block),
)
SEED = 0
DRAWINGS = 5
CANVAS, SIDE = 64, 32
# Face f (in the order of file names) belongs to a partition by f % 4.
REMAINDERS = {"train": (0, 1), "validation": (2,), "test": (3,)}


def load(partition: str) -> Partition:
    """Draw a partition: characters in order, for each its faces, for each its drawings."""
    kept = [f for f in range(len(faces())) if f % 4 in REMAINDERS[partition]]
    addresses = [
        (character, face, drawing)
        for character in range(len(CHARACTERS))
        for face in kept
        for drawing in range(DRAWINGS)
    ]
    pixels = np.stack([draw(SEED, *address) for address in addresses])
    labels = np.array([character for character, _, _ in addresses])
    return Partition.from_fine(
        "glyphs", partition, GrayImages(pixels), labels, HIERARCHY, layout="drawn, not photographed"
    )


@cache
def faces() -> tuple[str, ...]:
    """Paths of the 16 faces, DejaVu (not Display) and STIXGeneral, sorted by file name."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    found = [*folder.glob("DejaVu*.ttf"), *folder.glob("STIXGeneral*.ttf")]
    kept = sorted((path for path in found if "Display" not in path.name), key=lambda p: p.name)
    if len(kept) != 16:
        raise InputError(
            f"{len(kept)} of 16 faces DejaVu and STIXGeneral in {str(folder)!r}; reinstall "
            "matplotlib with its fonts (pip install --force-reinstall matplotlib)"
        )
    return tuple(str(path) for path in kept)


@cache
def _font(face: int, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(faces()[face], size, layout_engine=ImageFont.Layout.BASIC)


def draw(seed: int, character: int, face: int, drawing: int) -> np.ndarray:
    """Draw a character, light on dark: (32, 32) of uint8, a function of the arguments alone."""
    rng = random.Random(address_seed(seed, "glyph", character, face, drawing))
    font = _font(face, rng.randint(34, 47))
    right, down = rng.uniform(-5, 5), rng.uniform(-5, 5)
    angle = rng.uniform(-12, 12)
    canvas = Image.new("L", (CANVAS, CANVAS))
    left, top, end, bottom = font.getbbox(CHARACTERS[character])
    start = (CANVAS - left - end) / 2 + right, (CANVAS - top - bottom) / 2 + down
    ImageDraw.Draw(canvas).text(start, CHARACTERS[character], fill=255, font=font)
    turned = canvas.rotate(angle, Image.Resampling.BILINEAR)
    return np.asarray(turned.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
