"""A classifier of new classes from a few images of each, on top of a trained encoder."""

from collections.abc import Sequence
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from torch import Tensor

from ancor.errors import InputError, choose
from ancor.evaluation.classifiers import CLASSIFIERS
from ancor.fewshot import inputs, saved
from ancor.fewshot.image_encoder import ImageEncoder
from ancor.fewshot.support_set import Features, Support, known_features
from ancor.runtime.devices import Runtime
from ancor.safe_io.broken import BROKEN

UNKNOWN = "unknown"
RENAMED = {"n_aug_support_samples": "n_augmentations"}  # settings in files of earlier versions


class FewShotClassifier(ClassifierMixin, BaseEstimator):
    """Tells classes apart from one or a few images of each.

    An estimator of scikit-learn, whose X is a list of images: paths, PIL images, NumPy arrays
    (H, W) or (H, W, 3) of uint8, tensors (3, H, W) of uint8 or of floats in 0-1, also mixed; a
    folder's path; or `Features` that the encoder computed before. Another classifier or
    coarse_first takes effect at the next `fit` or `add`.

    Args:
        encoder: what `ancor.load_encoder` returns.
        classifier: LR, Proto, Cosine, NN or KNN, as in evaluation.
        n_augmentations: random views of each support image that are learned from; 0: the
            image itself under the test transform.
        coarse_first: whether the encoder's own classifier tells the coarse class first, so that an
            image is compared only with support images of the same predicted coarse class, if there
            are any (the cascade, in one model).
        unknown: probability below which `predict` answers "unknown"; None: it never does.
        seed: of the random views, each of which follows from the seed and its image's content.

    Attributes:
        classes_: labels (n,), sorted.
        temperature_: by which scores are divided before the softmax; fitted to left-out support
            images where every class has 5 or more, else 1.
        support_: features of all support images.
        labels_: their positions in classes_, (N,).
    """

    def __init__(
        self,
        encoder: ImageEncoder | None = None,
        classifier: str = "LR",
        n_augmentations: int = 5,
        coarse_first: bool = False,
        unknown: float | None = None,
        seed: int = 0,
    ) -> None:
        self.encoder = encoder
        self.classifier = classifier
        self.n_augmentations = n_augmentations
        self.coarse_first = coarse_first
        self.unknown = unknown
        self.seed = seed

    def fit(self, images: Any, labels: Sequence | None = None) -> "FewShotClassifier":
        """Learn classes from images of each.

        Args:
            images: N images; or a folder's path that holds one folder a class, without labels.
            labels: their classes, (N,), strings or integers (`ancor.fewshot.inputs.labels_of`).

        Raises:
            InputError: a setting is not accepted, an image cannot be read, or there is one class.
        """
        self._check_settings()
        support, labels = self._support(images, labels)
        return self._learn(support, labels)

    def add(self, images: Any, labels: Sequence | None = None) -> "FewShotClassifier":
        """Learn from more images, of new or known classes; equal to `fit` on all of them together.

        Args:
            images: as in `fit`; the earlier ones are not needed.
            labels: likewise.

        Raises:
            NotFittedError: there are no earlier ones.
            InputError: as in `fit`, or the labels are of another kind than the earlier ones.
        """
        self._check_fitted()
        self._check_settings()
        support, labels = self._support(images, labels, self.classes_)
        before = self.classes_[self.labels_]
        return self._learn(Features.join([self.support_, support]), np.append(before, labels))

    def predict_proba(self, images: Any) -> np.ndarray:
        """Return each class's probability, (Q, n), in the order of `classes_`.

        They are the classifier's own probabilities, or of NN and Cosine the softmax of each class's
        best similarity (`ancor.evaluation.classifiers.class_scores`), at the temperature. With
        `coarse_first`, a class that an image was not compared with has probability 0.
        """
        return self._probabilities(self._scores_of(images)).numpy()

    def predict(self, images: Any) -> np.ndarray:
        """Return the likeliest class of each image, (Q,), or "unknown" where `unknown` says so."""
        scores = self._scores_of(images)
        answers = self.classes_[scores.argmax(1).numpy()]
        if self.unknown is None:
            return answers
        answers = answers.astype(object)
        answers[(self._probabilities(scores).amax(1) < self.unknown).numpy()] = UNKNOWN
        return answers.astype(str) if self.classes_.dtype.kind == "U" else answers

    def score(self, images: Any, labels: Sequence, sample_weight: Any = None) -> float:
        """Return the accuracy in 0-1.

        Images of classes that were never learned count as wrong, and a warning tells how many they
        are; the answer "unknown" is right for images of that label alone.

        Raises:
            InputError: labels or weights do not fit the images, or none of the labels was learned.
        """
        answers = self.predict(images)
        labels = inputs.labels_of(labels, len(answers), self.classes_)
        named = self.unknown is not None and self.classes_.dtype.kind == "U"
        inputs.check_learned(labels, [*self.classes_.tolist(), *[UNKNOWN] * named])
        weights = inputs.weights_of(sample_weight, len(labels))
        return float(np.average(answers == labels, weights=weights))

    def save(self, path: str | Path) -> None:
        """Write everything that `predict` needs, the encoder included, into one file.

        Raises:
            NotFittedError: there is nothing to save.
            InputError: it cannot be written.
        """
        self._check_fitted()
        encoder, arrays = self.encoder.pack()
        settings = {n: v for n, v in self.get_params(deep=False).items() if n != "encoder"}
        # Those that took effect, if they were changed since.
        learned = {name: getattr(self._episode, name) for name in ("classifier", "coarse_first")}
        about = {
            "encoder": encoder,
            "settings": settings | learned,
            "classes": self.classes_.tolist(),
            "temperature": self.temperature_,
        }
        arrays |= {name: part.numpy() for name, part in vars(self.support_).items()}
        saved.write(path, about, {**arrays, "labels": self.labels_})

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "auto",
        precision: str = "fp32",
        batch_size: int = 256,
        quiet: bool = True,
    ) -> "FewShotClassifier":
        """Read what `save` wrote, without running anything that the file contains.

        Args:
            path: the file.
            device, precision, batch_size, quiet: as for `ancor.load_encoder`.

        Raises:
            InputError: there is no such file, it is of another version, cut off or damaged.
        """
        runtime = Runtime.named(device, precision, batch_size=batch_size, quiet=quiet)
        about, arrays = saved.read(path)
        try:
            network, transforms, others = ImageEncoder.unpack(about["encoder"], arrays)
            settings = {RENAMED.get(name, name): v for name, v in about["settings"].items()}
            model = cls(None, **settings)
            names = Features.__dataclass_fields__
            support = Features(*(torch.from_numpy(arrays[name]) for name in names))
            support.check(arrays["labels"])
            classes = inputs.labels_of(about["classes"], len(np.unique(arrays["labels"])))
            model._remember(support, classes, arrays["labels"])
            model.temperature_ = float(about["temperature"])
            model._check_types()
        except BROKEN as error:
            raise InputError(
                f"{str(path)!r} holds no classifier that this version can use "
                f"({type(error).__name__}: {str(error).partition(chr(10))[0]}); save it anew"
            ) from error
        model.set_params(encoder=ImageEncoder(network, transforms, runtime, **others))
        model._check_width(support)
        return model

    @property
    def episode(self) -> Support:
        """What queries are compared with; NotFittedError before `fit`."""
        self._check_fitted()
        return self._episode

    def _check_fitted(self) -> None:
        if not hasattr(self, "classes_"):
            raise NotFittedError("this FewShotClassifier has no classes yet; call fit first")

    def _check_types(self) -> None:
        """Raise a ValueError where a setting, read from a file, is of another type than its own."""
        wanted = {"n_augmentations": int, "coarse_first": bool, "seed": int}
        for name, kind in wanted.items():
            if type(getattr(self, name)) is not kind:
                raise ValueError(f"{name} {getattr(self, name)!r}")
        if not (self.unknown is None or isinstance(self.unknown, int | float)):
            raise ValueError(f"unknown {self.unknown!r}")
        if not (isfinite(self.temperature_) and self.temperature_ > 0):
            raise ValueError(f"temperature {self.temperature_}")

    def _check_settings(self) -> None:
        if not isinstance(self.encoder, ImageEncoder):
            raise InputError(
                f"a {type(self.encoder).__name__} was given for the encoder; give what "
                "ancor.load_encoder returns"
            )
        choose("`classifier`", self.classifier, CLASSIFIERS)
        if self.n_augmentations < 0:
            raise InputError(f"`n_augmentations` {self.n_augmentations}: 0 or more are needed")
        if self.unknown is not None and not 0 <= self.unknown <= 1:
            raise InputError(f"`unknown` {self.unknown}: a probability, 0 to 1, is needed")
        if self.unknown is not None and UNKNOWN in getattr(self, "classes_", np.empty(0)).tolist():
            raise InputError(
                f"a class is called {UNKNOWN!r}, which is what unknown={self.unknown} answers; "
                "rename the class, or leave `unknown` out"
            )
        if self.coarse_first and not self.encoder.num_coarse:
            raise InputError(
                f"the encoder (head {self.encoder.network.config.head!r}) has no classifier to ask "
                "for the coarse class first; leave `coarse_first` out, or give one "
                "trained with `mode` coarse and `head` seq, fork or cls"
            )

    def _support(
        self, images: Any, labels: Sequence | None, like: np.ndarray | None = None
    ) -> tuple[Features, np.ndarray]:
        """Return the features of support images and their labels (N,), of the type of `like`."""
        if labels is None:
            if not isinstance(images, str | PathLike):
                raise InputError(
                    "images were given without labels; give one label for each image, or the path "
                    "of a folder that holds one folder a class"
                )
            images, labels = inputs.class_folders(images)
        images = known_features(images) or inputs.listed(images)
        labels = inputs.labels_of(labels, len(images), like)
        found = self.encoder.features(images, self.n_augmentations, self.seed)
        self._check_width(found)
        views = found.views.shape[1]
        if views < self.n_augmentations:
            raise InputError(
                f"features with {views} views of each image were given and "
                f"{self.n_augmentations} are learned from; encode the images with "
                f"n_augmentations={self.n_augmentations}"
            )
        return found.first_views(self.n_augmentations), labels

    def _check_width(self, features: Features) -> None:
        if features.vectors.shape[1] != self.encoder.width:
            raise InputError(
                f"features of width {features.vectors.shape[1]} were given, and the encoder makes "
                f"{self.encoder.width}; encode the images with it"
            )

    def _learn(self, support: Features, labels: np.ndarray) -> "FewShotClassifier":
        classes, positions = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise InputError(
                f"one class only, {classes.tolist()[0]!r}; give images of at least 2 classes to "
                "tell apart"
            )
        self._remember(support, classes, positions)
        self._check_settings()
        self.temperature_ = self._episode.temperature()
        return self

    def _remember(self, support: Features, classes: np.ndarray, labels: np.ndarray) -> None:
        self.support_, self.classes_, self.labels_ = support, classes, labels
        self._episode = Support(
            support, torch.from_numpy(labels), len(classes), self.classifier, self.coarse_first
        )

    def _scores_of(self, images: Any) -> Tensor:
        """Scores (Q, n) of images."""
        self._check_fitted()
        self._check_settings()
        query = self.encoder.features(images)
        self._check_width(query)
        return self._episode.scores(query)

    def _probabilities(self, scores: Tensor) -> Tensor:
        return (scores / self.temperature_).softmax(1)
