"""A labeling session: labels that change, the answers that follow, and what to ask next."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import torch

from ancor.errors import InputError, choose
from ancor.evaluation.discovery import Subclass, divide
from ancor.evaluation.discovery_config import DiscoveryConfig
from ancor.fewshot.labeling import kept
from ancor.fewshot.labeling.answers import Answers, Check
from ancor.fewshot.labeling.labels import Labels
from ancor.fewshot.labeling.pictures import Pictures
from ancor.runtime.text import printable

MOST_UNDONE = 100  # changes that can be taken back
VIEWS = ("waiting", "none", "labeled", "dropped")


class Session:
    """Labels of a folder's pictures, which several threads may ask for and change.

    Args:
        pictures: the pictures.
        folder: keeps the labels after each change, and what is saved; an earlier session's labels
            in it are gone on from.

    Raises:
        InputError: the folder is among the pictures, cannot be written to, or holds a session
            that cannot be read.
    """

    def __init__(self, pictures: Pictures, folder: Path) -> None:
        self.pictures, self.folder = pictures, folder
        kept.prepare(folder, pictures.root)
        self.labels = kept.restored(folder, pictures)
        self.answers: Answers | None = None  # None: fewer than two classes have a picture
        self.checked: Check | None = None  # of these answers; None: not yet
        self._undo: list[Labels] = []
        self._version = 0
        self._lock, self._finding = RLock(), RLock()
        self._found: dict[tuple[int, int | None], list[Subclass]] = {}
        self._answer()

    def change(self, how: Callable[[Labels], Labels]) -> None:
        """Make new labels of the old ones, keep them on disk, and answer anew.

        Raises:
            InputError: as `how` does; nothing is changed.
            OSError: they cannot be kept; nothing is changed.
        """
        with self._lock:
            changed = how(self.labels)
            if changed != self.labels:
                kept.keep(self.folder, changed)
                self._undo = [*self._undo, self.labels][-MOST_UNDONE:]
                self.labels = changed
                self._answer()

    def undo(self) -> None:
        """Take the last change back; InputError where there is none."""
        with self._lock:
            if not self._undo:
                raise InputError("there is no change to take back")
            kept.keep(self.folder, self._undo[-1])
            self.labels = self._undo.pop()
            self._answer()

    def check(self) -> None:
        """Judge the labels by each other, and let probabilities be as sure as that allows.

        It may take seconds, and keeps nobody waiting who labels meanwhile.
        """
        answers = self.answers
        if answers is None or self.checked is not None:
            return
        found = answers.check()
        with self._lock:
            if answers is self.answers:  # else there are other labels by now
                answers.calibrate(found.temperature)
                self.checked = found

    def listed(self, view: str, coarse: int | None = None, name: str | None = None) -> list[int]:
        """List pictures.

        Args:
            view: `waiting`: neither labeled nor dropped, in the order of `Answers.by_doubt` where
                there are answers; `none`: those of them that are of none of the classes, the most
                similar to one first; `labeled` or `dropped`.
            coarse: of this coarse class alone; None: of all.
            name: of `waiting`, those that are answered so; of `labeled`, those of this class.

        Raises:
            InputError: there is no such view.
        """
        choose("view", view, VIEWS)
        with self._lock:
            if view == "dropped":
                found = sorted(self.labels.dropped)
            elif view == "labeled":
                found = sorted(n for n, of in self.labels.given.items() if name in (None, of))
            else:
                found = self._answered(view == "none", name)
            found = np.asarray(found, dtype=np.int64)
            if coarse is not None:
                found = found[self.pictures.partition.coarse_labels[found] == coarse]
            return found.tolist()

    def _answered(self, none: bool, name: str | None) -> np.ndarray:
        """List waiting pictures that are of none of the classes, of one of them, or all."""
        waiting, answers = self.labels.waiting(), self.answers
        if answers is None:
            return waiting[: 0 if none or name is not None else None]
        waiting = answers.by_doubt(waiting)
        if none:
            return waiting[(answers.none & answers.asked)[waiting]]
        return waiting if name is None else waiting[answers.are(name)[waiting]]

    def proposals(self, coarse: int, k: int | None = None) -> list[Subclass]:
        """Find sub-classes of a coarse class as `ancor discover` does, once for each `k`.

        Args:
            coarse: its number; there are pictures of it.
            k: how many; None: the number is chosen.

        Raises:
            InputError: there is no such coarse class, or `k` is none of 1 to 10.
        """
        images = np.flatnonzero(self.pictures.partition.coarse_labels == coarse)
        if not len(images):
            raise InputError(f"coarse class {coarse}: there are no pictures of it")
        config = DiscoveryConfig()
        if k is not None and not 1 <= k <= config.max_k:
            raise InputError(f"{k} sub-classes: expected 1 to {config.max_k}, or auto")
        with self._finding:
            if (coarse, k) not in self._found:
                vectors = self.pictures.features.vectors[torch.from_numpy(images)]
                name = self.pictures.coarse_names[coarse]
                self._found[coarse, k] = divide(coarse, name, images, vectors, k, config)
            return self._found[coarse, k]

    def summary(self) -> dict[str, Any]:
        """Say for JSON how far it is: how many pictures, of which classes, and how well answered.

        `version` rises with each change; `known` is of `Answers.known_right`.
        """
        with self._lock:
            labels, answers, checked = self.labels, self.answers, self.checked
            waiting = labels.waiting()
            told = {
                "version": self._version,
                "undo": bool(self._undo),
                "total": len(self.pictures),
                "labeled": len(labels.given),
                "dropped": len(labels.dropped),
                "waiting": len(waiting),
                "answering": answers is not None,
                "rejects": answers is not None and answers.rejects,
                "checked": checked and checked._asdict(),
                "known": answers and answers.known_right(),
            }
            sizes = np.bincount(self.pictures.partition.coarse_labels)
            own = self.pictures.partition.coarse_labels[list(labels.given)]
            labeled = np.bincount(own, minlength=len(sizes)).tolist()
            told["coarse"] = [
                {
                    "number": number,
                    "name": printable(self.pictures.coarse_names[number]),
                    "size": size,
                    "labeled": labeled[number],
                }
                for number, size in enumerate(sizes.tolist())
                if size
            ]
            counts = Counter(labels.given.values())
            told["classes"] = [
                {
                    "name": name,
                    "coarse": coarse,
                    "labeled": counts[name],
                    "answered": int(answers.are(name)[waiting].sum()) if answers else 0,
                }
                for name, coarse in labels.classes.items()
            ]
            return told

    def about(self, number: int) -> dict[str, Any]:
        """Say of a picture its path, coarse class, label and answer, for JSON.

        Raises:
            InputError: there is no such picture.
        """
        (number,) = self.pictures.checked([number])
        with self._lock:
            labels, answers = self.labels, self.answers
            found = {
                "number": number,
                "path": printable(self.pictures.paths[number]),
                "coarse": printable(self.pictures.coarse_name(number)),
                "label": labels.given.get(number),
                "dropped": number in labels.dropped,
            }
            waits = found["label"] is None and not found["dropped"]
            if answers is not None and answers.asked[number] and waits:
                found |= answers.about(number)
            return found

    def save(self) -> list[Path]:
        """Write the classifier and the tables (`ancor.fewshot.labeling.kept.save`)."""
        with self._lock:
            labels, answers = self.labels, self.answers
        return kept.save(self.folder, labels, answers)

    def export(self, to: str) -> Path:
        """Save, and write the classifier for other programs; `to` is `onnx` or `pt2`."""
        return kept.export(self.folder, to, self.save)

    def _answer(self) -> None:
        self._version += 1
        temperature = self.answers.temperature if self.answers else 1.0
        self.answers = Answers.of(self.pictures, self.labels.given, temperature)
        self.checked = None
