"""A few-shot classifier as an estimator of scikit-learn."""

from sklearn.base import BaseEstimator, ClassifierMixin

from ancor.fewshot.classifier import Classifier


class FewShotClassifier(Classifier, ClassifierMixin, BaseEstimator):
    """A `Classifier` that scikit-learn takes for one of its own: `clone`, `cross_val_score`, ...

    Its arguments, attributes and methods are those of `ancor.fewshot.classifier.Classifier`.
    """
