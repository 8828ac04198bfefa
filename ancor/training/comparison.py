"""Several runs beside each other: their scores, and the settings in which they differ."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ancor.errors import InputError, capped
from ancor.runtime.text import columns, printable
from ancor.training.read_run import Curve, Run, read_run


def read_runs(folders: Sequence[str]) -> dict[str, Run]:
    """Read runs by the names of their folders; InputError where one is given twice."""
    return dict(zip(_names(folders), map(read_run, folders), strict=True))


def _names(folders: Sequence[str]) -> list[str]:
    """Name runs by their folders, and by their whole paths where folders are called alike."""
    paths = [Path(os.path.realpath(folder)) for folder in folders]  # which bears loops of links
    if len(set(paths)) < len(paths):
        raise InputError(f"{capped(map(repr, folders))}: give each run once")
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(Path(f)) for f in folders]


def curves(runs: Mapping[str, Run]) -> tuple[dict[str, Mapping[str, Curve]], str]:
    """Return the curves of runs, and what they go along.

    These are means of epochs where each run has two or more, and figures of steps elsewhere.
    """
    if min(run.epochs() for run in runs.values()) > 1:
        return {name: run.by_epoch() for name, run in runs.items()}, "epoch"
    return {name: run.curves for name, run in runs.items()}, "step"


def scores(runs: Mapping[str, Run]) -> Iterator[str]:
    """Yield a table of each run's final and best scores."""
    found = {name: run.final_scores() for name, run in runs.items()}
    kinds = dict.fromkeys(kind for own in found.values() for kind in own)
    rows = [
        [name, *(f"{own[kind]:.3f}" if kind in own else "-" for kind in kinds)]
        for name, own in found.items()
    ]
    titles = [kind.removeprefix("validation/") for kind in kinds]
    yield from columns([[printable(word, 80) for word in row] for row in [["run", *titles], *rows]])


def differences(runs: Mapping[str, Run]) -> Iterator[str]:
    """Yield a table of the settings in which the runs differ."""
    settings = {name: run.settings for name, run in runs.items()}
    names = dict.fromkeys(name for own in settings.values() for name in own)
    rows = []
    for name in names:
        values = [str(own.get(name, "-")) for own in settings.values()]
        if len(set(values)) > 1:
            rows.append([name, *values])
    if rows:
        yield from columns([[printable(w, 80) for w in row] for row in [["setting", *runs], *rows]])
    elif len(runs) > 1:
        yield "The runs' settings are the same"
