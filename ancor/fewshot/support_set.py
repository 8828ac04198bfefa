"""One episode that stays: features of a user's support images, and queries that come one by one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ancor.evaluation import logistic
from ancor.evaluation.centering import center
from ancor.evaluation.classifiers import balanced, class_scores, logarithms
from ancor.evaluation.config import AUTO
from ancor.evaluation.episode_batch import EpisodeBatch
from ancor.evaluation.penalty import choose_penalty, fit_logistic, logistic_probabilities
from ancor.evaluation.predictors import divide, part_evidence
from ancor.evaluation.scoring import run_parallel
from ancor.fewshot.temperature import fit_temperature

CALIBRATED = 5  # images that each class needs for a temperature
MOST_FITS = 200  # images that are left out one by one; of more, a tenth at a time
MOST_QUERIES = 4096  # classified at once
STORED = ("vectors", "views", "coarse", "coarse_views")  # what is kept of support images


@dataclass(frozen=True)
class Features:
    """What an encoder says of N images; NumPy takes it for its vectors.

    Attributes:
        vectors: of each image under the test transform, of unit length, (N, F) of float32.
        views: of A random views of each image, likewise, (N, A, F).
        coarse: the coarse class that the encoder's classifier predicts of each image, (N,) of
            int64; -1 where it has no classifier.
        coarse_views: the same of each view, (N, A).
        coarse_logits: logits of its C classes of each image, (N, C); C is 0 where it has no
            classifier, and of what is learned from.
    """

    vectors: Tensor
    views: Tensor
    coarse: Tensor
    coarse_views: Tensor
    coarse_logits: Tensor | None = None

    def __post_init__(self) -> None:
        if self.coarse_logits is None:
            object.__setattr__(self, "coarse_logits", self.vectors[:, :0])

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: int | slice | list[int] | np.ndarray | Tensor) -> "Features":
        """Features of some images: by a position, a slice, a list of positions or a mask."""
        if isinstance(rows, int | np.integer):
            rows = [rows]
        return Features(*(part[rows] for part in vars(self).values()))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the vectors for `np.asarray`, (N, F) of float32 unless another type is asked."""
        return np.array(self.vectors.numpy(force=True), dtype=dtype, copy=copy)

    def check(self, labels: np.ndarray) -> None:
        """Raise a ValueError where they, or labels (N,) from 0 on, were not read as written."""
        sizes = {name: tuple(part.shape) for name, part in vars(self).items()}
        sizes["labels"] = labels.shape
        n, width = (*sizes["vectors"], 0, 0)[:2]
        copies = (*sizes["views"], 0, 0)[1]
        wanted = {
            "vectors": (n, width),
            "views": (n, copies, width),
            "coarse": (n,),
            "coarse_views": (n, copies),
            "coarse_logits": (n, 0),
            "labels": (n,),
        }
        if sizes != wanted or not n:
            raise ValueError(f"features of sizes {sizes}")
        found = np.unique(labels)
        if labels.dtype != np.int64 or not np.array_equal(found, np.arange(len(found))):
            raise ValueError(f"labels {found.tolist()[:9]}")
        if self.vectors.dtype != self.views.dtype or not self.vectors.is_floating_point():
            raise ValueError(f"features of types {self.vectors.dtype} and {self.views.dtype}")

    def first_views(self, count: int) -> "Features":
        """Return what is learned from the first `count` views of each image."""
        views, coarse_views = self.views[:, :count], self.coarse_views[:, :count]
        return Features(self.vectors, views, self.coarse, coarse_views)

    def centered(self, mean: Tensor | None) -> "Features":
        """Return the same about a mean (F,), of unit length again; None: as they are."""
        if mean is None:
            return self
        return replace(self, vectors=center(self.vectors, mean), views=center(self.views, mean))

    @staticmethod
    def join(several: Sequence["Features"]) -> "Features":
        """Put features of equally many views one after the other."""
        parts = zip(*(vars(features).values() for features in several), strict=True)
        return Features(*map(torch.cat, parts))


def known_features(images: Any) -> Features | None:
    """Return features that were given in place of images, whole or one by one; else None."""
    if isinstance(images, Features):
        return images
    if isinstance(images, list) and images and all(isinstance(i, Features) for i in images):
        return Features.join(images)
    return None


