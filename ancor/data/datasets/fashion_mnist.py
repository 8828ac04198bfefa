"""Fashion-MNIST (Xiao et al., 2017, arXiv 1708.07747), from its four IDX files."""

import gzip
from math import prod
from pathlib import Path

import numpy as np

from ancor.data import files
from ancor.data.decode import check_size
from ancor.data.hierarchy import Hierarchy
from ancor.data.images import GrayImages
from ancor.data.partition import Partition
from ancor.errors import InputError
from ancor.safe_io.broken import BROKEN

HIERARCHY = Hierarchy(
    coarse_names=("upper-body garments", "other", "footwear"),
    fine_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    coarse_of_fine=(0, 1, 0, 0, 0, 2, 0, 2, 1, 2),
)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
TRAINING_IMAGES = 50_000  # the other 10,000 of the training files are the validation partition
LARGEST = 2**28  # bytes read of a file; the largest true one has 47 million
FILES = {"train": "train", "validation": "train", "test": "t10k"}


def load(partition: str, root: str | None = None, *, download: bool = False) -> Partition:
    """Read a partition from `root`, by default Debian's place; images are padded to 32 pixels."""
    folder = _folder(root, download)
    pixels = _read_idx(folder, f"{FILES[partition]}-images-idx3-ubyte", dimensions=3)
    labels = _read_idx(folder, f"{FILES[partition]}-labels-idx1-ubyte", dimensions=1)
    if len(pixels) != len(labels):
        raise InputError(
            f"{len(pixels)} images and {len(labels)} labels of {FILES[partition]!r} in "
            f"{str(folder)!r}; the files do not belong together: fetch them again"
        )
    span = {"train": slice(None, TRAINING_IMAGES), "validation": slice(TRAINING_IMAGES, None)}
    kept = span.get(partition, slice(None))
    check_size(pixels.shape[2], pixels.shape[1], str(folder), "fetch the files again")
    padded = np.pad(pixels[kept], ((0, 0), (2, 2), (2, 2)))
    return Partition.from_fine(
        "fashion-mnist", partition, GrayImages(padded), labels[kept], HIERARCHY
    )


def _folder(named: str | None, download: bool) -> Path:
    """Find the folder that holds the files, downloading them first if asked to."""
    root = DEBIAN if named is None else Path(named)
    candidates = [root, root / "FashionMNIST" / "raw"]
    name = "train-images-idx3-ubyte"
    for folder in candidates:
        if (folder / name).exists() or (folder / f"{name}.gz").exists():
            return folder
    if download:
        files.download("fashion-mnist", named, "FashionMNIST")
        return candidates[1]
    raise InputError(
        f"no {name} or {name}.gz in {' or '.join(repr(str(c)) for c in candidates)}; put the four "
        "IDX files there, or give `root` DIR with `download` (Debian: apt install "
        "dataset-fashion-mnist, then no `root` is needed)"
    )


def _read_idx(folder: Path, name: str, dimensions: int) -> np.ndarray:
    """Read an IDX file of bytes: magic number, big-endian sizes, data.

    torchvision's reader takes no packed file and no limit, and tells errors by bare assertions.
    """
    plain, packed = folder / name, folder / f"{name}.gz"
    path = plain if plain.exists() else packed
    try:
        with (open if path == plain else gzip.open)(path, "rb") as file:
            raw = file.read(LARGEST)  # what a small archive unpacks to has no end
    except BROKEN as error:
        raise InputError(f"cannot read {str(path)!r} ({error}); fetch the file again") from error
    header = 4 + 4 * dimensions
    sizes = np.frombuffer(raw[4:header], dtype=">u4").tolist() if len(raw) >= header else []
    if raw[:4] != bytes([0, 0, 8, dimensions]) or len(raw) != header + prod(sizes):
        raise InputError(
            f"{str(path)!r} is not a whole IDX file of bytes in {dimensions} dimensions; "
            "fetch the file again"
        )
    return np.frombuffer(raw[header:], dtype=np.uint8).reshape(sizes)
