"""Predictors: from what one or more models see of episodes to episode labels.

A predictor is all in which eval, ensemble, concat and cascade differ.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.errors import InputError, choose
from ancor.evaluation.classifiers import (
    PROBABILISTIC,
    Classifier,
    build_classifier,
    probabilities_by,
)
from ancor.evaluation.config import CLASSIFIERS, check_inductive
from ancor.evaluation.episode_batch import EpisodeBatch

Predictor = Callable[[Sequence[EpisodeBatch]], Tensor]  # one batch a model -> labels (E, Q)
# In its cascade the paper's code leaves two classes to scikit-learn's binary form, which penalizes
# |w_1 - w_0|^2 where the multinomial one penalizes half as much: known from its recorded answers.
TWO_CLASS_EVIDENCE = 0.5
CASCADE_BATCH = 64  # parts of episodes that are classified at once


@dataclass(frozen=True)
class Likeliest:
    """The predictor that answers the likeliest class.

    Attributes:
        probabilities: from one batch a model to each class's probability, (E, Q, n).
    """

    probabilities: Callable[[Sequence[EpisodeBatch]], Tensor]

    def __call__(self, batches: Sequence[EpisodeBatch]) -> Tensor:
        """Return labels (E, Q)."""
        return self.probabilities(batches).argmax(2)


def single(classifier: str, penalty: float | str = 1.0) -> Predictor:
    """Return the predictor of one model; `penalty` is LR's `C`."""
    return _on_one_batch(classifier, penalty, lambda batches: batches[0])


def _on_one_batch(
    classifier: str,
    penalty: float | str,
    batch_of: Callable[[Sequence[EpisodeBatch]], EpisodeBatch],
) -> Predictor:
    """Return the predictor by one classifier on what is made of the models' batches."""
    if classifier in PROBABILISTIC:
        probabilities = probabilities_by(classifier, penalty)
        return Likeliest(lambda batches: probabilities(batch_of(batches)))
    classify = build_classifier(classifier, penalty)
    return lambda batches: classify(batch_of(batches))


def ensemble(classifier: str, average: str = "geometric", penalty: float | str = 1.0) -> Predictor:
    """Return the predictor by the mean of the models' probabilities.

    Raises:
        InputError: the classifier has no probabilities.
    """
    if choose("`classifier`", classifier, CLASSIFIERS) not in PROBABILISTIC:
        raise InputError(
            f"`classifier` {classifier} has no probabilities to average in an ensemble; accepted: "
            f"{', '.join(sorted(PROBABILISTIC))}"
        )
    probabilities = probabilities_by(classifier, penalty)

    def averaged(batches: Sequence[EpisodeBatch]) -> Tensor:
        each = torch.stack([probabilities(batch) for batch in batches])
        # By logarithms, as a product of many is 0 in floats.
        mean = each.log().mean(0).exp() if average == "geometric" else each.mean(0)
        total = mean.sum(2, keepdim=True)
        return mean / total.where(total > 0, 1)  # the models' KNN may share no vote

    return Likeliest(averaged)


def concat(classifier: str, penalty: float | str = 1.0) -> Predictor:
    """Return the predictor by one classifier on the models' features side by side."""

    def joined(batches: Sequence[EpisodeBatch]) -> EpisodeBatch:
        return batches[0]._replace(
            support=torch.cat([batch.support for batch in batches], dim=2),
            query=torch.cat([batch.query for batch in batches], dim=2),
        )

    return _on_one_batch(classifier, penalty, joined)


def cascade(classifier: str, penalty: float | str = 1.0) -> Predictor:
    """Return the predictor that asks for the coarse class first.

    The first batch's features are one number: the coarse class that model 1 predicts. A query is
    classified by the second batch among the support vectors of its own predicted coarse class; if
    there are none, among all; if they are of one fine class, that is the answer.

    Raises:
        InputError: the classifier is transductive, and a cascade divides an episode's queries.
    """
    check_inductive(classifier)
    probable = classifier in PROBABILISTIC
    classify = (probabilities_by if probable else build_classifier)(classifier, penalty)

    def shares(batches: Sequence[EpisodeBatch]) -> Tensor:
        """Each class's probability, (E, Q, n), of labels alone 1: 0 where it was not compared."""
        coarse, fine = batches
        found = coarse.query.new_zeros(*coarse.query.shape[:2], fine.n_ways, dtype=torch.float64)
        parts = sorted(_parts(coarse, found), key=lambda part: len(part.classes))
        for _, alike in groupby(parts, key=lambda part: len(part.classes)):
            alike = sorted(alike, key=lambda part: len(part.support))
            for start in range(0, len(alike), CASCADE_BATCH):
                _answer(alike[start : start + CASCADE_BATCH], fine, classify, found)
        return found

    answer = Likeliest(shares)
    return answer if probable else lambda batches: answer(batches)


class _Part(NamedTuple):
    """Queries of an episode that are classified among the same support vectors.

    Attributes:
        episode: position of the episode in its batch.
        support, query: positions of vectors in the episode.
        classes: the fine classes among the support vectors.
    """

    episode: int
    support: Tensor
    query: Tensor
    classes: Tensor


def divide(support: Tensor, query: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Divide queries by predicted coarse class.

    Args:
        support: predicted coarse classes of the support vectors, (S,).
        query: those of the queries, (Q,).

    Yields:
        Positions of support vectors, those of one predicted class or, if there are none, all; and
        of the queries that are to be classified among them.
    """
    for predicted in query.unique():
        same = support == predicted
        chosen = torch.where(same.any(), same, True).nonzero()[:, 0]
        yield chosen, (query == predicted).nonzero()[:, 0]


def part_evidence(n_ways: int) -> float:
    """Return the evidence (`EpisodeBatch`) of a part of an episode."""
    return TWO_CLASS_EVIDENCE if n_ways == 2 else 1.0


def _parts(coarse: EpisodeBatch, found: Tensor) -> Iterator[_Part]:
    """Divide episodes by predicted coarse class; answer at once where one fine class is left."""
    for episode in range(len(found)):
        support, query = coarse.support[episode, :, 0], coarse.query[episode, :, 0]
        for chosen, asked in divide(support, query):
            classes = coarse.labels[episode, chosen].unique()
            if len(classes) == 1:
                found[episode, asked, classes] = 1
            else:
                yield _Part(episode, chosen, asked, classes)


def _answer(
    parts: Sequence[_Part], fine: EpisodeBatch, classify: Classifier, found: Tensor
) -> None:
    """Classify parts with equally many classes, padded to one shape; write into `found`."""
    pad = torch.nn.utils.rnn.pad_sequence
    support = pad([part.support for part in parts], batch_first=True, padding_value=-1)
    query = pad([part.query for part in parts], batch_first=True)
    rows = torch.tensor([part.episode for part in parts], device=support.device)[:, None]
    classes = torch.stack([part.classes for part in parts])
    labels = fine.labels[rows, support]
    batch = EpisodeBatch(
        fine.support[rows, support],
        torch.searchsorted(classes, labels).clamp(max=classes.shape[1] - 1),
        torch.where(support >= 0, fine.ids[rows, support], -1),
        fine.query[rows, query],
        classes.shape[1],
        part_evidence(classes.shape[1]),
        images=None if fine.images is None else fine.images[rows, support],
    )
    answers = classify(batch)
    if answers.dim() == 2:  # labels
        answers = F.one_hot(answers, batch.n_ways)
    for part, own in zip(parts, answers.to(found), strict=True):
        found[part.episode, part.query[:, None], part.classes] = own[: len(part.query)]
