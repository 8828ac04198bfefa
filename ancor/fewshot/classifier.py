"""A classifier of new classes from a few images of each, on top of a trained encoder."""

import inspect
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ancor.errors import InputError, choose
from ancor.fewshot import inputs, saved
from ancor.fewshot.answers import Answers
from ancor.fewshot.center import mean_features
from ancor.fewshot.checks import check_answers, check_settings, check_types
from ancor.fewshot.coarse import coarse_of
from ancor.fewshot.image_encoder import ImageEncoder
from ancor.fewshot.support_set import STORED, Features, Support, known_features
from ancor.fewshot.unknown import ClassMeans
from ancor.runtime.devices import Runtime
from ancor.safe_io.broken import BROKEN

LEARNED = ("classifier", "coarse_first", "C")  # settings that take effect at `fit` or `add`
RENAMED = {"n_aug_support_samples": "n_augmentations"}  # settings in files of earlier versions


class Classifier(Answers):
    """Tells classes apart from one or a few images of each.

    It has the methods of scikit-learn's estimators, without their base, which takes as long to
    import as torch; `ancor.FewShotClassifier` has it too. X is a list of images: paths, PIL images,
    NumPy arrays (H, W) or (H, W, 3) of uint8, tensors (3, H, W) of uint8 or of floats in 0-1, also
    mixed; a folder's path; or `Features` that the encoder computed before. Another classifier, C or
    coarse_first takes effect at the next `fit` or `add`.

    Args:
        encoder: what `ancor.load_encoder` returns.
        classifier: LR, Ridge, Proto, SimpleShot, Cosine, NN or KNN, as in evaluation.
        n_augmentations: random views of each support image that are learned from; 0: the
            image itself under the test transform.
        coarse_first: whether the encoder's own classifier tells the coarse class first, so that an
            image is compared only with support images of the same predicted coarse class, if there
            are any (the cascade, in one model).
        unknown: probability below which `predict` answers "unknown"; `auto`: it does so by the
            similarity to the class means (`threshold`); None: never.
        unknown_rate: share of images of known classes that `auto` may answer so.
        back_off: probability below which `predict` answers the likeliest coarse class in place of
            the class; None: never.
        coarse_by: where the coarse class's probabilities come from: `classes`, the sums over its
            classes; or `encoder`, the encoder's own classifier, of the coarse classes there are.
        seed: of the random views, each of which follows from the seed and its image's content.
        C: of LR, as in scikit-learn; `auto`: the best for left-out support images.
        center: whether the mean of the training images' features, which the encoder's file tells,
            is subtracted from all features, as in evaluation; or a folder of other images, without
            labels, whose mean it is. It is computed by `fit`, and saved.

    Attributes:
        classes_: labels (n,), sorted.
        coarse_: the coarse class of each of classes_, (n,); None: not known.
        temperature_: by which scores are divided before the softmax; fitted to left-out support
            images where every class has 5 or more, else 1.
        support_: features of all support images, not centered.
        center_: the mean that is subtracted, (F,); None: nothing is.
        labels_: their positions in classes_, (N,).
    """

    def __init__(
        self,
        encoder: ImageEncoder | None = None,
        classifier: str = "LR",
        n_augmentations: int = 5,
        coarse_first: bool = False,
        unknown: float | str | None = None,
        seed: int = 0,
        unknown_rate: float = 0.05,
        back_off: float | None = None,
        C: float | str = 1.0,
        center: bool | str | Path = False,
        coarse_by: str = "classes",
    ) -> None:
        self.encoder = encoder
        self.classifier = classifier
        self.n_augmentations = n_augmentations
        self.coarse_first = coarse_first
        self.unknown = unknown
        self.seed = seed
        self.unknown_rate = unknown_rate
        self.back_off = back_off
        self.C = C
        self.center = center
        self.coarse_by = coarse_by

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name; `deep` changes nothing, as no setting has settings."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **settings: Any) -> "Classifier":
        """Change settings; InputError where one is unknown."""
        for name, value in settings.items():
            setattr(self, choose("setting of a classifier", name, self.get_params()), value)
        return self

    def fit(
        self, images: Any, labels: Sequence | None = None, coarse: Mapping[Any, str] | None = None
    ) -> "Classifier":
        """Learn classes from images of each.

        Args:
            images: N images; or a folder's path that holds one folder a class, without labels; the
                folders may lie in one folder for each coarse class.
            labels: their classes, (N,), strings or integers (`ancor.fewshot.inputs.labels_of`).
            coarse: the coarse class of each class, by label; None: as folders say, or else what
                the encoder's own classifier predicts for most of a class's images, if its file
                names its classes.

        Raises:
            InputError: a setting is not accepted, an image cannot be read, or there is one class.
        """
        check_settings(self)
        support, labels, coarse = self._support(images, labels, coarse)
        return self._learn(support, labels, coarse, mean_features(self.encoder, self.center))

    def add(
        self, images: Any, labels: Sequence | None = None, coarse: Mapping[Any, str] | None = None
    ) -> "Classifier":
        """Learn from more images, of new or known classes; equal to `fit` on all of them together.

        Args:
            images: as in `fit`; the earlier ones are not needed.
            labels, coarse: likewise; the coarse classes of earlier classes stay known.

        Raises:
            NotFittedError: there are no earlier ones.
            InputError: as in `fit`, or the labels are of another kind than the earlier ones, or
                `n_augmentations` is another than theirs.
        """
        self._check_fitted()
        check_settings(self)
        views = self.support_.views.shape[1]
        if views != self.n_augmentations:
            raise InputError(
                f"`n_augmentations` {self.n_augmentations}: the earlier images have "
                f"{views} copies each; set it to {views}, or fit all images anew"
            )
        support, labels, coarse = self._support(images, labels, coarse, self.classes_)
        before = self.classes_[self.labels_]
        support = Features.join([self.support_, support])
        return self._learn(support, np.append(before, labels), self._given | coarse, self.center_)

    def save(self, path: str | Path) -> None:
        """Write everything that `predict` needs, the encoder included, into one file.

        Raises:
            NotFittedError: there is nothing to save.
            InputError: it cannot be written, or a setting is not accepted.
        """
        self._check_fitted()
        check_settings(self)
        check_answers(self)
        encoder, arrays = self.encoder.pack()
        settings = {n: v for n, v in self.get_params(deep=False).items() if n != "encoder"}
        learned = {name: getattr(self._episode, name) for name in LEARNED}
        learned["center"] = self.center_ is not None  # whichever folder it was
        about = {
            "encoder": encoder,
            "settings": settings | learned,
            "classes": self.classes_.tolist(),
            "coarse": None if self.coarse_ is None else self.coarse_.tolist(),
            "coarse_given": bool(self._given),
            "temperature": self.temperature_,
        }
        arrays |= {name: getattr(self.support_, name).numpy() for name in STORED}
        if self.center_ is not None:
            arrays["center"] = self.center_.numpy()
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
    ) -> "Classifier":
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
            support = Features(*(torch.from_numpy(arrays[name]) for name in STORED))
            support.check(arrays["labels"])
            classes = inputs.labels_of(about["classes"], len(np.unique(arrays["labels"])))
            coarse = about.get("coarse")  # files of versions before tell none
            if coarse is not None:
                coarse = inputs.labels_of(coarse, len(classes), like=np.array([""]))
            mean = torch.from_numpy(arrays["center"]) if "center" in arrays else None
            model._remember(support, classes, arrays["labels"], coarse, mean)
            if about.get("coarse_given"):
                model._given = dict(zip(classes.tolist(), coarse.tolist(), strict=True))
            model.temperature_ = float(about["temperature"])
            check_types(model)
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

    def _support(
        self,
        images: Any,
        labels: Sequence | None,
        coarse: Mapping[Any, str] | None,
        like: np.ndarray | None = None,
    ) -> tuple[Features, np.ndarray, dict[Any, str]]:
        """Return features of support images, labels (N,) of the type of `like`, coarse classes."""
        if labels is None:
            if not isinstance(images, str | PathLike):
                raise InputError(
                    "images were given without labels; give one label for each image, or the path "
                    "of a folder that holds one folder a class"
                )
            coarse = inputs.coarse_folders(images) if coarse is None else coarse
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
        return found.first_views(self.n_augmentations), labels, dict(coarse or {})

    def _learn(
        self, support: Features, labels: np.ndarray, given: dict[Any, str], mean: Tensor | None
    ) -> "Classifier":
        classes, positions = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise InputError(
                f"one class only, {classes.tolist()[0]!r}; give images of at least 2 classes to "
                "tell apart"
            )
        coarse = coarse_of(classes, given, support, positions, self.encoder.coarse_names)
        self._remember(support, classes, positions, coarse, mean)
        self._given = given
        self.temperature_ = self._episode.temperature()
        check_answers(self)
        return self

    def _remember(
        self,
        support: Features,
        classes: np.ndarray,
        labels: np.ndarray,
        coarse: np.ndarray | None,
        mean: Tensor | None,
    ) -> None:
        self.support_, self.classes_, self.labels_ = support, classes, labels
        self.coarse_, self._given, self.center_ = coarse, {}, mean
        compared, positions = support.centered(mean), torch.from_numpy(labels)
        self._means = ClassMeans(compared, positions)
        how = (getattr(self, name) for name in LEARNED)
        self._episode = Support(compared, positions, len(classes), *how)
