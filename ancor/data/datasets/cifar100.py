"""CIFAR-100 (Krizhevsky, 2009), from its original pickles."""

from pathlib import Path

import numpy as np

from ancor.data import files
from ancor.data.hierarchy import Hierarchy
from ancor.data.images import ColorImages
from ancor.data.partition import Partition
from ancor.errors import InputError
from ancor.safe_io import pickles

FOLDER = "cifar-100-python"
LAYOUT = f"{FOLDER}/{{train,test,meta}}"
# The paper evaluates on the test file and chooses its best model there too.
FILES = {"train": "train", "validation": "test", "test": "test"}
LEVELS = ("fine", "coarse")


def load(partition: str, root: str | None, *, download: bool = False) -> Partition:
    """Read a partition; `validation` and `test` are both the test file."""
    if download:
        files.download("cifar100", root, "CIFAR100")
    folder = _folder(files.required_root("cifar100", root, LAYOUT))
    path = folder / FILES[partition]
    batch = pickles.text_keys(pickles.load(path), str(path))
    names = pickles.text_keys(pickles.load(folder / "meta"), str(folder / "meta"))
    pixels = batch.get("data")
    whole = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8
    if not whole or pixels.shape[1:] != (3072,):
        raise InputError(f"{str(path)!r} has no 'data' of (N, 3072) bytes; fetch the file again")
    fine, coarse = (_labels(batch, f"{level}_labels", len(pixels), path) for level in LEVELS)
    hierarchy = Hierarchy.from_labels(
        fine,
        coarse,
        *(_names(names, f"{level}_label_names", folder / "meta") for level in LEVELS),
        source=repr(str(path)),
    )
    images = ColorImages(np.asarray(pixels).reshape(-1, 3, 32, 32))
    return Partition.from_fine("cifar100", partition, images, fine, hierarchy, layout=str(path))


def _folder(root: Path) -> Path:
    needed = {*FILES.values(), "meta"}
    for folder in (root / FOLDER, root):
        if all((folder / name).is_file() for name in needed):
            return folder
    raise InputError(
        f"{str(root / FOLDER)!r} does not hold the files train, test and meta of CIFAR-100's "
        "Python version; unpack cifar-100-python.tar.gz there, or give `download`"
    )


def _labels(batch: dict, key: str, count: int, path: Path) -> np.ndarray:
    labels = pickles.whole_numbers(batch.get(key))
    if labels is None or len(labels) != count:
        raise InputError(
            f"{str(path)!r} does not hold one number an image under {key!r}; fetch the file again"
        )
    return labels


def _names(content: dict, key: str, path: Path) -> tuple[str, ...]:
    names = pickles.texts(content.get(key))
    if names is None:
        raise InputError(f"{str(path)!r} has no list of names {key!r}; fetch the file again")
    return names
