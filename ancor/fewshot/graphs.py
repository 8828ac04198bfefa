"""A few-shot classifier as a graph: from pixels to probabilities.

A new classifier has a place in `GRAPHS`, a new kind of "unknown" in `ClassifierGraph._unknown`.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ancor.data.transforms import normalize
from ancor.errors import InputError
from ancor.evaluation.centering import center
from ancor.evaluation.classifiers import MAX_NEIGHBORS, TIE, logarithms
from ancor.evaluation.episode_batch import EpisodeBatch
from ancor.evaluation.feature_bank import predicted_class, unit_vectors
from ancor.evaluation.penalty import fit_logistic
from ancor.evaluation.ridge import fit_ridge
from ancor.fewshot.checks import AUTO
from ancor.fewshot.classifier import Classifier


class Linear(nn.Module):
    """LR, Proto, Ridge and SimpleShot: query @ weight + bias; of the first two, its log-softmax."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, softmax: bool = False) -> None:
        super().__init__()
        bias = weight.new_zeros(weight.shape[1]) if bias is None else bias
        self.softmax = softmax
        self.register_buffer("weight", weight.float().contiguous())
        self.register_buffer("bias", bias.float())

    def forward(self, query: Tensor) -> Tensor:
        """Return scores (N, m) of queries (N, F)."""
        values = query @ self.weight + self.bias
        return logarithms(values.softmax(1)) if self.softmax else values

    @classmethod
    def logistic(cls, batch: EpisodeBatch) -> "Linear":
        """LR, fitted here."""
        if batch.n_ways == 1:  # no boundary to fit
            return cls.prototypes(batch)
        fit = fit_logistic(batch)
        return cls(fit.weight[0], fit.bias[0, 0], softmax=True)

    @classmethod
    def prototypes(cls, batch: EpisodeBatch) -> "Linear":
        """Proto: of minus the squared distance, |query|^2 is common to all classes."""
        means = batch.means()[0]
        return cls(2 * means.T, -means.square().sum(1), softmax=True)

    @classmethod
    def ridge(cls, batch: EpisodeBatch) -> "Linear":
        """Ridge, fitted here."""
        fit = fit_ridge(batch)
        return cls(fit.weight[0], fit.bias[0, 0])

    @classmethod
    def cosines(cls, batch: EpisodeBatch) -> "Linear":
        """SimpleShot: queries are of unit length."""
        return cls(F.normalize(batch.means()[0], dim=1).T)


class Nearest(nn.Module):
    """NN and Cosine: the best similarity to a support vector of each class.

    Of NN that is minus the squared distance, but for |query|^2, which is common to all classes.
    """

    def __init__(self, batch: EpisodeBatch, euclidean: bool) -> None:
        super().__init__()
        support, labels = batch.support[0].double(), batch.labels[0]
        weight = 2 * support if euclidean else F.normalize(support, dim=1)
        bias = -support.square().sum(1) if euclidean else torch.zeros(len(support))
        own = [labels.eq(label).nonzero()[:, 0] for label in range(batch.n_ways)]
        # Classes of unequal sizes: the first is the best of its class as often as it is there.
        most = max(map(len, own))
        rows = torch.stack([torch.cat([each, each[:1].expand(most - len(each))]) for each in own])
        self.register_buffer("weight", weight.T.float().contiguous())
        self.register_buffer("bias", bias.float())
        self.register_buffer("rows", rows)

    def forward(self, query: Tensor) -> Tensor:
        """Return scores (N, m) of queries (N, F)."""
        similarity = query @ self.weight + self.bias
        return similarity[:, self.rows.flatten()].unflatten(1, self.rows.shape).amax(2)


