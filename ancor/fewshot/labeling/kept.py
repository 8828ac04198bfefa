"""The folder of a labeling session: what it goes on from, and the files that come of it."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ancor.checkpoints import formats
from ancor.data.datasets import labels_csv
from ancor.data.partition_table import write_table
from ancor.errors import InputError, choose
from ancor.fewshot import deploy
from ancor.fewshot.classifier import Classifier
from ancor.fewshot.labeling.answers import Answers
from ancor.fewshot.labeling.labels import Labels
from ancor.fewshot.labeling.pictures import Pictures
from ancor.runtime.text import write_csv
from ancor.safe_io import bounded
from ancor.safe_io.broken import BROKEN
from ancor.safe_io.writing import output_path, write_result

log = logging.getLogger(__name__)

KIND, VERSION = "ancor labeling session", 1
SESSION, CLASSIFIER, ANSWERS = "session.json", "classifier.ancor", "answers.csv"
COLUMNS = ("path", "coarse", "class", "probability", "none")  # of ANSWERS


def prepare(folder: Path, root: str) -> None:
    """Make a session's folder where there is none.

    Args:
        folder: the session's.
        root: folder of the pictures, inside which the session's small ones would be read as more.

    Raises:
        InputError: the folder is inside the other one, or cannot be written to.
    """
    if folder.resolve().is_relative_to(Path(root).resolve()):
        raise InputError(
            f"`output` {str(folder)!r} is inside the folder of the pictures {root!r}; name one "
            "beside it"
        )
    output_path(str(folder / SESSION))


def restored(folder: Path, pictures: Pictures) -> Labels:
    """Return the labels of an earlier session in a folder, or none.

    Labels of pictures and classes that are gone, or of another coarse class now, are left out, and
    told.

    Raises:
        InputError: the file is of another kind, or damaged; or none of its labels is left, which
            the next change would be the end of.
    """
    path = folder / SESSION
    if not path.exists():
        return Labels(pictures)
    try:
        told = bounded.parsed(path.read_bytes())
        if (told["kind"], told["version"]) != (KIND, VERSION):
            raise ValueError(f"it is {told['kind']!r:.80} of version {told['version']!r:.20}")
        labels = _labels(told, pictures)
    except BROKEN as error:
        raise InputError(
            f"{str(path)!r} is no session that this version can go on with "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]:.200}); move it away, or "
            "name another `output`"
        ) from error
    before = len(told["labels"]) + len(told["dropped"])
    left = len(labels.given) + len(labels.dropped)
    if before and not left:
        raise InputError(
            f"{str(path)!r} has labels of {before} pictures, and none is in {pictures.root!r}; "
            "give the `root` and `partition` that they are of, or another `output`"
        )
    log.info("Going on with %d labels of %d classes", len(labels.given), len(labels.classes))
    if lost := before - left:
        log.warning("Notice: %d pictures that were labeled or dropped are no longer there", lost)
    return labels


def _labels(told: dict[str, Any], pictures: Pictures) -> Labels:
    coarse = {name: number for number, name in enumerate(pictures.coarse_names)}
    classes = {name: coarse[of] for name, of in told["classes"].items() if of in coarse}
    number_of = {path: number for number, path in enumerate(pictures.paths)}
    given = {
        number_of[path]: name
        for path, name in told["labels"].items()
        if path in number_of
        and pictures.partition.coarse_labels[number_of[path]] == classes.get(name)
    }
    dropped = frozenset(number_of[path] for path in told["dropped"] if path in number_of)
    return Labels(pictures, classes, given, dropped - given.keys())


def keep(folder: Path, labels: Labels) -> None:
    """Write what `restored` reads; OSError where it cannot be written, the file is as before."""
    paths = labels.pictures.paths
    told = {
        "kind": KIND,
        "version": VERSION,
        "classes": labels.coarse_of(),
        "labels": {paths[number]: name for number, name in labels.given.items()},
        "dropped": [paths[number] for number in sorted(labels.dropped)],
    }
    write_result(folder / SESSION, json.dumps(told))


def save(folder: Path, labels: Labels, answers: Answers | None) -> list[Path]:
    """Write the classifier, the table of labels, and the answers of all other pictures.

    Args:
        folder: where to.
        labels: what a person said.
        answers: what follows from it; their probabilities become those of the classifier.

    Returns:
        The files: what `ancor predict` reads as `saved`; what training reads as `labels` and
        `Classifier.fit` learns from; and a table to look at.

    Raises:
        InputError: there are no answers yet, or a name is not text.
        OSError: a file cannot be written.
    """
    if answers is None:
        raise InputError("there is nothing to save yet: give two classes a picture each")
    paths = [folder / name for name in (CLASSIFIER, labels_csv.NAME, ANSWERS)]
    model = answers.classifier(labels.coarse_of())
    answers.calibrate(model.temperature_)
    model.save(paths[0])
    write_table(paths[1], labels_csv.COLUMNS, _label_rows(labels))
    write_csv(paths[2], COLUMNS, _answer_rows(answers, answers.by_doubt(labels.waiting())))
    return paths


def export(folder: Path, to: str, save: Callable[[], list[Path]]) -> Path:
    """Save, and write the classifier for programs without this toolkit.

    Args:
        folder: where to.
        to: a key of `ancor.checkpoints.formats.GRAPHS`.
        save: writes the classifier and returns its path first.

    Raises:
        InputError: as by `save`, or a package is missing.
        RunError: what was written computes something else; it is removed.
    """
    choose("`to`", to, formats.GRAPHS)
    saved, path = save()[0], folder / f"classifier.{to}"
    deploy.export(saved, Classifier.load(saved, device="cpu"), path, to)
    return path


def _label_rows(labels: Labels) -> Iterator[list[str]]:
    pictures = labels.pictures
    for number, name in sorted(labels.given.items()):
        coarse = pictures.coarse_name(number)
        yield [pictures.paths[number], coarse, name, "train"]  # whatever partition it is from


def _answer_rows(answers: Answers, waiting: np.ndarray) -> Iterator[list[Any]]:
    pictures = answers.pictures
    for number in waiting.tolist():
        if not answers.asked[number]:
            continue
        told = answers.about(number)
        sure = f"{told['probability']:.6f}"
        yield [
            *(pictures.paths[number], pictures.coarse_name(number)),
            *(told["answer"], sure, int(told["none"])),
        ]
