"""Images as small pictures: for hovering, for the embedding projector, for tables of images."""

import base64
import io

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from ancor.data.transforms import pixels_of


def picture(image: Image.Image | Tensor) -> np.ndarray:
    """Return an image of a dataset, PIL or tensor, as bytes (H, W, 3)."""
    return pixels_of(image).permute(1, 2, 0).numpy()


def thumbnail(image: Image.Image | Tensor, side: int) -> Image.Image:
    """Return an image's middle square as a PIL image of `side` pixels."""
    return ImageOps.fit(Image.fromarray(np.ascontiguousarray(picture(image))), (side, side))


def data_uri(image: Image.Image | Tensor, side: int, kind: str = "PNG") -> str:
    """Return an image's thumbnail as the text that an HTML page shows as a picture.

    JPEG, the other kind, takes a fifth of the room.
    """
    buffer = io.BytesIO()
    thumbnail(image, side).save(buffer, kind)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode(
        "ascii"
    )
