"""What a dataset on disk is like, and what in it would stop a run."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from ancor.data import repeats
from ancor.data.config import PARTITIONS, DataConfig
from ancor.data.episodes import EpisodeSampler, Protocol
from ancor.data.notes import class_notes, name_notes, partition_notes
from ancor.data.partition import Partition
from ancor.data.scan import Finding, findings
from ancor.errors import InputError, MissingPartition, capped


def check(
    config: DataConfig,
    protocol: Protocol | None = None,
    deep: bool = False,
    outliers: Sequence[Mapping[str, Any]] = (),
) -> dict:
    """Read every image of every partition and report.

    Args:
        config: which data; images that cannot be read are reported, whatever it says of them.
        protocol: episodes that every evaluation partition must have images for; None: the paper's.
        deep: whether near duplicates are looked for, for which each image is read again.
        outliers: the labels to doubt, as `ancor.evaluation.outliers.find` tells them.

    Returns:
        A dict of plain values: `dataset`; `root`; `partitions`, by name, what `_describe` returns;
        `problems`: lines, each of which would stop a run; `notes`: lines on what would not, such
        as images that are in two partitions; `duplicates`, of `ancor.data.repeats`, or None; and
        `outliers`.
    """
    protocol = protocol or Protocol()
    described: dict[str, dict] = {}
    problems: list[str] = []
    notes: list[str] = []
    loaded: list[Partition] = []
    contents: list[dict[bytes, int]] = []
    for name in PARTITIONS:
        try:
            partition = config.read(name)
        except MissingPartition as missing:
            (problems if name == "train" else notes).append(str(missing))
            continue
        except InputError as error:
            problems.append(str(error))
            continue
        found = list(findings(partition.images))
        described[name] = _describe(partition, found, protocol)
        problems += [finding.problem for finding in found if finding.problem is not None]
        notes += _repeated(partition, found) + _faint(partition, found) + _alone(partition)
        if name == "train":
            coarse, names = partition.coarse_labels, partition.hierarchy.coarse_names
            notes += class_notes(coarse, names, "coarse")
        try:
            notes += _episodes(config, partition, protocol)
        except InputError as error:
            problems.append(f"partition {name!r}: {error}")
        loaded.append(partition)
        contents.append({f.digest: index for index, f in enumerate(found) if f.digest is not None})
    duplicates = repeats.find(loaded) if deep else None
    if config.dataset == "folder":
        problems += _two_homes(loaded)
    return {
        "dataset": config.dataset,
        "root": config.root,
        "partitions": described,
        "problems": list(dict.fromkeys(problems)),
        "notes": [
            *partition_notes(loaded),
            *notes,
            *name_notes(loaded),
            *_shared(loaded, contents),
            *(repeats.notes(duplicates) if duplicates else ()),
            *_doubted(outliers),
        ],
        "duplicates": duplicates,
        "outliers": list(outliers),
    }


def _doubted(outliers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a note for each partition with doubtful labels."""
    return [
        f"partition {name!r}: {len(doubts)} labels are doubted by the nearest images, such as "
        f"{first['name']!r} in {first['class']!r}, whose neighbors are in {first['suggested']!r}; "
        "look at them"
        for name in dict.fromkeys(each["partition"] for each in outliers)
        for doubts in [[each for each in outliers if each["partition"] == name]]
        for first in doubts[:1]
    ]


def _faint(partition: Partition, found: list[Finding]) -> list[str]:
    """Return a note on images of 16 bits that are nearly of one gray where the upper 8 count."""
    which = [index for index, finding in enumerate(found) if finding.faint]
    if not which:
        return []
    return [
        f"partition {partition.name!r}: {len(which)} images of 16 bits, such as "
        f"{partition.images.name(which[0])!r}, use less than an eighth of their range, and only "
        "the upper 8 bits count: next to nothing is left of them; stretch them over all 16"
    ]


def _alone(partition: Partition) -> list[str]:
    """Return a note on coarse classes in which a partition has one fine class."""
    if partition.fine_labels is None:
        return []
    seen = np.unique(partition.fine_labels)
    coarse, counts = np.unique(partition.hierarchy.coarse(seen), return_counts=True)
    alone = [partition.hierarchy.coarse_names[label] for label in coarse[counts == 1]]
    if not alone:
        return []
    return [
        f"partition {partition.name!r}: {len(alone)} of {len(coarse)} coarse classes have one fine "
        f"class ({capped(map(repr, alone))}): good for training and all-way episodes; nothing is "
        "to be told apart inside them"
    ]


