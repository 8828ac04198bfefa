"""Images as users have them: files, folders, PIL images, arrays and tensors."""

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ancor.data.dataset_images import DatasetImages
from ancor.data.decode import as_rgb, check_size, read_image
from ancor.data.files import Listing, extensions, left_out, listing
from ancor.data.notes import alike
from ancor.data.transforms import pixels_of
from ancor.errors import InputError
from ancor.safe_io.own_files import hint, recognized

log = logging.getLogger(__name__)

ACCEPTED = (
    "a path, a PIL image, a NumPy array (H, W) or (H, W, 3) of uint8, or a tensor (3, H, W) of "
    "uint8 or of floats in 0-1; red first"
)
ADVICE = "replace or remove it"
KINDS = (str, bool, int)  # of labels; a boolean is an integer too, so it comes first


def listed(images: Any) -> list | DatasetImages:
    """Return images as a list: of a sequence its items, of a folder the images in it.

    Args:
        images: a sequence of images, each as `ACCEPTED` says; a folder's path, or a file's; or a
            torch dataset of a length, whose items are read when they are asked for.

    Raises:
        InputError: it is none of these, it is empty, or a path leads nowhere.
    """
    if isinstance(images, DatasetImages):
        return images
    if isinstance(images, Dataset):
        return DatasetImages(images, "the dataset of images")
    if isinstance(images, str | os.PathLike):
        images = image_paths(images)
    shape = getattr(images, "shape", None)
    if shape is not None and (len(shape) == 2 or (len(shape) == 3 and 3 in (shape[0], shape[2]))):
        raise InputError(
            f"one image of shape {tuple(shape)} was given alone; give a list of images"
        )
    try:
        images = list(images)
    except TypeError as error:
        raise InputError(
            f"a {type(images).__name__} was given for images; accepted: a list of images, each "
            f"{ACCEPTED}; a folder's path; or a torch dataset"
        ) from error
    if not images:
        raise InputError("no images were given; give at least one")
    for image in images:
        if isinstance(image, str | os.PathLike) and not os.path.isfile(image):
            what = "is a folder" if os.path.isdir(image) else "is not a file"
            raise InputError(f"{os.fspath(image)!r} {what}; check the path of this image")
    return images


def image_paths(path: str | os.PathLike) -> list[str]:
    """List the images in a folder and the folders inside it, by name; a file is itself listed.

    Raises:
        InputError: there is nothing of that name, no image in the folder, a link that leads back,
            or a file that this toolkit wrote.
    """
    path = os.fspath(path)
    if os.path.isfile(path):
        known = recognized(path)
        if known is not None:
            raise InputError(f"{path!r} is not an image; it is {known}")
        return [path]
    if not os.path.isdir(path):
        raise InputError(f"{path!r} is neither a file nor a folder; check the path")
    found, others, seen, waiting = [], [], set(), [path]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen:  # by two ways, of which at least one is a link
            log.warning("Notice: %r was listed before under another name: left out", folder)
            continue
        seen.add(real)
        inside = listing(folder)
        found += [os.path.join(folder, name) for name in inside.images]
        others += inside.others
        waiting += [os.path.join(folder, name) for name in reversed(inside.folders)]
    if not found:
        raise InputError(
            f"no images in {path!r} or the folders inside it ({', '.join(extensions())}); put some "
            "there, or name another folder" + "".join(f"; {line}" for line in left_out(others))
        )
    _tell(left_out(others))
    return found


def class_folders(folder: str | os.PathLike) -> tuple[list[str], list[str]]:
    """List the images of a folder that holds one folder a class: their paths and classes.

    The class folders may lie in one folder for each coarse class (`coarse_folders`).

    Raises:
        InputError: it is no such folder, a class has no images or folders inside, or two are of one
            name.
    """
    root = Path(folder)
    inside = _checked(root)
    paths, labels, others, seen = [], [], list(inside.others), {}
    nested = coarse_folders(root) is not None
    places = [root / name for name in inside.folders]
    if nested:
        kinds = [(place, listing(place)) for place in places]
        others += [name for _, kind in kinds for name in kind.others]
        places = [place / name for place, kind in kinds for name in kind.folders]
    for place in places:
        name, content = place.name, listing(place)
        others += content.others
        if content.folders:
            raise InputError(
                f"{str(place / content.folders[0])!r} is a folder inside the class {name!r}; "
                "a class holds images only, and all classes or none are inside coarse classes"
            )
        if not content.images:
            raise InputError(
                f"the class folder {str(place)!r} holds no images; put some there or remove "
                "it" + "".join(f"; {line}" for line in left_out(content.others))
            )
        if name in seen:
            raise InputError(
                f"{str(place)!r} and {str(seen[name])!r} are two classes of one name; rename one"
            )
        seen[name] = place
        paths += [str(place / image) for image in content.images]
        labels += [name] * len(content.images)
    _tell([*left_out(others), *alike(list(seen))])
    return paths, labels


def coarse_folders(folder: str | os.PathLike) -> dict[str, str] | None:
    """Return the coarse class of each class of a folder <coarse>/<class>/*; None of <class>/*.

    Raises:
        InputError: it is not a folder, or holds images beside its folders.
    """
    root = Path(folder)
    inside = {name: listing(root / name) for name in _checked(root).folders}
    if not all(own.folders and not own.images for own in inside.values()):
        return None
    return {name: coarse for coarse, own in inside.items() for name in own.folders}


