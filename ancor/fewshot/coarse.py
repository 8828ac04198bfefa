"""The coarse classes of a few-shot classifier's classes, and answers at their level."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ancor.errors import InputError, capped
from ancor.fewshot.support_set import Features
from ancor.runtime.lazy import Lazy

special = Lazy("scipy.special")


def coarse_of(
    classes: np.ndarray,
    given: Mapping[Any, str],
    support: Features,
    labels: np.ndarray,
    names: Sequence[str],
) -> np.ndarray | None:
    """Return the coarse class of each class, (n,) of strings; None where they are not known.

    Args:
        classes: labels (n,).
        given: coarse classes by label; empty: those are taken that the encoder's own classifier
            predicts for most of a class's support images.
        support: features of the support images.
        labels: their classes' positions, (N,).
        names: of the coarse classes that this classifier tells apart; empty: none.

    Raises:
        InputError: some classes are given a coarse class and others are not.
    """
    if given:
        lacking = [name for name in classes.tolist() if name not in given]
        if lacking:
            raise InputError(
                f"no coarse class is given for {capped(map(repr, lacking))}, and one is for "
                f"{next(iter(given))!r}; give one for each class, or for none"
            )
        return np.array([given[name] for name in classes.tolist()], dtype=str)
    predicted = support.coarse.numpy()
    if not ((predicted >= 0) & (predicted < len(names))).all():  # none, or of another encoder
        return None
    votes = np.zeros((len(classes), len(names)), dtype=np.int64)
    np.add.at(votes, (labels, predicted), 1)
    return np.array(names, dtype=str)[votes.argmax(1)]


def coarse_shares(
    logits: np.ndarray, names: Sequence[str], coarse: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Take the probabilities of an encoder's own classifier, of some of its classes.

    Args:
        logits: (Q, m).
        names: of its m classes.
        coarse: the coarse class of each class, (n,), all of them among the names.

    Returns:
        As `coarse_sums`: probabilities given that it is one of these coarse classes.
    """
    found = np.unique(coarse)
    chosen = logits[:, [names.index(name) for name in found.tolist()]].astype(np.float64)
    return found, special.softmax(chosen, axis=1)


def coarse_sums(probabilities: np.ndarray, coarse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum probabilities (Q, n) over the classes of each coarse class.

    Args:
        probabilities: of classes.
        coarse: the coarse class of each, (n,).

    Returns:
        The coarse classes, (C,), sorted, and their probabilities, (Q, C).
    """
    names, positions = np.unique(coarse, return_inverse=True)
    return names, probabilities @ np.eye(len(names))[positions]