def _describe(partition: Partition, found: list[Finding], protocol: Protocol) -> dict:
    """Describe a partition: layout, counts a level and class, image sizes, what is unreadable."""
    hierarchy = partition.hierarchy
    levels = {"coarse": partition.coarse_labels}
    if partition.fine_labels is not None:
        levels["fine"] = partition.fine_labels
    sizes = [finding.size for finding in found if finding.size is not None]
    return {
        "layout": partition.layout,
        "images": len(partition),
        "classes": {level: len(np.unique(labels)) for level, labels in levels.items()},
        "images_per_class": {
            level: _counts(labels, hierarchy.names(level)) for level, labels in levels.items()
        },
        "too_small": _too_small(partition, protocol),
        "unreadable": [finding.problem for finding in found if finding.problem is not None],
        "modes": dict(Counter(finding.mode for finding in found if finding.mode is not None)),
        "width": _range([width for width, _ in sizes]),
        "height": _range([height for _, height in sizes]),
    }


def _counts(labels: np.ndarray, names: tuple[str, ...]) -> list[dict]:
    classes, counts = np.unique(labels, return_counts=True)
    return [
        {"label": label, "name": names[label], "images": count}
        for label, count in zip(classes.tolist(), counts.tolist(), strict=True)
    ]


def _range(values: list[int]) -> list[int] | None:
    return [min(values), max(values)] if values else None


def _too_small(partition: Partition, protocol: Protocol) -> list[dict]:
    if partition.fine_labels is None:
        return []
    needed = protocol.n_shots + protocol.n_queries
    counts = _counts(partition.fine_labels, partition.hierarchy.fine_names)
    return [entry for entry in counts if entry["images"] < needed]


def _episodes(config: DataConfig, partition: Partition, protocol: Protocol) -> list[str]:
    """Return notes on what episodes cannot be made of; InputError where none can be drawn."""
    if partition.fine_labels is None or partition.name == "train":
        return []
    sampler = EpisodeSampler.of(partition, "fine")
    sampler.check(protocol)
    intra_class = replace(protocol, intra_class=True)
    return [f"partition {partition.name!r}: {line}" for line in sampler.notes(intra_class)]


def _repeated(partition: Partition, found: list[Finding]) -> list[str]:
    """Return a note where images of a partition are equal."""
    digests = sorted(finding.digest for finding in found if finding.digest is not None)
    count = sum(first == second for first, second in pairwise(digests))
    if not count:
        return []
    return [f"partition {partition.name!r} repeats {count} of its images"]


def _two_homes(partitions: list[Partition]) -> list[str]:
    """Return a problem for each fine class whose coarse class differs between partitions."""
    homes: dict[str, set[str]] = defaultdict(set)
    for hierarchy in (partition.hierarchy for partition in partitions):
        for fine, coarse in zip(hierarchy.fine_names, hierarchy.coarse_of_fine, strict=True):
            homes[fine].add(hierarchy.coarse_names[coarse])
    return [
        f"fine class {fine!r} is in the coarse classes {capped(map(repr, sorted(several)))} "
        "of different partitions; every fine class needs exactly one"
        for fine, several in homes.items()
        if len(several) > 1
    ]


def _shared(partitions: list[Partition], contents: list[dict[bytes, int]]) -> list[str]:
    """Return a note for each two partitions that share images."""
    notes = []
    for (one, mine), (other, theirs) in combinations(zip(partitions, contents, strict=True), 2):
        both = mine.keys() & theirs.keys()
        if both and len(both) == len(mine) == len(theirs):
            notes.append(f"partitions {one.name!r} and {other.name!r} hold the same images")
        elif both:
            first = min(both, key=mine.__getitem__)
            notes.append(
                f"{len(both)} images are in both {one.name!r} and {other.name!r}, such as "
                f"{one.images.name(mine[first])!r} and {other.images.name(theirs[first])!r}"
            )
    return notes


def lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield the report for people."""
    yield f"{report['dataset']} in {report['root']!r}" if report["root"] else report["dataset"]
    for name, found in report["partitions"].items():
        classes = ", ".join(f"{count} {level} classes" for level, count in found["classes"].items())
        yield f"{name}: {found['images']} images, {classes}; {found['layout'] or 'in memory'}"
        for level, counts in found["images_per_class"].items():
            sizes = [entry["images"] for entry in counts]
            yield f"  images a {level} class: {min(sizes)} to {max(sizes)}"
        if found["width"]:
            (narrow, wide), (low, high) = found["width"], found["height"]
            yield f"  width {narrow} to {wide} px, height {low} to {high} px"
        if found["modes"]:
            yield "  stored as " + ", ".join(
                f"{m} ({n})" for m, n in sorted(found["modes"].items())
            )
        if found["too_small"]:
            names = capped(f"{c['name']!r} ({c['images']})" for c in found["too_small"])
            yield f"  fewer images than an episode asks for: {names}"
    yield from (f"note: {line}" for line in report["notes"])
    yield from (f"problem: {line}" for line in report["problems"])