@dataclass(frozen=True)
class Support:
    """Support images and how queries are classified among them.

    Classes of unequal sizes count equally in what is fitted (`classifiers.balanced`).

    Attributes:
        features: of N images; their views are learned from or, if they have none, they themselves.
        labels: (N,) of int64, 0 to n - 1.
        n_ways: number n of classes.
        classifier: a name of `ancor.evaluation.classifiers.CLASSIFIERS`.
        coarse_first: whether queries are classified among support vectors of their own predicted
            coarse class, by the rules of `ancor.evaluation.predictors.cascade`.
        C: of LR; `auto`: chosen by the whole support, also where parts of it are learned from.
    """

    features: Features
    labels: Tensor
    n_ways: int
    classifier: str
    coarse_first: bool
    C: float | str = 1.0

    def scores(self, query: Features) -> Tensor:
        """Scores (Q, n), whose softmax is each class's probability; -inf of no candidates."""
        starts = range(0, len(query), MOST_QUERIES)
        parts = [query[start : start + MOST_QUERIES] for start in starts]
        return torch.cat([self._scores(part, *self._whole, self._fits) for part in parts])

    def temperature(self, left_out: Tensor | None = None) -> float:
        """Fit a temperature to each image's scores by the others, `left_out()` unless given.

        Returns:
            1 where a class has fewer images than `CALIBRATED`.
        """
        if self.labels.bincount().min() < CALIBRATED:
            return 1.0
        weights = balanced(self.labels.bincount())
        weights = None if weights is None else weights[self.labels]
        scores = self.left_out() if left_out is None else left_out
        return fit_temperature(scores, self.labels, weights)

    def left_out(self) -> Tensor:
        """Scores (N, n) of each image by the others, a tenth at a time if they are many."""
        count = len(self.labels)
        folds = count if count <= MOST_FITS else 10
        by_class = self.labels.argsort(stable=True)
        parts = [by_class[fold::folds] for fold in range(folds)]

        def scores_of(part: Tensor) -> Tensor:
            others = torch.ones(count, dtype=torch.bool)
            others[part] = False
            return self._scores(self.features[part], *self._list(others.nonzero()[:, 0]), {})

        scores = torch.cat(list(run_parallel(scores_of, parts, torch.device("cpu"))))
        return torch.empty_like(scores).index_copy_(0, torch.cat(parts), scores)

    def _scores(
        self,
        query: Features,
        vectors: Tensor,
        coarse: Tensor,
        labels: Tensor,
        images: Tensor,
        fits: dict[bytes, logistic.Fit],
    ) -> Tensor:
        """Scores by a support list as of `_list`; `fits` keeps those of LR by what they fit."""
        scores = torch.full((len(query), self.n_ways), -torch.inf, dtype=torch.float64)
        together = [(torch.arange(len(labels)), torch.arange(len(query)))]
        for chosen, asked in divide(coarse, query.coarse) if self.coarse_first else together:
            present = labels[chosen].unique()
            queries, key = query.vectors[asked][None], chosen.numpy().tobytes()
            found = torch.zeros(1, len(asked), 1, dtype=torch.float64)
            if len(present) > 1 and key not in fits:
                batch = self._episode(vectors, labels, chosen, images)._replace(query=queries)
                if self.classifier == "LR":
                    fits[key] = fit_logistic(batch)
                else:
                    found = class_scores(self.classifier, batch)
            if key in fits:
                found = logarithms(logistic_probabilities(fits[key], queries))
            scores[asked[:, None], present] = found[0]
        return scores

    def compared_with(self, predicted: int | None = None) -> tuple[Tensor, EpisodeBatch]:
        """Return what queries of a predicted coarse class are compared with; None: with all.

        Returns:
            The classes that are there, (m,) of int64, and an episode of these alone, without
            queries.
        """
        vectors, coarse, labels, images = self._whole
        chosen = torch.arange(len(labels)) if predicted is None else coarse.eq(predicted).nonzero()
        chosen = chosen.flatten()
        return labels[chosen].unique(), self._episode(vectors, labels, chosen, images)

    @property
    def coarse_classes(self) -> Tensor:
        """The predicted coarse classes of what is learned from, (m,) of int64, rising."""
        return self._whole[1].unique()

    def _episode(
        self, vectors: Tensor, labels: Tensor, chosen: Tensor, images: Tensor
    ) -> EpisodeBatch:
        """Return the chosen vectors as an episode of their classes alone, without queries."""
        present, local = labels[chosen].unique(return_inverse=True)
        # Of all images, not of those behind the gate: evaluation's cascade has no weights.
        weights = balanced(labels.bincount()[present])
        return EpisodeBatch(
            vectors[chosen][None],
            local[None],
            torch.arange(len(chosen))[None],
            vectors[None, :0],
            len(present),
            self._penalty * (part_evidence(len(present)) if self.coarse_first else 1.0),
            None if weights is None else weights[None],
            images=images[chosen][None],
        )

    @cached_property
    def _whole(self) -> tuple[Tensor, ...]:
        """The list of all images."""
        return self._list(torch.arange(len(self.labels)))

    @cached_property
    def _fits(self) -> dict[bytes, logistic.Fit]:
        """What LR learned before: a query alone is answered without fitting anew."""
        return {}

    @cached_property
    def _penalty(self) -> float:
        """C of LR."""
        if self.classifier != "LR":
            return 1.0
        if self.C != AUTO:
            return self.C
        vectors, _, labels, images = (part[None] for part in self._whole)
        ids = torch.arange(vectors.shape[1])[None]
        weights = balanced(self.labels.bincount())
        batch = EpisodeBatch(vectors, labels, ids, vectors[:, :0], self.n_ways, images=images)
        batch = batch._replace(class_weights=None if weights is None else weights[None])
        return float(choose_penalty(batch))

    def _list(self, kept: Tensor) -> tuple[Tensor, ...]:
        """Vectors (S, F) that are learned from, and of each, (S,), coarse class, label and image.

        The coarse class is the predicted one; the image is a position in `features`.
        """
        support, labels = self.features[kept], self.labels[kept]
        copies = support.views.shape[1]
        if not copies:
            return support.vectors, support.coarse, labels, kept
        vectors = support.views.transpose(0, 1).flatten(0, 1)
        coarse = support.coarse_views.T.flatten()
        return vectors, coarse, labels.repeat(copies), kept.repeat(copies)
