"""Small pictures of a folder's pictures, each made once and kept on disk."""

import hashlib
import io
import logging
from pathlib import Path

from PIL import Image

from ancor.data.images import ImageFiles, state_of
from ancor.plots.thumbnails import thumbnail
from ancor.safe_io.writing import replacing

log = logging.getLogger(__name__)

SIDE = 192  # pixels of a small picture, the middle square
LARGE = 800  # pixels of the longer side of a whole picture
QUALITY = 85


class Thumbnails:
    """Makes small pictures when they are asked for.

    Args:
        folder: keeps them, under names that change with the pictures' files.
        images: the pictures.
    """

    def __init__(self, folder: Path, images: ImageFiles) -> None:
        self.folder, self.images = folder, images
        self._writes = True

    def small(self, number: int) -> bytes:
        """Return the middle square of a picture as JPEG, from disk where it is kept.

        Raises:
            InputError: the picture cannot be decoded.
            RunError: its file has vanished.
        """
        path = self.images.name(number)
        key = hashlib.sha256(f"{SIDE} {path!r} {state_of(path)}".encode()).hexdigest()[:32]
        kept = self.folder / f"{key}.jpg"
        try:
            return kept.read_bytes()
        except OSError:  # it is not there yet
            made = _jpeg(thumbnail(self.images[number], SIDE))
        self._keep(kept, made)
        return made

    def large(self, number: int) -> bytes:
        """Return a whole picture, at most `LARGE` pixels long, as JPEG; errors as by `small`."""
        image = self.images[number]
        image.thumbnail((LARGE, LARGE))
        return _jpeg(image)

    def _keep(self, path: Path, content: bytes) -> None:
        if not self._writes:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            self._writes = False
            log.warning(
                "Notice: small pictures cannot be kept in %r (%s); going on without",
                *(str(self.folder), error.strerror),
            )


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
