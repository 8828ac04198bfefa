"""What a few-shot classifier answers: classes, coarse classes, "unknown", and how sure it is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ancor.errors import InputError
from ancor.fewshot import inputs
from ancor.fewshot.checks import (
    AUTO,
    BY_CLASSES,
    UNKNOWN,
    check_answers,
    check_learned,
    check_settings,
    weights_of,
)
from ancor.fewshot.coarse import coarse_shares, coarse_sums
from ancor.fewshot.support_set import Features
from ancor.runtime.lazy import Lazy

exceptions = Lazy("sklearn.exceptions")


class Answers:
    """The half of `Classifier` that answers; the other half learns, saves and loads."""

    def predict_proba(self, images: Any) -> np.ndarray:
        """Return each class's probability, (Q, n), in the order of `classes_`.

        They are the classifier's own probabilities, or of NN and Cosine the softmax of each class's
        best similarity (`ancor.evaluation.classifiers.class_scores`), at the temperature. With
        `coarse_first`, a class that an image was not compared with has probability 0.
        """
        query = self._query(images)
        return self._probabilities(self._episode.scores(query)).numpy()

    def predict_coarse_proba(self, images: Any) -> np.ndarray:
        """Return each coarse class's probability, (Q, C), in the order of `np.unique(coarse_)`.

        It is the sum over the classes of it or, by `coarse_by`, what the encoder's own classifier
        says.

        Raises:
            InputError: the coarse classes are not known.
        """
        query = self._query(images)
        if self.coarse_ is None:
            raise InputError("the coarse classes of the classes are not known; give them to fit")
        return self._coarse(query, self._probabilities(self._episode.scores(query)).numpy())[1]

    def similarity(self, images: Any) -> np.ndarray:
        """Return the cosine of each image to the nearest class mean, (Q,)."""
        query = self._query(images)
        return self._means.similarities(query.vectors).numpy()

    @property
    def class_means(self) -> Tensor:
        """The mean support vectors of the classes, of length 1, (n, F) of float64."""
        self._check_fitted()
        return self._means.unit

    def threshold(self) -> float:
        """Return the similarity below which `unknown` auto answers "unknown".

        Raises:
            NotFittedError: there are no classes yet.
            InputError: no class has two images (`ancor.fewshot.unknown.ClassMeans.threshold`).
        """
        self._check_fitted()
        return self._means.threshold(self.unknown_rate)

    def predict(self, images: Any) -> np.ndarray:
        """Return the likeliest class of each image, (Q,).

        In its place stands a coarse class where `back_off` says so, and "unknown" where `unknown`
        does.
        """
        query = self._query(images)
        scores = self._episode.scores(query)
        answers = self.classes_[scores.argmax(1).numpy()]
        if self.unknown is None and self.back_off is None:
            return answers
        answers, probabilities = answers.astype(object), self._probabilities(scores).numpy()
        sure = probabilities.max(1)
        if self.back_off is not None:
            names, coarse = self._coarse(query, probabilities)
            answers = np.where(sure < self.back_off, names[coarse.argmax(1)], answers)
        if self.unknown == AUTO:
            answers[(self._means.similarities(query.vectors) < self.threshold()).numpy()] = UNKNOWN
        elif self.unknown is not None:
            answers[sure < self.unknown] = UNKNOWN
        return answers.astype(str) if self.classes_.dtype.kind == "U" else answers

    def score(self, images: Any, labels: Sequence, sample_weight: Any = None) -> float:
        """Return the accuracy in 0-1.

        Images of classes that were never learned count as wrong, and a warning tells how many they
        are; the answer "unknown" is right for images of that label alone, a coarse class never.

        Raises:
            InputError: labels or weights do not fit the images, or none of the labels was learned.
        """
        answers = self.predict(images)
        labels = inputs.labels_of(labels, len(answers), self.classes_)
        named = self.unknown is not None and self.classes_.dtype.kind == "U"
        check_learned(labels, [*self.classes_.tolist(), *[UNKNOWN] * named])
        weights = weights_of(sample_weight, len(labels))
        return float(np.average(answers == labels, weights=weights))

    def _check_fitted(self) -> None:
        if not hasattr(self, "classes_"):
            raise exceptions.NotFittedError("the classifier has no classes yet; call fit first")

    def _check_width(self, features: Features) -> None:
        if features.vectors.shape[1] != self.encoder.width:
            raise InputError(
                f"features of width {features.vectors.shape[1]} were given, and the encoder makes "
                f"{self.encoder.width}; encode the images with it"
            )

    def _query(self, images: Any) -> Features:
        """Features of images that are to be classified."""
        self._check_fitted()
        check_settings(self)
        check_answers(self)
        query = self.encoder.features(images)
        self._check_width(query)
        return query.centered(self.center_)

    def _coarse(self, query: Features, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the coarse classes (C,) and their probabilities (Q, C); of classes' (Q, n)."""
        if self.coarse_by == BY_CLASSES:
            return coarse_sums(probabilities, self.coarse_)
        if not query.coarse_logits.shape[1]:
            raise InputError(
                "`coarse_by` encoder needs what the encoder's classifier says of the images, and "
                "features of support images do not keep it; give the images"
            )
        return coarse_shares(query.coarse_logits.numpy(), self.encoder.coarse_names, self.coarse_)

    def _probabilities(self, scores: Tensor) -> Tensor:
        return (scores / self.temperature_).softmax(1)
