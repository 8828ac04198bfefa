"""Which dataset a folder holds, where nobody said so."""

import re
from pathlib import Path

from ancor.data.datasets import grocery, labels_csv
from ancor.data.datasets.breeds_classes import known_table
from ancor.data.datasets.folder import PARTITION_FOLDERS
from ancor.data.datasets.imagenet import find_folder
from ancor.data.files import listing
from ancor.data.packed import PackedFile
from ancor.data.registry import BREEDS_SETS
from ancor.errors import InputError
from ancor.safe_io.own_files import hint, is_packed

WNID = re.compile(r"n\d{8}")
IMAGENET = (*BREEDS_SETS, "folder")  # what a folder of ImageNet's classes may be meant as
GROCERY = ("grocery",)  # its partitions are folders too, but of three levels
# Files or folders that only one dataset, or one family, has.
MARKS = {
    "cifar-100-python": ("cifar100",),
    "fgvc-aircraft-2013b": ("aircraft",),
    "tiered-imagenet": ("tiered",),
    **{f"{part}_labels.pkl": ("tiered",) for part in ("train", "val", "test")},
    "FashionMNIST": ("fashion-mnist",),
    "train-images-idx3-ubyte": ("fashion-mnist",),
    "train-images-idx3-ubyte.gz": ("fashion-mnist",),
    labels_csv.NAME: ("folder",),
    "ILSVRC": BREEDS_SETS,
    "Data/CLS-LOC": BREEDS_SETS,
    "Annotations/CLS-LOC": BREEDS_SETS,
    "LOC_val_solution.csv": BREEDS_SETS,
}


def candidates(root: Path) -> tuple[str, ...]:
    """List the datasets that a folder may hold, by its entries; none where nothing tells.

    A file of packed images tells the one that it was packed from.
    """
    if is_packed(root):
        return (PackedFile(root).about["dataset"],)
    return tuple(dict.fromkeys(name for names in _families(root) for name in names))


def _families(root: Path) -> list[tuple[str, ...]]:
    """List the datasets that a folder may hold, those together that no entry tells apart."""
    found = [names for mark, names in MARKS.items() if (root / mark).exists()]
    if all((root / name).is_file() for name in ("train", "test", "meta")):
        found.append(("cifar100",))
    if grocery.is_there(root):
        found.append(GROCERY)
    inside = listing(root, links_matter=False)
    if any(WNID.fullmatch(name) for part in ("train", "val") for name in _classes(root, part)):
        found = [*(names for names in found if names != BREEDS_SETS), IMAGENET]
    elif set(PARTITION_FOLDERS) & set(inside.folders) and not {BREEDS_SETS, GROCERY} & {*found}:
        found.append(("folder",))
    if not found and (inside.folders or inside.images):
        found.append(("folder",))
    return list(dict.fromkeys(found))


def guess(root: str) -> tuple[str, str]:
    """Return the name of the dataset that `root` holds, and a line that says so.

    ImageNet is taken for living17, the paper's first, where all its classes are there.

    Raises:
        InputError: the path names no folder, or one that may hold several datasets or none.
    """
    folder = Path(root)
    if is_packed(folder):
        (name,) = candidates(folder)
        return name, f"`dataset` was not given; {root!r} was packed from {name!r}"
    if not folder.is_dir():
        raise InputError(f"`root` {root!r} is not a folder; check the path{hint(folder)}")
    families, names = _families(folder), candidates(folder)
    if not names:
        raise InputError(
            f"`root` {root!r} holds no images that are known; `dataset` is needed: folder for your "
            "own images (docs/data.md has all)"
        )
    name, others = names[0], ""
    if families == [IMAGENET] and _holds_all(folder, name):
        others = f" (it may be meant as {', '.join(names[1:])} too)"
    elif len(names) > 1:
        raise InputError(
            f"`root` {root!r} may hold any of several datasets; `dataset` is needed: "
            f"{', '.join(names)}"
        )
    told = f"`dataset` was not given; {root!r} is taken for {name!r} by what is in it"
    return name, told + others


def _holds_all(root: Path, name: str) -> bool:
    """Tell whether a part of ImageNet has all classes of a BREEDS set."""
    wanted = set(known_table(name).class_names)
    return any(wanted <= set(_classes(root, part)) for part in ("train", "val"))


def _classes(root: Path, part: str) -> list[str]:
    """List ImageNet's class folders of a part, or the folders in their place."""
    try:
        return listing(find_folder(root, part), links_matter=False).folders
    except InputError:  # no such place
        return []
