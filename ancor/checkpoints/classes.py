"""Which class a row of a classifier stands for: by name, never by number alone."""

import logging
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from ancor.checkpoints.checkpoint import class_names
from ancor.data.partition import Partition
from ancor.errors import InputError
from ancor.models.encoder import Encoder

log = logging.getLogger(__name__)


def class_rows(known: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Return the number among `known` of each name in `wanted`; None where a name is not there.

    A name that occurs twice stands for no one class: then only equal lists go together.
    """
    if list(known) == list(wanted):
        return list(range(len(wanted)))
    number = {name: row for row, name in enumerate(known)}
    once = len(number) == len(known) and len(set(wanted)) == len(wanted)
    return [number[name] for name in wanted] if once and set(wanted) <= number.keys() else None


def match_classes(
    path: str, encoder: Encoder, content: Mapping[str, Any], partition: Partition
) -> Encoder:
    """Return an encoder whose classifier has the data's coarse classes, by name, in their order.

    It has none where names differ. A file without names is taken at its number of classes, on the
    dataset that it was trained on. Whoever uses a class weight by number asks whether there are as
    many as coarse classes.
    """
    if not encoder.config.classifies:
        return encoder
    known, wanted = class_names(content, path), partition.hierarchy.coarse_names
    dataset = (content["config"]["data"] or {}).get("dataset")
    if known == wanted or (not known and dataset in (None, partition.dataset)):
        return encoder
    coarse = content["config"]["training"].get("mode") != "fine"
    whole = len(known) == len(encoder.class_weight)
    rows = class_rows(known, wanted) if coarse and whole else None
    if rows is not None:
        log.info("Notice: the data's classes are taken by name from the %d of %r", len(known), path)
    elif len(encoder.class_weight) == len(wanted):
        pairs = zip_longest(known, wanted)
        was, has = next((a, b) for a, b in pairs if a != b) if known else (dataset, wanted[0])
        log.info(
            "Notice: %r was trained on other classes (%r where the data has %r): its own "
            "classifier is not used",
            path,
            was,
            has,
        )
    return encoder.with_classes(rows or [])


def check_same_classes(paths: Sequence[str], contents: Sequence[Mapping[str, Any]]) -> None:
    """Raise an InputError where files tell that they were trained on different classes.

    Their order does not matter: each file's classifier is given the data's by `match_classes`.
    """
    told = [
        (path, names)
        for path, content in zip(paths, contents, strict=True)
        if (names := class_names(content, path))
    ]
    for path, names in told[1:]:
        first, others = told[0]
        if sorted(names) != sorted(others):
            lacking = sorted({*others} ^ {*names}) or sorted(names)
            where = first if lacking[0] in others else path
            raise InputError(
                f"the classes of {first!r} and {path!r} are not the same, {lacking[0]!r} is one of "
                f"{where!r} only; give models that were trained on the same data and labels"
            )
