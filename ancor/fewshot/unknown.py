"""Images of no known class: told by their similarity to the class means (ours)."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from torch.nn import functional as F

from ancor.errors import InputError
from ancor.fewshot.support_set import Features


@dataclass(frozen=True)
class ClassMeans:
    """The means of the classes' support vectors, and how similar images are to them.

    Attributes:
        features: of N support images; their views count or, if they have none, they themselves.
        labels: (N,) of int64, 0 to n - 1.
    """

    features: Features
    labels: Tensor

    def similarities(self, query: Tensor) -> Tensor:
        """Highest cosine of each query (Q, F) to a class mean, (Q,) of float64."""
        return (F.normalize(query.double(), dim=1) @ self.unit.T).amax(1)

    def threshold(self, rate: float) -> float:
        """Return the similarity below which an image is to be called unknown.

        Each support image is left out of its own class's mean with all of its views, and compared
        with all means as a query is. Images of classes of one image cannot be left out and do not
        count; of the others, classes count equally.

        Args:
            rate: the share of images of known classes that may be below it, in 0-1.

        Raises:
            InputError: no class has two images.
        """
        sizes = self.labels.bincount()[self.labels]
        if sizes.max() < 2:
            raise InputError(
                "`unknown` auto compares images with the others of their class, and every class "
                "has one image; give a class two or more, or a probability as `unknown`"
            )
        kept = sizes > 1
        similarities, order = self._left_out[kept].sort()
        weights = 1 / sizes[kept][order].double()
        below = (weights.cumsum(0) - weights) / weights.sum()  # share of those before each
        allowed = int((below <= rate + 1e-12).sum())
        return float(similarities[allowed - 1])

    @cached_property
    def _vectors(self) -> Tensor:
        """What each image adds to its class's mean, but for its length, (N, F) of float64."""
        views = self.features.views
        return views.double().sum(1) if views.shape[1] else self.features.vectors.double()

    @cached_property
    def _sums(self) -> Tensor:
        sums = self._vectors.new_zeros(int(self.labels.max()) + 1, self._vectors.shape[1])
        return sums.index_add_(0, self.labels, self._vectors)

    @cached_property
    def unit(self) -> Tensor:
        """The means, scaled to length 1, (n, F) of float64."""
        return F.normalize(self._sums, dim=1)

    @cached_property
    def _left_out(self) -> Tensor:
        """Highest cosine of each support image to a class mean without it, (N,)."""
        query = F.normalize(self.features.vectors.double(), dim=1)
        cosines = query @ self.unit.T
        own = F.normalize(self._sums[self.labels] - self._vectors, dim=1)
        return cosines.scatter_(1, self.labels[:, None], (query * own).sum(1, keepdim=True)).amax(1)
