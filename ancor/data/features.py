"""Features in place of images: a file of them that `ancor embed` wrote, and what reads it (ours).

It is a .npz file that numpy reads too. For each partition it holds, under names that begin with the
partition's, `features` (N, 1 + V, F) of float32, of the image under the test transform and of V
training views; `images`, (N,) names; and `coarse` and `fine`, (N,) class numbers. `about` is a text
of JSON: class names, and what the features were made by.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ancor.data.hierarchy import Hierarchy
from ancor.data.partition import Partition
from ancor.errors import InputError, MissingPartition
from ancor.runtime.seeding import generator
from ancor.safe_io import bounded, npz
from ancor.safe_io.own_files import hint

FORMAT = 1
# What `about` has to tell, by type.
ABOUT = {"format": int, "dataset": str, "arch": str, "pretrained": str, "weights": str}
ABOUT |= {"preprocessing": dict, "views": int, "partitions": dict}


class FeatureRows:
    """Features in the place of a partition's images.

    Args:
        rows: (N, 1 + V, F) of float32: of the image under the test transform, and of V training
            views of it.
        names: of the images, (N,).
        source: the file that they come from; empty: none.
        weights: a hash of the backbone's that made them; empty: not known.
    """

    def __init__(
        self, rows: Tensor, names: Sequence[str], source: str = "", weights: str = ""
    ) -> None:
        self.rows, self.names, self.source, self.weights = rows, names, source, weights

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        """Raise an InputError: there is no image."""
        raise InputError(
            f"{self.source!r} holds features, and this needs the images; name them by `dataset` "
            "and `root`"
        )

    @property
    def views(self) -> int:
        """Number V of training views of an image."""
        return self.rows.shape[1] - 1

    def name(self, index: int) -> str:
        """Name an image in messages."""
        return str(self.names[index])

    def content(self, index: int) -> bytes:
        """Return the bytes of its features."""
        return self.rows[index].numpy().tobytes()

    def check_made_by(self, weights: str) -> None:
        """Raise an InputError where a backbone of other weights made them.

        Args:
            weights: their hash (`ancor.checkpoints.checksum.weights_hash`).
        """
        if weights != self.weights:
            raise InputError(
                f"`features` {self.source!r} were made by other weights of a backbone than these; "
                "write them anew, or name the images by `root`"
            )

    def fingerprint(self) -> str:
        """Hash all features."""
        digest = hashlib.sha256(str(tuple(self.rows.shape)).encode())
        digest.update(self.rows.numpy())
        return digest.hexdigest()

    def identity(self) -> str:
        """Hash all features."""
        return self.fingerprint()

    def subset(self, kept: np.ndarray) -> "FeatureRows":
        """Return the features at the positions `kept`."""
        names = [self.names[index] for index in kept.tolist()]
        return FeatureRows(self.rows[torch.from_numpy(kept)], names, self.source, self.weights)


class TrainingRows(Dataset):
    """Batches for training on features, as a loader makes them of `TrainingViews`.

    A view is one of the V that the file holds of the image, and those of an item are different
    ones. They are functions of (seed, epoch, index), and of a pass's purpose.

    Args:
        images: the features.
        labels: (N,) of int64.
        views: how many views an item has.
        seed: the run's seed.

    Raises:
        InputError: the file holds fewer views.
    """

    def __init__(self, images: FeatureRows, labels: np.ndarray, views: int, seed: int) -> None:
        if images.views < views:
            raise InputError(
                f"`features` {images.source!r} holds {images.views} training views of an image, "
                f"and the method needs {views} at once; write it with more (ancor embed, `views`)"
            )
        self.images, self.labels, self.views, self.seed = images, labels, views, seed
        self._drawn: dict[tuple, Tensor] = {}  # by address, of one epoch

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, requests: Sequence[tuple]) -> tuple:
        """Return (views, drawings, labels, indices) of requests, each as of `TrainingViews`.

        Each view is (n, F); the drawings are empty, as there is nothing to color.
        """
        indices = torch.tensor([request[1] for request in requests])
        drawn = torch.empty(len(requests), self.views, dtype=torch.int64)
        addresses = [(epoch, *purpose) for epoch, _, *purpose in requests]
        for address in dict.fromkeys(addresses):
            own = torch.tensor([each == address for each in addresses])
            drawn[own] = self._views_of(*address)[indices[own]]
        views = tuple(self.images.rows[indices, numbers] for numbers in drawn.unbind(1))
        labels = torch.from_numpy(self.labels)[indices]
        return views, (torch.empty(len(indices), 0),) * self.views, labels, indices

    def _views_of(self, epoch: int, purpose: str = "") -> Tensor:
        """Numbers (N, views) of the rows that a pass over the images takes of each."""
        address = (epoch, purpose)
        if address not in self._drawn:
            self._drawn = {known: d for known, d in self._drawn.items() if known[0] == epoch}
            name = " ".join(["feature views", *([purpose] if purpose else [])])
            order = torch.rand(
                len(self), self.images.views, generator=generator(self.seed, name, epoch)
            ).argsort(1)
            self._drawn[address] = 1 + order[:, : self.views]
        return self._drawn[address]


def as_it_is(batch: tuple) -> tuple:
    """Return a batch that `__getitems__` has put together, in place of a loader's collate."""
    return batch


