"""Few-shot classifiers: from the support and query features of an episode to predictions.

Each is a function of `EpisodeFeatures` that returns episode labels (Q,); those with probabilities
have them in a second function.
"""

import numpy as np

from ancor.errors import choose
from ancor.evaluation.episodic import EpisodeFeatures, Predictor

MAX_NEIGHBOURS = 30


def logistic_regression(episode: EpisodeFeatures) -> np.ndarray:
    """Probabilities (Q, n) of multinomial logistic regression, at its optimum.

    Minimises the sum of cross-entropies + 0.5 |W|^2, the intercept free. W lies in the span of the
    support vectors, so the problem is solved there: in at most S dimensions instead of F.
    """
    from sklearn.linear_model import LogisticRegression

    support, query = episode.support.astype(np.float64), episode.query.astype(np.float64)
    if support.shape[1] > support.shape[0]:
        left, singular, basis = np.linalg.svd(support, full_matrices=False)
        support, query = left * singular, query @ basis.T
    # scikit-learn fits two classes in the binary form: the multinomial optimum is there at C = 2.
    model = LogisticRegression(C=2.0 if episode.n_ways == 2 else 1.0, tol=1e-8, max_iter=10_000)
    return model.fit(support, episode.support_labels).predict_proba(query)


def k_nearest(episode: EpisodeFeatures) -> np.ndarray:
    """Probabilities (Q, n) of min(30, S) Euclidean neighbours, weighted by inverse distance."""
    from sklearn.neighbors import KNeighborsClassifier

    neighbours = min(MAX_NEIGHBOURS, len(episode.support))
    model = KNeighborsClassifier(neighbours, weights="distance", algorithm="brute")
    return model.fit(episode.support, episode.support_labels).predict_proba(episode.query)


def prototypes(episode: EpisodeFeatures) -> np.ndarray:
    """Probabilities (Q, n): softmax of minus the squared distance to each class's mean.

    Prototypical networks (Snell et al., 2017, arXiv 1703.05175).
    """
    from scipy.special import softmax

    means = np.stack(
        [episode.support[episode.support_labels == way].mean(0) for way in range(episode.n_ways)]
    )
    return softmax(-_squared_distances(episode.query, means), axis=1)


def nearest(episode: EpisodeFeatures) -> np.ndarray:
    """Labels (Q,) of the nearest support vectors; the first of the list wins a tie."""
    distances = _squared_distances(episode.query, episode.support)
    return episode.support_labels[distances.argmin(1)]


def most_similar(episode: EpisodeFeatures) -> np.ndarray:
    """Labels (Q,) of the support vectors with the highest cosine; the first wins a tie."""
    support = episode.support / np.linalg.norm(episode.support, axis=1, keepdims=True)
    return episode.support_labels[(episode.query @ support.T).argmax(1)]


def _squared_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import cdist

    return cdist(left, right, "sqeuclidean")


PROBABILISTIC = {"LR": logistic_regression, "KNN": k_nearest, "Proto": prototypes}
NEAREST: dict[str, Predictor] = {"NN": nearest, "Cosine": most_similar}
CLASSIFIERS = (*PROBABILISTIC, *NEAREST)


def build_predictor(name: str) -> Predictor:
    """Return the predictor of one model with the classifier `name`."""
    choose("classifier", name, CLASSIFIERS)
    if name in NEAREST:
        return NEAREST[name]
    return lambda episode: PROBABILISTIC[name](episode).argmax(1)
