"""A user's own images, by folders or by labels.csv; coarse labels alone are enough to train."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ancor.data.datasets import labels_csv
from ancor.data.datasets.levels import Leaf, chosen_columns, read_levels
from ancor.data.files import left_out, listing, required_root
from ancor.data.images import ImageFiles
from ancor.data.partition import Partition
from ancor.errors import InputError, MissingPartition, capped

LAYOUT = (
    "train/<coarse>/* and {val,test}/<coarse>/<fine>/*, or <coarse>/* alone, or labels.csv with "
    "the columns path,coarse and optionally fine,partition"
)
FOLDERS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}
PARTITION_FOLDERS = tuple(name for names in FOLDERS.values() for name in names)


Tree = list[Leaf]  # of a partition


def load(
    partition: str,
    root: str | None,
    *,
    allow_outside_root: bool = False,
    skip_bad_images: bool = False,
    labels: str | None = None,
    coarse_level: str | None = None,
    fine_level: str | None = None,
) -> Partition:
    """Read a partition; classes are numbered in the order of their names.

    Coarse classes of training come first, so that they have the same numbers in every partition.
    With a level given, folders may be of any depth (`ancor.data.datasets.levels`), or these are
    columns of labels.csv.
    """
    levels = (coarse_level, fine_level)
    home = required_root("folder", root, LAYOUT)
    table = home / labels_csv.NAME if labels is None else Path(labels)
    if labels is not None or table.is_file():
        return labels_csv.load(
            partition,
            home,
            table,
            chosen_columns(levels),
            allow_outside_root=allow_outside_root,
            skip_bad_images=skip_bad_images,
        )
    folder = _partition_folder(home, partition)
    if folder is None:
        raise MissingPartition(
            f"{str(home)!r} has no partition {partition!r}; make {partition}/<coarse>/<fine>/* "
            "there, take a share of the training images by `val_fraction` or `test_fraction`, or "
            "take another partition"
        )
    others: list[str] = []
    tree = _read_tree(folder, levels, others)
    first = _partition_folder(home, "train")
    training: list[str] = []
    if first is not None and first != folder:
        deep = any(levels)  # else the names of folders tell, which is quicker
        training = (
            [e.coarse for e in _read_tree(first, levels, [])] if deep else listing(first).folders
        )
    notes = _beside(home, others) if folder != home else []
    return _from_tree(partition, tree, tuple(training), folder, notes + left_out(others))


def _beside(root: Path, others: list[str]) -> list[str]:
    """Return a note on what is beside the partitions' folders; files are added to `others`."""
    inside = listing(root, links_matter=False)
    others += inside.others
    names = (name for name in inside.folders + inside.images if name not in PARTITION_FOLDERS)
    unread = capped(map(repr, names))
    where = "beside the partitions' folders train, val (or validation) and test"
    return [f"not read, as it is {where}: {unread}"] if unread else []


def _check_names(root: Path) -> None:
    """Raise an InputError where what seem to be partitions would be taken for coarse classes."""
    for name in listing(root).folders:
        folded = name.strip().casefold()
        meant = {"training": "train", "testing": "test"}.get(folded, folded)
        if meant in PARTITION_FOLDERS:
            raise InputError(
                f"{str(root / name)!r} seems to be a partition; name the folder {meant!r}, or, if "
                "it is a class, move all classes into a folder 'train'"
            )


def _partition_folder(root: Path, partition: str) -> Path | None:
    """Return the partition's folder; a root without any is itself the training partition."""
    found = [root / name for name in FOLDERS[partition] if (root / name).is_dir()]
    if len(found) > 1:
        raise InputError(
            f"{str(found[0])!r} and {str(found[1])!r} are both folders of the partition "
            f"{partition!r}; keep one"
        )
    if found:
        return found[0]
    if any((root / name).is_dir() for name in PARTITION_FOLDERS):
        return None
    _check_names(root)
    return root if partition == "train" else None


def _read_tree(folder: Path, levels: tuple[str | None, str | None], others: list[str]) -> Tree:
    """List a partition's classes; all coarse folders have fine ones inside, or none has.

    Files that are not read are added to `others`.
    """
    if any(levels):
        tree = read_levels(folder, *levels, others)
        _check_tree(folder, tree, others)
        return tree
    inside = listing(folder)
    others += inside.others
    if inside.images:
        raise InputError(
            f"{str(folder / inside.images[0])!r} is beside the class folders; move each image "
            "into the folder of its class"
        )
    tree = []
    for coarse in inside.folders:
        place = folder / coarse
        content = listing(place)
        others += content.others
        if content.images and content.folders:
            raise InputError(
                f"{str(place)!r} holds both images ({content.images[0]!r}) and folders "
                f"({content.folders[0]!r}); a coarse class holds images or fine classes"
            )
        if not content.folders:
            tree.append(Leaf(coarse, "", str(place), content.images))
        for fine in content.folders:
            tree.append(Leaf(coarse, fine, str(place / fine), _leaf(place / fine, others)))
    _check_tree(folder, tree, others)
    return tree


def _leaf(folder: Path, others: list[str]) -> list[str]:
    content = listing(folder)
    others += content.others
    if content.folders:
        raise InputError(
            f"{str(folder / content.folders[0])!r} is inside a fine class; two levels of "
            "folders, <coarse>/<fine>, are the most, unless `coarse_level` or `fine_level` chooses "
            "among more, such as 1 and 3"
        )
    return content.images


def _check_tree(folder: Path, tree: Tree, others: list[str]) -> None:
    empty = [leaf.folder for leaf in tree if not leaf.images]
    if empty or not tree:
        raise InputError(
            f"no images in {capped(map(repr, empty or [str(folder)]))}; put some there or remove "
            f"the folder (a folder dataset is {LAYOUT})"
            + "".join(f"; {line}" for line in left_out(others))
        )
    bare = [leaf.coarse for leaf in tree if not leaf.fine]
    if bare and len(bare) < len(tree):
        divided = next(leaf.coarse for leaf in tree if leaf.fine)
        raise InputError(
            f"{str(folder / divided)!r} is divided into fine classes and "
            f"{str(folder / bare[0])!r} is not; divide all coarse classes or none"
        )


def _from_tree(
    partition: str, tree: Tree, training: tuple[str, ...], folder: Path, notes: list[str]
) -> Partition:
    leaves = sorted(tree)
    counts = [len(leaf.images) for leaf in leaves]
    coarse = np.repeat(np.array([leaf.coarse for leaf in leaves], dtype=object), counts)
    fine = np.repeat(np.array([leaf.fine for leaf in leaves], dtype=object), counts)
    found = Partition.from_names(
        "folder",
        partition,
        ImageFiles([(leaf.folder, leaf.images) for leaf in leaves], upright=True),
        coarse,
        fine if leaves[0].fine else None,
        training,
        layout=f"folders in {str(folder)!r}",
    )
    return replace(found, notes=tuple(notes))
