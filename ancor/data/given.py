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

from ancor.data.decode import as_rgb, read_image
from ancor.data.files import extensions, left_out, listing
from ancor.data.notes import alike
from ancor.data.transforms import pixels_of
from ancor.errors import InputError

log = logging.getLogger(__name__)

ACCEPTED = (
    "a path, a PIL image, a NumPy array (H, W) or (H, W, 3) of uint8, or a tensor (3, H, W) of "
    "uint8 or of floats in 0-1"
)
ADVICE = "replace or remove it"
LONGEST = 100  # times the shorter side; a longer image would take any memory when it is resized


def listed(images: Any) -> list:
    """Return images as a list: of a sequence its items, of a folder the images in it.

    Args:
        images: a sequence of images, each as `ACCEPTED` says; a folder's path, or a file's.

    Raises:
        InputError: it is none of these, it is empty, or a path leads nowhere.
    """
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
            f"{ACCEPTED}; or a folder's path"
        ) from error
    if not images:
        raise InputError("no images were given; give at least one")
    for image in images:
        if isinstance(image, str | os.PathLike) and not os.path.isfile(image):
            what = "is a folder" if os.path.isdir(image) else "is no file"
            raise InputError(f"{os.fspath(image)!r} {what}; check the path of this image")
    return images


def image_paths(path: str | os.PathLike) -> list[str]:
    """List the images that lie in a folder, in the order of their names; a file is itself listed.

    Raises:
        InputError: there is nothing of that name, or no image in the folder.
    """
    path = os.fspath(path)
    if os.path.isfile(path):
        return [path]
    if not os.path.isdir(path):
        raise InputError(f"{path!r} is no file and no folder; check the path")
    inside = listing(path)
    if not inside.images:
        raise InputError(
            f"no images in {path!r} ({', '.join(extensions())}); put some there, or name another "
            "folder (folders inside a folder are not looked into)"
            + "".join(f"; {line}" for line in left_out(inside.others))
        )
    _tell(left_out(inside.others))
    if inside.folders:
        log.info("Notice: the folders inside %r are not looked into", path)
    return [os.path.join(path, name) for name in inside.images]


def class_folders(folder: str | os.PathLike) -> tuple[list[str], list[str]]:
    """List the images of a folder that holds one folder a class: their paths and classes.

    Raises:
        InputError: it is no such folder, or a class has no images or folders inside.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{str(root)!r} is no folder; give one that holds a folder a class")
    inside = listing(root)
    if inside.images:
        raise InputError(
            f"{str(root / inside.images[0])!r} lies beside the class folders; move each image into "
            "the folder of its class"
        )
    if not inside.folders:
        raise InputError(
            f"{str(root)!r} is empty; put a folder a class there, with one or more images in each"
        )
    paths, labels = [], []
    others = inside.others
    for name in inside.folders:
        content = listing(root / name)
        others += content.others
        if content.folders:
            raise InputError(
                f"{str(root / name / content.folders[0])!r} is a folder inside the class {name!r}; "
                "a class holds images only"
            )
        if not content.images:
            raise InputError(
                f"the class folder {str(root / name)!r} holds no images; put some there or remove "
                "it" + "".join(f"; {line}" for line in left_out(content.others))
            )
        paths += [str(root / name / image) for image in content.images]
        labels += [name] * len(content.images)
    _tell([*left_out(others), *alike(inside.folders)])
    return paths, labels


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
    height, width = pixels.shape[1:]
    if not min(height, width) or max(height, width) > LONGEST * min(height, width):
        raise InputError(
            f"{name!r} is {width} x {height} pixels; accepted: sides of a ratio up to {LONGEST}; "
            f"{ADVICE}"
        )
    return pixels


def _from_array(array: np.ndarray, name: str) -> Tensor:
    grey = array.ndim == 2
    if array.dtype != np.uint8 or not (grey or (array.ndim == 3 and array.shape[2] == 3)):
        raise InputError(
            f"{name} is an array of shape {array.shape} and type {array.dtype}; accepted: "
            "(H, W) or (H, W, 3) of uint8"
        )
    pixels = torch.from_numpy(np.ascontiguousarray(array))
    return pixels.expand(3, -1, -1) if grey else pixels.permute(2, 0, 1)


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
            "floats in 0-1 (not normalised), or uint8"
        )
    return (255 * tensor.float()).round().to(torch.uint8)


def address(pixels: Tensor) -> int:
    """Return a number that stands for an image's content: equal images, equal random views."""
    rows = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    digest = hashlib.blake2b(str(rows.shape).encode(), digest_size=8)
    digest.update(rows)
    return int.from_bytes(digest.digest(), "little") >> 1


def labels_of(labels: Sequence, count: int) -> np.ndarray:
    """Return labels as an array (N,) of strings or integers.

    Raises:
        InputError: they are others, or not as many as the images.
    """
    found = np.asarray(labels)
    if found.dtype == object and all(isinstance(label, str) for label in found.flat):
        found = found.astype(str)
    if found.ndim != 1 or len(found) != count:
        raise InputError(
            f"labels of shape {found.shape} were given for {count} images; give one for each"
        )
    if found.dtype.kind not in "Uiub":
        raise InputError(f"labels of type {found.dtype}; accepted: strings or integers")
    return found.astype(np.int64) if found.dtype.kind in "iu" else found
