"""BREEDS superclasses (Santurkar et al., 2020, arXiv 2008.04859): which ImageNet classes they hold.

The tables of the four known sets are committed (`breeds_tables`, made by
tools/make_breeds_tables.py). Other hierarchies and levels are computed by the `robustness` package,
which nothing else needs.
"""

import hashlib
import json
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ancor.data.registry import SETS, SPLITS
from ancor.errors import InputError, choose

if TYPE_CHECKING:
    from robustness.tools.breeds_helpers import ClassHierarchy

INFO_FILES = ("dataset_class_info.json", "class_hierarchy.txt", "node_names.txt")
# Level below the root, ancestor and subclasses of the four sets, as in the BREEDS paper's appendix.
LEVELS = {
    "living17": (5, "n00004258", 4),
    "nonliving26": (5, "n00021939", 4),
    "entity13": (3, None, 20),
    "entity30": (4, None, 8),
}


@dataclass(frozen=True)
class ClassTable:
    """Superclasses of ImageNet, each with its classes in the table's own, drawn order.

    Attributes:
        superclasses: WordNet ids of the superclasses; position = coarse label.
        names: their names.
        source: for each superclass its classes' WordNet ids; with a split, those for training.
        target: the same for evaluation under a split; empty without one.
        class_names: name of each class, by WordNet id.
    """

    superclasses: tuple[str, ...]
    names: tuple[str, ...]
    source: tuple[tuple[str, ...], ...]
    target: tuple[tuple[str, ...], ...]
    class_names: dict[str, str]

    def half(self, training: bool) -> tuple[tuple[str, ...], ...]:
        """Classes for training or for evaluation: the same without a split."""
        return self.source if training or not self.target else self.target


def known_table(name: str, split: str | None = None) -> ClassTable:
    """Read a committed table: a name of `SETS`; split None or one of `SPLITS`."""
    choose("BREEDS set", name, SETS)
    if split is not None:
        choose("`split`", split, SPLITS)
    return _parse(_committed(name), split)


@cache
def _committed(name: str) -> dict:
    file = resources.files("ancor.data.datasets") / "breeds_tables" / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8"))


def _parse(content: dict, split: str | None) -> ClassTable:
    halves = content["splits"][split or "none"]
    source, target = (tuple(tuple(row.split()) for row in half) for half in halves)
    names = content["class_names"]
    return ClassTable(
        superclasses=tuple(content["superclasses"]),
        names=tuple(content["superclasses"].values()),
        source=source,
        target=target,
        class_names={wnid: names[wnid] for half in (*source, *target) for wnid in half},
    )


def is_known(info: Path) -> bool:
    """Whether hierarchy files are those that the committed tables were made from."""
    return info_digest(info) == _committed(SETS[0])["info_sha256"]


def info_digest(info: Path) -> str:
    """SHA-256 of the three hierarchy files; InputError where one is missing."""
    missing = [name for name in INFO_FILES if not (info / name).is_file()]
    if missing:
        raise InputError(
            f"{str(info)!r} lacks {', '.join(missing)}; a BREEDS hierarchy is the three files "
            f"{', '.join(INFO_FILES)}"
        )
    return hashlib.sha256(b"".join((info / name).read_bytes() for name in INFO_FILES)).hexdigest()


def helpers() -> types.ModuleType:
    """Return `robustness.tools.breeds_helpers`; InputError where it is not installed."""
    stand_in = types.ModuleType("torchvision.models.utils")  # which it asks for, and is no more
    stand_in.load_state_dict_from_url = torch.hub.load_state_dict_from_url
    found = sys.modules.setdefault(stand_in.__name__, stand_in)
    try:
        from robustness.tools import breeds_helpers
    except ImportError as error:
        raise InputError(
            f"BREEDS sets of another hierarchy or level need the package robustness ({error}); "
            "pip install robustness, or use one of " + ", ".join(SETS)
        ) from error
    finally:
        if found is stand_in:
            del sys.modules[stand_in.__name__]
    return breeds_helpers


@cache
def computed_table(
    info: Path,
    level: int,
    ancestor: str | None = None,
    subclasses: int | None = None,
    split: str | None = None,
) -> ClassTable:
    """Compute a table from hierarchy files by the `robustness` package.

    Args:
        info: folder with `INFO_FILES`.
        level: depth of the superclasses below the root.
        ancestor: WordNet id that all superclasses lie under; None: the root.
        subclasses: classes a superclass; None: as many as the smallest has.
        split: None, or one of `SPLITS`.

    Raises:
        InputError: the files are incomplete, `robustness` is missing, or no such set exists.
    """
    info_digest(info)
    if split is not None:
        choose("`split`", split, SPLITS)
    generator = helpers().BreedsDatasetGenerator(str(info))
    _check_level(generator.hierarchy, level, ancestor)
    try:
        found = generator.get_superclasses(
            level=level, Nsubclasses=subclasses, split=split, ancestor=ancestor, balanced=True
        )
    except (AssertionError, ValueError) as error:
        raise InputError(
            f"no BREEDS set has `breeds_level` {level}, `breeds_ancestor` {ancestor}, "
            f"`breeds_subclasses` {subclasses} and `split` {split}; a split needs an even number "
            "of subclasses that every superclass can be divided into"
        ) from error
    if not found[0]:
        raise InputError(
            f"no superclass at `breeds_level` {level} has {subclasses} subclasses; "
            "lower `breeds_subclasses`"
        )
    return _table(generator.hierarchy, *found)


def _check_level(hierarchy: "ClassHierarchy", level: int, ancestor: str | None) -> None:
    if ancestor is not None and ancestor not in hierarchy.node_to_level:
        raise InputError(
            f"`breeds_ancestor` {ancestor!r} is not a superclass of this hierarchy; "
            "node_names.txt lists them"
        )
    above = 0 if ancestor is None else hierarchy.node_to_level[ancestor]
    levels = [known for known in sorted(hierarchy.level_to_nodes) if known >= above]
    if level not in levels or not hierarchy.get_nodes_at_level(level, ancestor):
        raise InputError(
            f"`breeds_level` {level}: no superclass is there; accepted: {levels[0]} to {levels[-1]}"
        )


def _table(
    hierarchy: "ClassHierarchy",
    superclasses: Sequence[str],
    subclass_splits: Sequence[Sequence[Sequence[int]]],
    label_map: Mapping[int, str],
) -> ClassTable:
    """Make a table of what `get_superclasses` of `robustness` returned."""
    wnids = {number: wnid for wnid, number in hierarchy.LEAF_ID_TO_NUM.items()}
    source, target = (
        tuple(tuple(wnids[number] for number in numbers) for numbers in half)
        for half in subclass_splits
    )
    return ClassTable(
        superclasses=tuple(superclasses),
        names=tuple(label_map[position] for position in range(len(superclasses))),
        source=source,
        target=target,
        class_names={
            wnid: hierarchy.LEAF_ID_TO_NAME[wnid] for half in (*source, *target) for wnid in half
        },
    )