def load(partition: str, path: str) -> Partition:
    """Read a partition of a file of features.

    Raises:
        MissingPartition: the file has no such partition.
        InputError: it cannot be read or is no such file.
    """
    told = about(path)
    if partition not in told["partitions"]:
        raise MissingPartition(
            f"`features` {path!r} holds no partition {partition!r}, only "
            f"{', '.join(told['partitions'])}"
        )
    classes = told["partitions"][partition]
    keys = {key: f"{partition}_{key}" for key in ("features", "images", "coarse", "fine")}
    if not classes.get("fine_names"):
        del keys["fine"]
    found = _read(path, *keys.values())
    try:
        hierarchy = Hierarchy(
            tuple(map(str, classes["coarse_names"])),
            tuple(map(str, classes.get("fine_names", ()))),
            tuple(map(int, classes.get("coarse_of_fine", ()))),
        )
        rows, names = found[keys["features"]], found[keys["images"]]
        labels = {k: found[keys[k]].astype(np.int64) for k in keys if k in ("coarse", "fine")}
        _check(rows, names, labels, hierarchy)
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(path, error) from error
    rows = torch.from_numpy(np.ascontiguousarray(rows))
    images = FeatureRows(rows, names.tolist(), path, told["weights"])
    layout = f"features of {told['arch']} from {path!r}"
    return Partition(
        *(told["dataset"], partition, images, labels["coarse"], labels.get("fine"), hierarchy),
        layout=layout,
    )


def _check(
    rows: np.ndarray, names: np.ndarray, labels: Mapping[str, np.ndarray], hierarchy: Hierarchy
) -> None:
    """Raise a ValueError where the arrays of a partition do not fit each other."""
    if rows.ndim != 3 or rows.dtype != np.float32 or 0 in rows.shape:
        raise ValueError(f"features of shape {rows.shape} and type {rows.dtype}")
    if not np.isfinite(rows).all():
        raise ValueError("features that are not finite")
    counts = {"coarse": hierarchy.num_coarse, "fine": hierarchy.num_fine}
    for level, numbers in labels.items():
        if (
            numbers.shape != rows.shape[:1]
            or not 0 <= numbers.min() <= numbers.max() < counts[level]
        ):
            raise ValueError(f"{level} labels that do not fit the images or the classes")
    if names.shape != rows.shape[:1] or names.dtype.kind != "U":
        raise ValueError(f"{names.shape} names of {len(rows)} images")
    if "fine" in labels and (hierarchy.coarse(labels["fine"]) != labels["coarse"]).any():
        raise ValueError("fine labels of another coarse class than the coarse ones")


@lru_cache(maxsize=8)
def _about(path: str, state: tuple[int, int]) -> str:
    return str(_read(path, "about")["about"])


def about(path: str) -> dict[str, Any]:
    """Return what a file of features says of itself; InputError where it is no such file."""
    try:
        status = Path(path).stat()
        told = bounded.parsed(_about(path, (status.st_size, status.st_mtime_ns)))
        wrong = [name for name, kind in ABOUT.items() if type(told.get(name)) is not kind]
        if wrong:
            raise ValueError(f"it does not tell its {wrong[0]}")
        if told["format"] != FORMAT:
            raise ValueError(f"it is of format {told['format']}, and this version reads {FORMAT}")
    except (OSError, ValueError, AttributeError) as error:
        raise _broken(path, error) from error
    return told


def settings_of_run(path: str) -> dict[str, Any]:
    """Return what a file of features says of a run on them, by setting."""
    told = about(path)
    own = {name: told[name] for name in ("dataset", "root", "arch", "pretrained") if told.get(name)}
    return {**own, "freeze": "all", **told["preprocessing"]}


def write(file: Any, about: Mapping[str, Any], partitions: Mapping[str, Partition]) -> None:
    """Write partitions whose images are `FeatureRows`, and what is to be said of them.

    Args:
        file: opened for bytes.
        about: all of `ABOUT` but the format and the partitions.
        partitions: by name.
    """
    arrays: dict[str, np.ndarray] = {}
    classes = {}
    for name, partition in partitions.items():
        hierarchy = partition.hierarchy
        classes[name] = {"coarse_names": hierarchy.coarse_names}
        arrays[f"{name}_features"] = partition.images.rows.numpy()
        arrays[f"{name}_images"] = np.array(partition.images.names, dtype=np.str_)
        arrays[f"{name}_coarse"] = partition.coarse_labels
        if partition.fine_labels is not None:
            classes[name] |= {
                "fine_names": hierarchy.fine_names,
                "coarse_of_fine": hierarchy.coarse_of_fine,
            }
            arrays[f"{name}_fine"] = partition.fine_labels
    told = json.dumps({"format": FORMAT, **about, "partitions": classes})
    np.savez(file, about=np.array(told), **arrays)


def _read(path: str, *names: str) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file:
            return npz.load(file, *names)
    except (OSError, ValueError) as error:
        raise _broken(path, error) from error


def _broken(path: str, error: Exception) -> InputError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return InputError(
        f"`features` {path!r} cannot be read as a file of features ({reason:.200}); give one that "
        f"ancor embed wrote{hint(Path(path))}"
    )
