"""Which data is read: what was given, what a file says of its training, and what a folder holds."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ancor.data.config import PARTITIONS, PERMISSIONS, PREPROCESSING, DataConfig
from ancor.data.features import about, settings_of_run
from ancor.data.fields import as_now
from ancor.data.guess import candidates, guess
from ancor.data.notes import name_notes, partition_notes
from ancor.data.partition import Partition
from ancor.data.registry import DATASETS
from ancor.data.transform_spec import PARTS
from ancor.errors import InputError, MissingPartition
from ancor.runtime.from_dict import from_dict
from ancor.runtime.settings import as_words, settings_of
from ancor.safe_io.own_files import is_packed

log = logging.getLogger(__name__)


def widening(told: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Say what a file allows and nobody else does, which is therefore not allowed.

    Args:
        told: what a file says, by setting.
        given: what the user says, by setting.
    """
    names = [name for name in PERMISSIONS if told.get(name) and not given.get(name)]
    return [
        f"Notice: the file was made with `{name}`, which a file cannot allow; "
        "give the flag again if that is meant"
        for name in names
        if name != "download"  # of files that are there by now
    ]


def resolve_data(given: Mapping[str, Any], trained_on: Mapping[str, Any] | None) -> DataConfig:
    """Return the DataConfig of what was given and what a file says.

    Args:
        given: settings by name; those that are None are not given.
        trained_on: a file's own configuration, which they change; another dataset replaces it
            whole, but for what its backbone asks of images. None: they stand alone.

    Raises:
        InputError: nothing names a dataset, or a value is not accepted.
    """
    known = settings_of(DataConfig)
    given = with_dataset(given, trained_on)
    given = {name: v for name, v in given.items() if name in known and v is not None}
    trained_on = trained_on or {}
    if "dataset" not in {**trained_on, **given}:
        raise InputError(
            "`dataset` is needed, as the file does not tell which images it was made from; "
            f"accepted: {', '.join(DATASETS)}"
        )
    told = {k: value for k, value in as_now(trained_on).items() if k in known}
    base = without_parts(told, given)
    if {"root", "dataset"} & given.keys():
        base.pop("features", None)  # images are named
    if "features" in given:
        check_beside_features(given, settings_of_run(given["features"]))
    elif base.get("features") is not None:
        check_beside_features(given, given)  # an export may have other preprocessing
    if "dataset" in given and DataConfig(given["dataset"]).dataset != base.get("dataset"):
        base = own_preprocessing(base)
    for line in widening(base, given):
        log.info("%s", line)
    base = {field: value for field, value in base.items() if field not in PERMISSIONS}
    return from_dict(DataConfig, {**base, **given}, "the file's settings")


# What of the views is drawn when features are written; and what else may be given beside these.
VIEWS = ("augment", "crop_scale", "flip", "perspective", *PARTS)
READ = (*VIEWS, *PREPROCESSING, "features", "dataset", "root")


def check_beside_features(given: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    """Raise an InputError for a setting that means nothing where features are read.

    Args:
        given: settings by name, without those that are not given.
        told: what the file of features says (`ancor.data.features.settings_of_run`).
    """
    drawn = [name for name in VIEWS if name in given]
    if drawn:
        raise InputError(
            f"`{drawn[0]}`: the views of `features` were drawn when they were written; leave it "
            "out, or write them with it"
        )
    for name in PREPROCESSING:
        made = told.get(name)
        if as_words(given.get(name, made)) != as_words(made):
            raise InputError(
                f"`{name}` {as_words(given[name])}: `features` were made with "
                f"{'the default' if made is None else as_words(made)}; leave it out"
            )
    unread = [name for name in settings_of(DataConfig) if name not in READ and name in given]
    if unread:
        raise InputError(
            f"`{unread[0]}`: `features` hold partitions and classes as they were when they were "
            "written; leave it out, or write them with it"
        )


def without_parts(told: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without those that others, which are given, stand for.

    That are the parts of an augmentation under a new name of one, and shares under a new table.
    """
    replaced = (
        *(PARTS if given.get("augment") is not None else ()),
        *(("val_fraction", "test_fraction") if given.get("labels") is not None else ()),
    )
    return {name: value for name, value in told.items() if name not in replaced}


def own_preprocessing(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the preprocessing in a file's settings that is its backbone's, not its dataset's."""
    if data.get("interpolation") is None:
        return {}
    return {name: data[name] for name in PREPROCESSING if name in data}


def with_dataset(
    given: Mapping[str, Any], trained_on: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """Return what was given and, where that names a folder or features alone, the dataset in it."""
    if given.get("features") is not None and given.get("dataset") is None:
        return {**given, "dataset": about(given["features"])["dataset"]}
    if given.get("dataset") is not None or given.get("root") is None:
        return given
    named = _told_by_folder(given["root"], (trained_on or {}).get("dataset"))
    return given if named is None else {**given, "dataset": named}


def _told_by_folder(root: str, trained_on: str | None) -> str | None:
    """Return the dataset that a folder holds, where it is certainly not the file's; else None."""
    known = Path(root).is_dir() or is_packed(root)
    names = candidates(Path(root)) if known else ()
    if not names or trained_on in names:
        return None
    return guessed(root)


def guessed(root: str) -> str:
    """Return the dataset that a folder is taken for, and say so; InputError if nothing tells."""
    name, line = guess(root)
    log.info("Notice: %s", line)
    return name


def partitions_of(data: DataConfig, names: Sequence[str] | None = None) -> dict[str, Partition]:
    """Read partitions by name, and tell what has to be said of them; None: all that there are.

    Raises:
        MissingPartition: one that is asked for, by name or as a share, is missing; or all are.
    """
    read: dict[str, Partition] = {}
    missing = []
    for name in names or PARTITIONS:
        try:
            read[name] = data.load(name)
        except MissingPartition as error:
            if names or name in data.shares:
                raise
            missing.append(error)
    if not read:
        raise missing[0]
    found = list(read.values())
    for note in [*partition_notes(found), *name_notes(found)]:
        log.info("Notice: %s", note)
    return read
