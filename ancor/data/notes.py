"""What a user may not know of a dataset's classes: names that look alike, classes of one image."""

import logging
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from ancor.data.partition import Partition
from ancor.errors import capped

log = logging.getLogger(__name__)


def alike(names: Iterable[str]) -> list[str]:
    """Return a line on each group of names that differ by what hardly shows."""
    groups = defaultdict(set)
    for name in names:
        groups[_folded(name)].add(name)
    # In ASCII, or the two forms of an accented letter would look the same here too.
    return [
        f"{capped(map(ascii, sorted(group)))} are different classes; the names differ only "
        "by case, blanks or Unicode form"
        for group in groups.values()
        if len(group) > 1
    ]


def _folded(name: str) -> str:
    """Return a name without case, outer and repeated blanks, invisible signs and Unicode form."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join("".join(c for c in text if unicodedata.category(c) != "Cf").split())


def partition_notes(partitions: Iterable[Partition]) -> list[str]:
    """Return each note of some partitions once, behind the names of those that it is of."""
    names: dict[str, list[str]] = defaultdict(list)
    for partition in partitions:
        for note in partition.notes:
            names[note].append(repr(partition.name))
    return [f"partition{'s' * (len(of) > 1)} {', '.join(of)}: {note}" for note, of in names.items()]


def name_notes(partitions: Sequence[Partition]) -> list[str]:
    """Return the lines on names that look alike, within and between partitions of own images.

    So too on coarse classes that are not among the training images, as where a name has a slip.
    The names of other datasets are what they are: `glyphs` has an `a` and an `A`.
    """
    own = [part for part in partitions if part.dataset == "folder"]
    found = [
        f"{level} classes: {line}"
        for level in ("coarse", "fine")
        for line in alike(name for part in own for name in part.hierarchy.names(level))
    ]
    known = {name for part in own if part.name == "train" for name in part.hierarchy.coarse_names}
    for part in own if known else ():
        seen = np.unique(part.coarse_labels).tolist()
        strange = [part.hierarchy.coarse_names[label] for label in seen]
        if strange := [name for name in strange if name not in known]:
            found.append(
                f"partition {part.name!r} has coarse classes of which there is no training image: "
                f"{capped(map(repr, strange))}"
            )
    return found


def tell(partition: Partition) -> None:
    """Log what has to be said of a partition that is about to be evaluated or shown."""
    for note in [*partition.notes, *name_notes([partition])]:
        log.info("Notice: %s", note)


def class_notes(labels: np.ndarray, names: Sequence[str], level: str) -> list[str]:
    """Return the lines on classes that little can be learned from.

    Args:
        labels: (N,), of the training images.
        names: by label.
        level: coarse or fine, for the lines.
    """
    classes, counts = np.unique(labels, return_counts=True)
    notes = []
    if len(classes) == 1:
        notes.append(
            f"there is one {level} class only, {names[classes[0]]!r}: its classification loss is 0 "
            "and teaches nothing; training needs at least two"
        )
    absent = [name for label, name in enumerate(names) if label not in classes]
    if absent:
        notes.append(
            f"{len(absent)} of {len(names)} {level} classes have no image that is read "
            f"({capped(map(repr, absent))}): nothing teaches them; replace their images, or "
            "remove the classes"
        )
    single = [names[label] for label in classes[counts == 1]]
    if single:
        notes.append(
            f"{len(single)} of {len(classes)} {level} classes have one image each "
            f"({capped(map(repr, single))}): the contrastive loss finds no other image of such a "
            "class to compare it with; give each at least two"
        )
    return notes
