"""Finding ImageNet's images by class, in each of the forms that its archives come in."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from ancor.data.files import Listing, left_out, listing
from ancor.errors import InputError, capped
from ancor.safe_io.broken import BROKEN

LAYOUT = "ImageNet: Data/CLS-LOC/{train,val}/<wnid>/*.JPEG, or {train,val}/<wnid>/ directly"
WNID = re.compile(rb"<name>\s*(n\d{8})\s*</name>")


def find_folder(root: Path, split: str) -> Path:
    """Return the folder of the split `train` or `val`; InputError where there is none."""
    bases = (root, root / "ILSVRC")
    candidates = [base / "Data" / "CLS-LOC" / split for base in bases] + [root / split]
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise InputError(f"no folder {split!r} of images in {str(root)!r}; accepted: {LAYOUT}")


def images_by_class(
    root: Path, split: str, class_names: dict[str, str]
) -> tuple[list[tuple[str, list[str]]], str, list[str]]:
    """List the images of some classes.

    Args:
        root: folder of ImageNet.
        split: `train` or `val`.
        class_names: name of each class to list, by WordNet id.

    Returns:
        For each class in the order of WordNet ids, its folder and its files' names in order; a
        line on the layout found; and one on files that are not read, if there are any.

    Raises:
        InputError: the folder is missing, or classes have no image (all are listed).
    """
    folder = find_folder(root, split)
    wnids = sorted(class_names)
    inside = listing(folder)
    if inside.images and not set(wnids) & set(inside.folders):
        names, source = _flat(root, folder, inside.images, wnids)
        listed = [(str(folder), names[wnid]) for wnid in wnids]
        others = inside.others
        layout = f"all images in {str(folder)!r}, classes from {str(source)!r}"
    else:
        present = set(inside.folders)
        found = [
            listing(folder / wnid) if wnid in present else Listing([], [], []) for wnid in wnids
        ]
        listed = [(str(folder / w), f.images) for w, f in zip(wnids, found, strict=True)]
        # Images beside the folders are of classes that nothing tells.
        others = [*inside.images, *(name for f in found for name in f.others)]
        layout = f"a folder a class in {str(folder)!r}"
    missing = [wnid for wnid, (_, names) in zip(wnids, listed, strict=True) if not names]
    if missing:
        described = capped(f"{wnid} ({class_names[wnid]})" for wnid in missing)
        raise InputError(
            f"{len(missing)} of {len(wnids)} classes have no images in {str(folder)!r}, which "
            f"needs a folder for each: {described}"
        )
    return listed, layout, left_out(others)


def _flat(
    root: Path, folder: Path, images: Sequence[str], wnids: Sequence[str]
) -> tuple[dict[str, list[str]], Path]:
    """Sort the files of a flat folder by class, as the solution file or the annotations tell."""
    bases = (root, root / "ILSVRC", folder.parent, folder)
    solutions = [base / "LOC_val_solution.csv" for base in bases]
    annotations = [base / "Annotations" / "CLS-LOC" / folder.name for base in bases]
    if source := next((path for path in solutions if path.is_file()), None):
        class_of = _read_solution(source)
    elif source := next((path for path in annotations if path.is_dir()), None):
        class_of = _read_annotations(source, images)
    else:
        raise InputError(
            f"{str(folder)!r} holds {len(images)} images and no class folders; put "
            f"LOC_val_solution.csv or Annotations/CLS-LOC/{folder.name}/*.xml into {str(root)!r}, "
            "or move the images into a folder a class, named by WordNet id"
        )
    unknown = [name for name in images if name.rpartition(".")[0] not in class_of]
    if unknown:
        raise InputError(
            f"{str(source)!r} tells no class of {len(unknown)} images in {str(folder)!r}, "
            f"{unknown[0]!r} first; fetch the file again"
        )
    names: dict[str, list[str]] = {wnid: [] for wnid in wnids}
    for name in images:
        wnid = class_of[name.rpartition(".")[0]]
        if wnid in names:
            names[wnid].append(name)
    return names, source


def _read_solution(path: Path) -> dict[str, str]:
    """Read the class of each image: column ImageId, first word of column PredictionString."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return {
                row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)
            }
    except BROKEN as error:
        raise InputError(
            f"{str(path)!r} is not a solution file: columns ImageId and PredictionString "
            "(class and box) are needed; fetch it again"
        ) from error


def _read_annotations(folder: Path, images: Sequence[str]) -> dict[str, str]:
    """Read the class of each image from its own XML file, where there is one."""
    class_of = {}
    for name in images:
        stem = name.rpartition(".")[0]
        path = folder / f"{stem}.xml"
        if path.is_file() and (match := WNID.search(path.read_bytes())):
            class_of[stem] = match[1].decode()
    return class_of