class Neighbors(nn.Module):
    """KNN, by the rules of `ancor.evaluation.classifiers.k_nearest`.

    In fp64, as there: weights are inverse distances, which may be next to 0.
    """

    def __init__(self, batch: EpisodeBatch) -> None:
        super().__init__()
        support, labels = batch.support[0].double(), batch.labels[0]
        weighted = batch.class_weights is not None
        self.kept = len(labels) if weighted else min(MAX_NEIGHBORS, len(labels))
        worth = batch.class_weights[0][labels] if weighted else torch.ones(len(labels))
        self.register_buffer("support", support.T.contiguous())
        self.register_buffer("squares", support.square().sum(1))
        self.register_buffer("worth", worth.double())
        self.register_buffer("member", F.one_hot(labels, batch.n_ways).double())

    def forward(self, query: Tensor) -> Tensor:
        """Return scores (N, m) of queries (N, F)."""
        query = query.double()
        squared = query.square().sum(1, keepdim=True) + self.squares - 2 * query @ self.support
        nearest, order = squared.clamp(min=0).topk(self.kept, largest=False)
        votes = torch.where(nearest[:, :1] <= TIE, (nearest <= TIE).double(), nearest.rsqrt())
        worth = self.worth[order]
        votes = votes * worth * (worth.cumsum(1) - worth < MAX_NEIGHBORS)
        found = (votes[:, :, None] * self.member[order]).sum(1)
        return logarithms(found / found.sum(1, keepdim=True)).float()


GRAPHS: dict[str, Callable[[EpisodeBatch], nn.Module]] = {
    "LR": Linear.logistic,
    "Proto": Linear.prototypes,
    "Ridge": Linear.ridge,
    "SimpleShot": Linear.cosines,
    "Cosine": partial(Nearest, euclidean=False),
    "NN": partial(Nearest, euclidean=True),
    "KNN": Neighbors,
}


class Compared(nn.Module):
    """Scores of all n classes by support images of some: -inf of the others."""

    def __init__(self, classifier: str, n_ways: int, present: Tensor, batch: EpisodeBatch) -> None:
        super().__init__()
        self.scores = GRAPHS[classifier](batch)
        columns = torch.full((n_ways,), len(present))
        columns[present] = torch.arange(len(present))
        self.register_buffer("columns", columns)

    def forward(self, query: Tensor) -> Tensor:
        """Return scores (N, n) of queries (N, F)."""
        return F.pad(self.scores(query), (0, 1), value=-torch.inf)[:, self.columns]


class ClassifierGraph(nn.Module):
    """A fitted classifier: pixels (N, S, S, 3) of uint8 to outputs by name.

    `probabilities` (N, n) and `unknown` (N,) of bool, which is false where the classifier has no
    threshold; `coarse_probabilities` (N, C) where the encoder has a classifier of its own.
    """

    takes = "pixels"

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        episode, encoder = model.episode, model.encoder
        name = episode.classifier
        if name not in GRAPHS:
            raise InputError(
                f"`classifier` {name} has no graph to export; accepted: {', '.join(GRAPHS)}: fit "
                "one of these"
            )
        # torch.export's archives hold tensors whole that lie in memory in the plain way.
        self.network = deepcopy(encoder.network).to(memory_format=torch.contiguous_format)
        self.kind, self.transforms = encoder.kind, encoder.transforms
        self.temperature, self.threshold = model.temperature_, model.unknown
        if model.unknown == AUTO:
            self.threshold = model.threshold()
            self.register_buffer("means", model.class_means.float())
        self.register_buffer("mean", model.center_)
        self.similar = model.unknown == AUTO
        self.outputs = ("probabilities", "unknown")
        if encoder.num_coarse:
            self.outputs += ("coarse_probabilities",)
        self.whole = Compared(name, episode.n_ways, *episode.compared_with())
        self.gates: list[int] = []
        if episode.coarse_first:
            self.gates = episode.coarse_classes.tolist()
        self.parts = nn.ModuleList(
            Compared(name, episode.n_ways, *episode.compared_with(gate)) for gate in self.gates
        )
        self.eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return outputs by name of pixels (N, S, S, 3)."""
        output = self.network(normalize(pixels.permute(0, 3, 1, 2), self.transforms))
        query = unit_vectors(output, self.kind)
        if self.mean is not None:
            query = center(query, self.mean)
        scores = self.whole(query)
        for gate, part in zip(self.gates, self.parts, strict=True):
            scores = torch.where(predicted_class(output)[:, None] == gate, part(query), scores)
        probabilities = (scores / self.temperature).softmax(1)
        found = {"probabilities": probabilities, "unknown": self._unknown(query, probabilities)}
        if "coarse_probabilities" in self.outputs:
            found["coarse_probabilities"] = output.logits.softmax(1)
        return found

    def _unknown(self, query: Tensor, probabilities: Tensor) -> Tensor:
        """Tell, (N,) of bool, where `predict` answers "unknown"."""
        if self.similar:
            return (query @ self.means.T).amax(1) < self.threshold
        return probabilities.amax(1) < (0 if self.threshold is None else self.threshold)
