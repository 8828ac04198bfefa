"""Which dataset a folder holds, where nobody said so."""

import re
from pathlib import Path

from ancor.data.datasets import labels_csv
from ancor.data.datasets.breeds_classes import known_table
from ancor.data.datasets.imagenet import find_folder
from ancor.data.files import listing
from ancor.data.registry import BREEDS_SETS, SETS
from ancor.errors import InputError
from ancor.safe_io.own_files import hint

WNID = re.compile(r"n\d{8}")
# Files or folders that only one dataset has.
MARKS = {
    "cifar-100-python": "cifar100",
    "fgvc-aircraft-2013b": "aircraft",
    "tiered-imagenet": "tiered",
    "train_labels.pkl": "tiered",
    "FashionMNIST": "fashion-mnist",
    "train-images-idx3-ubyte": "fashion-mnist",
    "train-images-idx3-ubyte.gz": "fashion-mnist",
}


def candidates(root: Path) -> tuple[str, ...]:
    """List the datasets that a folder may hold, by its entries; none where nothing tells."""
    for mark, name in MARKS.items():
        if (root / mark).exists():
            return (name,)
    if all((root / name).is_file() for name in ("train", "test", "meta")):
        return ("cifar100",)
    if (root / labels_csv.NAME).is_file():
        return ("folder",)
    if any(map(WNID.fullmatch, _training_folders(root))):
        return (*BREEDS_SETS, "folder")
    inside = listing(root, links_matter=False)
    return ("folder",) if inside.folders or inside.images else ()


def guess(root: str) -> tuple[str, str]:
    """Return the name of the dataset that --data holds, and a line that says so.

    ImageNet is taken for living17, the paper's first, where all its classes are there.

    Raises:
        InputError: the path names no folder, or one that may hold several datasets or none.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise InputError(f"--data {root!r} is no folder; check the path{hint(folder)}")
    names = candidates(folder)
    name = names[0] if names else None
    if len(names) > 1 and not set(known_table(SETS[0]).class_names) <= set(
        _training_folders(folder)
    ):
        name = None
    if name is None:
        what = "holds some of ImageNet's classes" if names else "holds no images that are known"
        accepted = ", ".join(names) or "folder for your own images (docs/data.md has all)"
        raise InputError(f"--data {root!r} {what}; --dataset is needed: {accepted}")
    return name, (f"--dataset was not given; {root!r} is taken for {name!r} by what lies there")


def _training_folders(root: Path) -> list[str]:
    """List ImageNet's class folders, or the folders in their place."""
    try:
        return listing(find_folder(root, "train"), links_matter=False).folders
    except InputError:  # no such place
        return []
