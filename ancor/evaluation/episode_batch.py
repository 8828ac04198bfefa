"""What a classifier is given: the features of many episodes of one shape."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class EpisodeBatch(NamedTuple):
    """Episodes of one shape, for one model.

    Attributes:
        support: features of the support lists, (E, S, F).
        labels: their episode labels, (E, S).
        ids: equal ids in one episode stand for equal vectors of equal labels; -1 for padding,
            which follows the list; (E, S).
        query: features of the queries, (E, Q, F).
        n_ways: classes of each episode.
        evidence: factor of the cross-entropies in LR, whose penalty is not scaled (C of
            scikit-learn); one number, or one an episode, (E, 1).
        class_weights: how much a vector of each class counts in LR, KNN and Ridge (`balanced`),
            (E, n); None: all alike, as in episodes.
        images: the image that each vector is a view of, (E, S); None: each id is one.
        n_queries: queries of each episode, (E,), which padding follows; None: Q.
    """

    support: Tensor
    labels: Tensor
    ids: Tensor
    query: Tensor
    n_ways: int
    evidence: float | Tensor = 1.0
    class_weights: Tensor | None = None
    images: Tensor | None = None
    n_queries: Tensor | None = None

    def split(self, episodes: int) -> Iterator["EpisodeBatch"]:
        """Yield batches of that many episodes, in order."""
        for start in range(0, len(self.labels), episodes):
            part = slice(start, start + episodes)
            tensors = {n: v[part] for n, v in self._asdict().items() if isinstance(v, Tensor)}
            yield self._replace(**tensors)

    def weights(self, labels: Tensor) -> Tensor | float:
        """How much vectors of these labels (E, S) count, likewise (E, S); 1 where all do alike."""
        return 1.0 if self.class_weights is None else self.class_weights.gather(1, labels)

    def members(self) -> Tensor:
        """Which support vectors are of which class, (E, n, S) of fp64: 1 or 0, of padding 0."""
        member = F.one_hot(self.labels, self.n_ways) * (self.ids >= 0)[..., None]
        return member.mT.double()

    def means(self) -> Tensor:
        """Each class's mean, (E, n, F) of fp64."""
        member = self.members()
        return member @ self.support.double() / member.sum(2, keepdim=True)

    def asked(self) -> Tensor:
        """Which queries are no padding, (E, Q)."""
        episodes, queries = self.query.shape[:2]
        numbers = torch.arange(queries, device=self.query.device).expand(episodes, -1)
        return numbers < (queries if self.n_queries is None else self.n_queries[:, None])

    def distinct(self, weights: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the different support vectors (E, D, F), their labels and how often each is there.

        Padding is there 0 times. Of weights (E, S), each one's sum takes the place of the number.
        """
        weights = (self.ids >= 0).long() if weights is None else weights * (self.ids >= 0)
        group, size = _groups(self.ids)
        if size == self.ids.shape[1]:
            return self.support, self.labels, weights
        first = _firsts(group, size)
        counts = weights.new_zeros(first.shape).scatter_add_(1, group, weights)
        support = self.support.gather(1, first[..., None].expand(-1, -1, self.support.shape[2]))
        return support, self.labels.gather(1, first), counts

    def by_image(self) -> "Images":
        """Put the views of each image together."""
        images = self.ids if self.images is None else self.images
        group, size = _groups(torch.where(self.ids < 0, -1, images))
        first = _firsts(group, size)
        views = torch.zeros_like(first).scatter_add_(1, group, (self.ids >= 0).long())
        where = group[..., None].expand_as(self.support)
        means = self.support.new_zeros(*first.shape, self.support.shape[2], dtype=torch.float64)
        means.scatter_add_(1, where, self.support.double())
        means /= views.clamp(min=1)[..., None]
        return Images(means, self.labels.gather(1, first), views, group)


class Images(NamedTuple):
    """The support images of a batch.

    Attributes:
        means: of each image's views, (E, I, F) of fp64.
        labels: their episode labels, (E, I).
        views: number of each one's views, (E, I); 0 for padding.
        image_of: position of each support vector's image, (E, S).
    """

    means: Tensor
    labels: Tensor
    views: Tensor
    image_of: Tensor

    def ranks(self, n_ways: int) -> tuple[Tensor, Tensor]:
        """Return each image's number in its class, from 0, and its class's size, both (E, I)."""
        member = F.one_hot(self.labels, n_ways) * (self.views > 0)[..., None]
        labels = self.labels[..., None]
        ranks = member.cumsum(1).gather(2, labels)[..., 0] - 1
        return ranks, member.sum(1).gather(1, self.labels)


def _groups(keys: Tensor) -> tuple[Tensor, int]:
    """Return the group of equal keys that each of (E, S) is in, and the number of groups."""
    keys, order = keys.sort(dim=1, stable=True)
    starts = F.pad(keys[:, 1:] != keys[:, :-1], (1, 0), value=True)
    group = starts.cumsum(1) - 1
    return torch.empty_like(group).scatter_(1, order, group), int(group.max()) + 1


def _firsts(group: Tensor, size: int) -> Tensor:
    """Return the position of each group's first, (E, size)."""
    positions = torch.arange(group.shape[1], device=group.device).expand_as(group)
    first = torch.zeros_like(group[:, :size])
    return first.scatter_reduce_(1, group, positions, "amin", include_self=False)