def _checked(root: Path) -> Listing:
    """List a folder that is to hold folders, and nothing but folders."""
    if not root.is_dir():
        raise InputError(
            f"{str(root)!r} is not a folder; give one that holds a folder a class{hint(root)}"
        )
    inside = listing(root)
    if inside.images:
        raise InputError(
            f"{str(root / inside.images[0])!r} is beside the class folders; move each image into "
            "the folder of its class"
        )
    if not inside.folders:
        raise InputError(
            f"{str(root)!r} is empty; put a folder a class there, with one or more images in each"
        )
    return inside


def _tell(notes: Sequence[str]) -> None:
    for note in notes:
        log.info("Notice: %s", note)


def read(image: Any, position: int) -> Tensor:
    """Read an image of any accepted kind as bytes (3, H, W), files turned upright.

    Args:
        image: as `ACCEPTED` says.
        position: in its list; names it in messages where it is no file.

    Raises:
        InputError: it is of no accepted kind, or cannot be read.
    """
    name = f"image {position}"
    if isinstance(image, str | os.PathLike):
        name = os.fspath(image)
        pixels = pixels_of(read_image(name, upright=True, advice=ADVICE))
    elif hasattr(image, "getbands"):
        pixels = pixels_of(as_rgb(image, name, ADVICE))
    elif isinstance(image, Tensor):
        pixels = _from_tensor(image, name)
    elif isinstance(image, np.ndarray):
        pixels = _from_array(image, name)
    else:
        raise InputError(f"{name} is a {type(image).__name__}; accepted: {ACCEPTED}")
    check_size(pixels.shape[2], pixels.shape[1], name, ADVICE)
    return pixels


def _from_array(array: np.ndarray, name: str) -> Tensor:
    gray = array.ndim == 2
    if array.dtype != np.uint8 or not (gray or (array.ndim == 3 and array.shape[2] == 3)):
        raise InputError(
            f"{name} is an array of shape {array.shape} and type {array.dtype}; accepted: "
            "(H, W) or (H, W, 3) of uint8"
        )
    pixels = torch.from_numpy(np.ascontiguousarray(array))
    return pixels.expand(3, -1, -1) if gray else pixels.permute(2, 0, 1)


def _from_tensor(tensor: Tensor, name: str) -> Tensor:
    tensor = tensor.detach().cpu()
    fits = tensor.ndim == 3 and tensor.shape[0] == 3
    if not fits or not (tensor.dtype == torch.uint8 or tensor.is_floating_point()):
        raise InputError(
            f"{name} is a tensor of shape {tuple(tensor.shape)} and type {tensor.dtype}; accepted: "
            "(3, H, W) of uint8, or of floats in 0-1"
        )
    if tensor.dtype == torch.uint8:
        return tensor
    if not ((tensor >= 0) & (tensor <= 1)).all():
        raise InputError(
            f"{name} is a tensor of floats from {tensor.min():g} to {tensor.max():g}; accepted: "
            "floats in 0-1 (not normalized), or uint8"
        )
    return (255 * tensor.float()).round().to(torch.uint8)


def address(pixels: Tensor) -> int:
    """Return a number that stands for an image's content: equal images, equal random views."""
    rows = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    digest = hashlib.blake2b(str(rows.shape).encode(), digest_size=8)
    digest.update(rows)
    return int.from_bytes(digest.digest(), "little") >> 1


def labels_of(labels: Any, count: int, like: np.ndarray | None = None) -> np.ndarray:
    """Return labels as an array (N,) of strings, of booleans or of int64.

    Every label that a user gives passes here. NumPy alone would make text of `[1, "1"]` and of
    `["a", nan]`, and one class of `[1, True]`.

    Args:
        labels: a sequence, an array, a tensor or a column of a table; one label for each image.
        count: number N of images.
        like: labels of whose type they must be; None: of any.

    Raises:
        InputError: they are of other types, of several, or not as many as the images.
    """
    items = labels.tolist() if hasattr(labels, "tolist") else labels
    shape = tuple(np.shape(labels if items is not labels else np.asarray(labels, dtype=object)))
    if shape != (count,):
        raise InputError(
            f"labels of shape {shape} were given for {count} images; give one for each, (N,)"
        )
    items = [_plain(item) for item in items]
    kinds = {next((k for k in KINDS if isinstance(item, k)), type(item)) for item in items}
    if len(kinds) > 1 or not kinds <= set(KINDS):
        names = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise InputError(f"labels of type {names}; accepted: strings or integers, all alike")
    try:
        found = np.array(items, dtype=np.int64 if kinds == {int} else None)
    except OverflowError as error:
        raise InputError(f"a label of {max(items, key=abs)}; accepted: 64 bits") from error
    if found.tolist() != items:  # NumPy drops zero characters at the end of strings
        raise InputError("a label ends in a zero character; leave it out")
    if like is not None and like.dtype.kind != found.dtype.kind:
        raise InputError(
            f"labels of type {found.dtype} were given to a classifier whose classes are of type "
            f"{like.dtype}; give labels of one type"
        )
    return found


def _plain(label: Any) -> Any:
    """Return a label without what NumPy, PyTorch or an enumeration put around it."""
    if isinstance(label, str):
        return str.__str__(label)
    if isinstance(label, np.generic | np.ndarray | Tensor) and label.ndim == 0:
        return label.item()
    return label
