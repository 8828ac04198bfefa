"""What the labels say of every picture: classes, how sure, "none of these", and whom to ask next.

The answers are those of a `Classifier` without augmented copies whose `unknown` is auto:
the file that a session saves answers alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch

from ancor.evaluation.config import AUTO
from ancor.fewshot.classifier import Classifier
from ancor.fewshot.labeling.pictures import Pictures
from ancor.fewshot.support_set import Support
from ancor.fewshot.unknown import ClassMeans

CLASSIFIER = "LR"
UNKNOWN_RATE = 0.05  # share of pictures of the classes that may be answered "none of these"


class Check(NamedTuple):
    """How the labeled pictures are answered, each by the others.

    Attributes:
        right, judged: pictures that are answered rightly, of those whose class has another one.
        temperature: by which scores are divided, 1 where classes are too small to fit it.
    """

    right: int
    judged: int
    temperature: float


@dataclass(eq=False)
class Answers:
    """The answers that follow from some labels.

    Attributes:
        pictures: all N of them.
        labeled: numbers of those that are learned from, rising, (n,).
        labels: their classes' names, (n,), of two classes or more.
        temperature: of the probabilities (`calibrate`); the answers do not depend on it.
    """

    pictures: Pictures
    labeled: np.ndarray
    labels: np.ndarray
    temperature: float = 1.0

    @classmethod
    def of(
        cls, pictures: Pictures, labels: Mapping[int, str], temperature: float
    ) -> "Answers | None":
        """Make answers of labels by picture; None: they are of fewer than two classes."""
        if len(set(labels.values())) < 2:
            return None
        labeled = sorted(labels)
        names = np.array([labels[number] for number in labeled])
        return cls(pictures, np.array(labeled), names, temperature)

    @cached_property
    def asked(self) -> np.ndarray:
        """Which pictures have an answer, (N,) of bool: those of the classes' coarse classes."""
        coarse = self.pictures.partition.coarse_labels
        return np.isin(coarse, coarse[self.labeled])

    @cached_property
    def names(self) -> list[str]:
        """The classes, sorted."""
        return np.unique(self.labels).tolist()

    @cached_property
    def _support(self) -> Support:
        positions = torch.from_numpy(np.unique(self.labels, return_inverse=True)[1])
        learned = self.pictures.features[self.labeled].first_views(0)
        return Support(learned, positions, len(self.names), CLASSIFIER, False)

    @cached_property
    def _means(self) -> ClassMeans:
        return ClassMeans(self._support.features, self._support.labels)

    @cached_property
    def _scores(self) -> torch.Tensor:
        return self._support.scores(self.pictures.features)

    def calibrate(self, temperature: float) -> None:
        """Take another temperature for the probabilities."""
        self.temperature = temperature
        vars(self).pop("probabilities", None)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Each class's probability for each picture, (N, classes), in the order of `names`."""
        return (self._scores / self.temperature).softmax(1).numpy()

    @cached_property
    def best(self) -> np.ndarray:
        """The position in `names` of each picture's likeliest class, (N,)."""
        return self._scores.argmax(1).numpy()

    @cached_property
    def rejects(self) -> bool:
        """Whether "none of these" can be answered: a class has two pictures or more."""
        return int(self._support.labels.bincount().max()) > 1

    @cached_property
    def similarities(self) -> np.ndarray:
        """The cosine of each picture to the nearest class mean, (N,)."""
        return self._means.similarities(self.pictures.features.vectors).numpy()

    @cached_property
    def none(self) -> np.ndarray:
        """Which pictures are of none of the classes, (N,) of bool (`ClassMeans.threshold`)."""
        if not self.rejects:
            return np.zeros(len(self.pictures), dtype=bool)
        return self.similarities < self._means.threshold(UNKNOWN_RATE)

    def are(self, name: str) -> np.ndarray:
        """Tell which pictures are answered by a class, (N,) of bool; none is of "none of these"."""
        place = self.names.index(name) if name in self.names else -1
        return (self.best == place) & ~self.none & self.asked

    def about(self, number: int) -> dict[str, Any]:
        """Say of a picture the likeliest class, its probability, and if it is none of these."""
        best = int(self.best[number])
        return {
            "answer": self.names[best],
            "probability": float(self.probabilities[number, best]),
            "none": bool(self.none[number]),
        }

    def by_doubt(self, numbers: np.ndarray) -> np.ndarray:
        """Order pictures so that those come first whose labels are likely to teach most (ours).

        First those that have an answer, by the margin of its probability over the second (margin
        sampling: Scheffer, Decomain and Wrobel, IDA 2001), the smallest first; then those of none
        of the classes, the most similar to a class first; and last, as they are given, those that
        have no answer.
        """
        second, first = np.partition(self.probabilities[numbers], -2, axis=1)[:, -2:].T
        none, asked = self.none[numbers], self.asked[numbers]
        doubt = np.where(none, -self.similarities[numbers], first - second)
        return numbers[np.lexsort((doubt * asked, none & asked, ~asked))]

    def check(self) -> Check:
        """Answer each labeled picture by the others, and fit the temperature to that.

        It takes as many fits as there are labels, up to 200, and ten beyond.
        """
        support, scores = self._support, self._support.left_out()
        judged = support.labels.bincount()[support.labels] > 1
        right = scores.argmax(1).eq(support.labels) & judged
        return Check(int(right.sum()), int(judged.sum()), support.temperature(scores))

    def known_right(self) -> tuple[int, int] | None:
        """Judge the answers by the folder's own fine classes.

        Returns:
            How many pictures without a label are answered rightly, of those whose fine class is
            called as one of the classes; "none of these" is wrong. None: there are none.
        """
        fine = self.pictures.partition.fine_labels
        if fine is None:
            return None
        position = {name: number for number, name in enumerate(self.names)}
        of_fine = [position.get(n, -1) for n in self.pictures.partition.hierarchy.fine_names]
        truth = np.array(of_fine)[fine]
        truth[self.labeled] = -1
        judged = truth >= 0
        right = judged & (self.best == truth) & ~self.none
        return (int(right.sum()), int(judged.sum())) if judged.any() else None

    def classifier(self, coarse: Mapping[str, str]) -> Classifier:
        """Return a classifier that answers alike, to be saved.

        Args:
            coarse: the coarse class of each class.
        """
        model = Classifier(
            self.pictures.encoder,
            classifier=CLASSIFIER,
            n_augmentations=0,
            unknown=AUTO if self.rejects else None,
            unknown_rate=UNKNOWN_RATE,
        )
        given = {name: coarse[name] for name in self.names}
        return model.fit(self.pictures.features[self.labeled], self.labels, given)
