"""What a run's folder tells of it: its settings and the figures that it wrote."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ancor.data.fields import as_now
from ancor.errors import InputError
from ancor.safe_io import bounded
from ancor.safe_io.broken import BROKEN

CONFIG, METRICS = "config.json", "metrics.jsonl"
MOST_FIGURES = 200  # each is a panel of a picture and a column of a table; a run has some twenty
# Of config.json: where and on what a run was made.
NOT_SETTINGS = ("environment", "format", "classes", "images", "fingerprint", "version")

Curve = tuple[list[int], list[float]]  # steps or epochs, and values


@dataclass(frozen=True)
class Run:
    """A run that was read.

    Attributes:
        folder: where it is.
        settings: its settings by name, `method.temperature`.
        curves: of each figure the steps and the values, `loss/cls`: ([8, 16], [0.8, 0.3]).
        epoch_of: the epoch of each step that has a record, where that tells it.
    """

    folder: Path
    settings: Mapping[str, Any]
    curves: Mapping[str, Curve]
    epoch_of: Mapping[int, int] = field(default_factory=dict)

    def epochs(self) -> int:
        """Return how many epochs the records tell of."""
        return len(set(self.epoch_of.values()))

    def by_epoch(self) -> dict[str, Curve]:
        """Return of each figure the epochs and its mean in each.

        A record stands for the steps since the one before it, and counts as often.
        """
        found = {}
        for name, (steps, values) in self.curves.items():
            own: dict[int, list[tuple[float, int]]] = {}
            for step, value, last in zip(steps, values, [0, *steps[:-1]], strict=True):
                if step in self.epoch_of:
                    own.setdefault(self.epoch_of[step], []).append((value, max(1, step - last)))
            means = [sum(v * n for v, n in of) / sum(n for _, n in of) for of in own.values()]
            found[name] = list(own), means
        return found

    def final_scores(self) -> dict[str, float]:
        """Return each score's last value, and its best with the word behind its name.

        Scores are validation accuracies (0-100); losses only have a last value.
        """
        found = {}
        for name, (_, values) in self.curves.items():
            if name.startswith(("loss/", "validation/")):
                found[name] = values[-1]
            if name.startswith("validation/"):
                found[f"{name} best"] = max(values)
        return found


def read_run(folder: Path | str) -> Run:
    """Read a run's config.json and metrics.jsonl.

    A last line that was cut off, as a killed run leaves it, is passed over. Where a run was
    resumed, what the cut-off part wrote after its last save gives way to what came later.

    Raises:
        InputError: there is no run, or its files cannot be read.
    """
    folder = Path(folder)
    config = _read(folder / CONFIG)
    try:
        settings = dict(_flat(bounded.parsed(config)))
    except BROKEN as error:
        raise InputError(
            f"{str(folder / CONFIG)!r} is not a run's config.json ({error})"
        ) from error
    records = _records(folder / METRICS)
    curves = _curves(records)
    if len(curves) > MOST_FIGURES:
        raise InputError(
            f"{str(folder / METRICS)!r} names {len(curves)} figures, the last "
            f"{next(reversed(curves))!r:.80}, and at most {MOST_FIGURES} are drawn; "
            "remove the lines that no run wrote"
        )
    epochs = {each["step"]: each["epoch"] for each in records if type(each.get("epoch")) is int}
    return Run(folder, settings, curves, epochs)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{str(path.parent)!r} is not a run's folder: cannot read {path.name} "
            f"({error.strerror}); give a folder that train.py wrote"
        ) from error
    except ValueError as error:  # bytes that are no text, or a NUL in the path
        raise InputError(f"{str(path)!r} is not text; give another run") from error


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of nested settings; where a run was made is none of them."""
    for name, value in config.items():
        if isinstance(value, Mapping) and name != "environment":
            yield from _flat(as_now(value) if name == "data" else value, f"{prefix}{name}.")
        elif name not in NOT_SETTINGS:
            yield prefix + name, value


def _records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a metrics.jsonl, at least one."""
    lines = _read(path).splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = bounded.parsed(line, finite=False)
            record = {**record, "kind": str(record["kind"]), "step": int(record["step"])}
        except BROKEN as error:
            if number == len(lines) and records:
                break
            raise InputError(
                f"line {number} of {str(path)!r} is not a record ({error}); correct or remove it"
            ) from error
        records.append(record)
    if not records:
        raise InputError(f"{str(path)!r} is empty: the run had no time to write a figure")
    return records


def _curves(records: list[dict[str, Any]]) -> dict[str, Curve]:
    """Sort records into curves by the name of the figure."""
    curves: dict[str, Curve] = {}
    for record in records:
        step = record["step"]
        for name, value in record.items():
            if name == "validation/5-way":
                name = _real_ways(name, record.get("validation_ways"))
            known = isinstance(value, int | float) and math.isfinite(value)
            if name in ("kind", "step", "epoch") or not known:
                continue
            steps, values = curves.setdefault(name, ([], []))
            while steps and steps[-1] >= step:  # a resumed run comes by here again
                steps.pop(), values.pop()
            steps.append(step)
            values.append(float(value))
    return curves


def _real_ways(name: str, ways: Any) -> str:
    """Return `validation/2-way` of two classes; `name` where a record does not tell."""
    try:
        return f"validation/{int(ways['5-way'][1])}-way"
    except BROKEN:
        return name
