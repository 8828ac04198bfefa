"""tieredImageNet (Ren et al., ICLR 2018, arXiv 1803.00676), from its pickles or .npz files.

A partition's labels are its own: no class, fine or coarse, is in two partitions.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ancor.data.decode import check_size
from ancor.data.files import required_root
from ancor.data.hierarchy import Hierarchy
from ancor.data.images import ColorImages, EncodedImages
from ancor.data.partition import Images, Partition
from ancor.errors import InputError, capped
from ancor.safe_io import npz, pickles

LAYOUT = (
    "tiered-imagenet/{train,val,test}_images_png.pkl (or _images.npz) and ..._labels.pkl, "
    "or these files directly"
)
FILES = {"train": "train", "validation": "val", "test": "test"}
MOST_CLASSES = 1_000_000
LEVELS = ("specific", "general")


def load(partition: str, root: str | None) -> Partition:
    """Read a partition; images stay encoded in memory until they are asked for."""
    folder = required_root("tiered", root, LAYOUT)
    prefix = FILES[partition]
    labels_path = _find(folder, f"{prefix}_labels.pkl")
    images_path = _find(folder, f"{prefix}_images_png.pkl", f"{prefix}_images.npz")
    labels = pickles.text_keys(pickles.load(labels_path), str(labels_path))
    fine, coarse = (_labels(labels, f"label_{level}", labels_path) for level in LEVELS)
    hierarchy = Hierarchy.from_labels(
        fine,
        coarse,
        fine_names=_names(labels.get("label_specific_str"), fine, partition),
        coarse_names=_names(labels.get("label_general_str"), coarse, partition),
        source=repr(str(labels_path)),
    )
    read = _read_npz if images_path.suffix == ".npz" else _read_png
    images = read(images_path)
    if len(images) != len(fine):
        raise InputError(
            f"{len(images)} images in {str(images_path)!r} and {len(fine)} labels in "
            f"{str(labels_path)!r}; the files do not belong together: fetch them again"
        )
    return Partition.from_fine(
        "tiered", partition, images, fine, hierarchy, layout=str(images_path)
    )


def _find(root: Path, *names: str) -> Path:
    folders = (root / "tiered-imagenet", root)
    for path in (folder / name for folder in folders for name in names):
        if path.is_file():
            return path
    raise InputError(
        f"no {' or '.join(names)} in {str(folders[0])!r} or {str(root)!r}; tieredImageNet is "
        f"{LAYOUT}"
    )


def _labels(content: dict[str, Any], key: str, path: Path) -> np.ndarray:
    values = pickles.whole_numbers(content.get(key))
    if values is None or values.max(initial=0) >= MOST_CLASSES:
        raise InputError(
            f"{str(path)!r} has no list of whole numbers under {key!r} (found: "
            f"{capped(sorted(content))}); label_specific and label_general are needed, below "
            f"{MOST_CLASSES}"
        )
    return values


def _names(names: Any, labels: np.ndarray, partition: str) -> tuple[str, ...]:
    """Return the file's names of the classes, or where it has none, numbers of the partition's.

    No class is in two partitions, so no name may either: classes are known by it.
    """
    count = int(labels.max(initial=-1)) + 1
    found = pickles.texts(names)
    if found is None or len(found) < count:
        return tuple(f"{partition} class {number}" for number in range(count))
    return found


def _read_png(path: Path) -> Images:
    """Read a list or array of encoded images, each as bytes or as an array of bytes."""
    items = pickles.load(path)
    if not isinstance(items, list | tuple | np.ndarray):
        raise InputError(f"{str(path)!r} holds no list of PNG images; fetch the file again")
    items = list(items)
    wrong = next((n for n, item in enumerate(items) if _byte_count(item) is None), None)
    if wrong is not None:
        raise InputError(
            f"image {wrong} of {str(path)!r} is a {type(items[wrong]).__name__}, not the bytes of "
            "a PNG; fetch the file again"
        )
    return EncodedImages(_freed(items), [_byte_count(item) for item in items], str(path))


def _byte_count(item: Any) -> int | None:
    if isinstance(item, np.ndarray):
        return item.size if item.dtype == np.uint8 else None
    return len(item) if isinstance(item, bytes | bytearray) else None


def _freed(items: list) -> Iterator[Any]:
    """Give out each item and forget it, so that two copies of all never stand in memory."""
    for position in range(len(items)):
        item, items[position] = items[position], None
        yield item.tobytes() if isinstance(item, np.ndarray) else item


def _read_npz(path: Path) -> Images:
    """Read the array `images`, (N, H, W, 3) of uint8.

    The authors' scripts fill it by OpenCV's imread and imdecode, which give blue first; the
    pickles, from OpenCV's imencode, hold PNG as everywhere. Both give red first here.
    """
    try:
        with open(path, "rb") as file:
            pixels = npz.load(file, "images")["images"]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{str(path)!r} has no readable array 'images' ({error}); fetch the file again"
        ) from error
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise InputError(
            f"'images' of {str(path)!r} is {pixels.dtype} of shape {pixels.shape}; accepted: uint8 "
            "(N, H, W, 3)"
        )
    check_size(pixels.shape[2], pixels.shape[1], str(path), "fetch the file again")
    for image in pixels:  # in place, as the training images take 9 GB
        image[...] = image[..., ::-1].copy()
    return ColorImages(pixels.transpose(0, 3, 1, 2))
