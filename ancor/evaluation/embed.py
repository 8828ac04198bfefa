"""Features of whole partitions, passed once for all trainings on them (`ancor.data.features`)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from ancor.checkpoints.checksum import weights_hash
from ancor.data import features
from ancor.data.config import PREPROCESSING, DataConfig
from ancor.data.features import FeatureRows
from ancor.data.loading import Loader
from ancor.data.partition import Partition
from ancor.data.views import QUERY_VIEW, TrainingViews
from ancor.errors import InputError
from ancor.evaluation.feature_bank import FeatureBank
from ancor.evaluation.models import Model
from ancor.models.names import HUB, OWN_WEIGHTS, library_of
from ancor.runtime.logging import progress
from ancor.runtime.text import write_csv
from ancor.safe_io.writing import atomic_write

MOST_VIEWS = 1000
SUFFIXES = (".npz", ".csv", ".parquet")


def embedded(model: Model, partition: Partition, views: int, seed: int = 0) -> Partition:
    """Return a partition with the backbone's features in the place of its images.

    Args:
        model: whose backbone it is.
        partition: the images.
        views: training views V of each, beside the test transform's.
        seed: of the views: they are those that training draws in its first epoch.
    """
    bank = model.bank(partition, "features", seed)
    rows = torch.empty((len(partition), 1 + views, bank.width))
    images = np.arange(len(partition))
    start = 0
    for output in bank.outputs(np.stack([images, np.full_like(images, QUERY_VIEW)], axis=1)):
        rows[start : start + len(output.features), 0] = output.features.float().cpu()
        start += len(output.features)
    for index, found in _training_views(bank, partition, views) if views else ():
        rows[index, 1:] = found
    names = [partition.images.name(index) for index in range(len(partition))]
    return replace(partition, images=FeatureRows(rows, names))


def _training_views(
    bank: FeatureBank, partition: Partition, views: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield positions (n,) and the features (n, V, F) of their training views."""
    kinds = ("strong",) * views
    labels, runtime = partition.coarse_labels, bank.runtime
    items = TrainingViews(partition.images, labels, bank.transforms, kinds, bank.seed)
    requests = [(0, index) for index in range(len(partition))]
    size = max(1, runtime.batch_size // views)
    batches = [requests[start : start + size] for start in range(0, len(requests), size)]
    loader = Loader(items, runtime.workers, runtime.device, batch_sampler=batches)
    bank.encoder.eval()
    for pictures, _, _, indices in progress(loader, runtime.quiet, desc="views", unit="batch"):
        together = torch.stack(pictures, dim=1).flatten(0, 1)
        found = bank.encode(together).features.float().cpu()
        yield indices, found.unflatten(0, (len(indices), views))


def facts(model: Model, data: DataConfig, source: str, views: int, seed: int) -> dict[str, Any]:
    """Return what a file of features says of them, for `ancor.data.features.write`.

    Args:
        model: what made them.
        data: the images, and how the backbone saw them.
        source: what named the model.
        views, seed: see `embedded`.
    """
    pretrained = source.partition("=")[2] if library_of(source)[0] else source
    if not pretrained.startswith(HUB):
        file = Path(pretrained)
        pretrained = str(file.resolve()) if file.is_file() else OWN_WEIGHTS
    asked = {name: getattr(data, name) for name in PREPROCESSING}
    return {
        "dataset": data.dataset,
        "root": data.root,
        "arch": model.network.config.arch,
        "pretrained": pretrained,
        "pretrained_on": (model.content.get("config") or {}).get("pretrained_on") or "",
        "weights": weights_hash(model.network.backbone),
        "preprocessing": {name: v for name, v in asked.items() if v is not None},
        "augmentation": model.transforms.augmentation(),
        "views": views,
        "seed": seed,
        "precision": model.runtime.precision,
    }


def write(path: Path, about: Mapping[str, Any], partitions: Mapping[str, Partition]) -> None:
    """Write features as the suffix of a path says: `.npz`; or a row a view, `.csv`, `.parquet`.

    Raises:
        InputError: another suffix.
    """
    check_suffix(path)
    if path.suffix == ".csv":
        write_csv(path, _header(partitions), _lines(partitions))
        return
    with atomic_write(path) as file:
        (features.write if path.suffix == ".npz" else _write_parquet)(file, about, partitions)


def check_suffix(path: Path) -> None:
    """Raise an InputError where features cannot be written under a name."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"{str(path)!r}: expected a name in {' or '.join(SUFFIXES)}")
    if path.suffix == ".parquet":
        _pyarrow()


def _pyarrow() -> tuple[ModuleType, ModuleType]:
    """Import pyarrow and its part for Parquet; InputError where it is not installed."""
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise InputError(
            "files in .parquet need pyarrow: pip install 'ancor-toolkit[parquet]'"
        ) from error


def _write_parquet(file: IO, about: Mapping[str, Any], partitions: Mapping[str, Partition]) -> None:
    """Write a group of rows for each partition; `about`, as JSON, is the schema's metadata `ancor`.

    The columns are `partition`, `image`, `view` (`test`, then 1, 2, ... of training), `coarse` and
    `fine` (null where not known), all of strings, and `features`, lists of F floats.
    """
    arrow, parquet = _pyarrow()
    width = next(iter(partitions.values())).images.rows.shape[2]
    texts = ("partition", "image", "view", "coarse", "fine")
    schema = arrow.schema(
        [(name, arrow.string()) for name in texts]
        + [("features", arrow.list_(arrow.float32(), width))],
        metadata={"ancor": json.dumps(about)},
    )
    with parquet.ParquetWriter(file, schema) as writer:
        for name, partition in partitions.items():
            count, views, _ = partition.images.rows.shape
            images = [_utf8(partition.images.name(index)) for index in range(count)]
            told = {
                "partition": np.full(count * views, name),
                "image": np.repeat(np.array(images, dtype=object), views),
                "view": np.tile(["test", *map(str, range(1, views))], count),
                "coarse": np.repeat(_names(partition, "coarse"), views),
            }
            if partition.fine_labels is not None:
                told["fine"] = np.repeat(_names(partition, "fine"), views)
            columns = [
                arrow.array(told[text]) if text in told else arrow.nulls(count * views, "string")
                for text in texts
            ]
            flat = arrow.array(partition.images.rows.numpy().reshape(-1))
            columns.append(arrow.FixedSizeListArray.from_arrays(flat, width))
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))


def _names(partition: Partition, level: str) -> np.ndarray:
    names = [_utf8(name) for name in partition.hierarchy.names(level)]
    return np.array(names, dtype=object)[partition.labels(level)]


def _utf8(name: str) -> str:
    """Return a name as Parquet can hold it: bytes that are no UTF-8 as `\\udcff`."""
    return name.encode("utf-8", "backslashreplace").decode()


def _header(partitions: Mapping[str, Partition]) -> list[str]:
    width = next(iter(partitions.values())).images.rows.shape[2]
    return [
        *("partition", "image", "view", "coarse", "fine"),
        *(f"f{number}" for number in range(width)),
    ]


def _lines(partitions: Mapping[str, Partition]) -> Iterator[list[Any]]:
    """Yield a line of each view: `test`, then 1, 2, ... of training."""
    for name, partition in partitions.items():
        hierarchy, fine = partition.hierarchy, partition.fine_labels
        for index, views in enumerate(partition.images.rows.numpy()):
            coarse = hierarchy.coarse_names[partition.coarse_labels[index]]
            told = "" if fine is None else hierarchy.fine_names[fine[index]]
            image = partition.images.name(index)
            for view, row in enumerate(views):
                yield [name, image, view or "test", coarse, told, *row.tolist()]
