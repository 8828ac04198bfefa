"""The settings of an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

from ancor.errors import InputError, choose
from ancor.runtime.settings import Check, as_typed, at_least, check_settings, one_of, setting

CLASSIFIERS = (
    "LR",
    "KNN",
    "Proto",
    "NN",
    "Cosine",
    "Ridge",
    "SimpleShot",
    "BD-CSPN",
    "LaplacianShot",
)
TRANSDUCTIVE = ("BD-CSPN", "LaplacianShot")  # what they answer depends on all queries together
INDUCTIVE = tuple(name for name in CLASSIFIERS if name not in TRANSDUCTIVE)
AUTO = "auto"
PENALTY = Check(
    lambda value: value == AUTO or (not isinstance(value, str) and 1e-6 <= value <= 1e6),
    f"a number from 0.000001 to 1000000, or {AUTO}",
)
MODES = ("fine", "coarse")
AVERAGES = ("geometric", "arithmetic")


def check_inductive(classifier: str) -> None:
    """Raise an InputError where a classifier is not known, or answers no query by itself."""
    if classifier in TRANSDUCTIVE:
        raise InputError(
            f"`classifier` {classifier} learns from all queries of an episode together, and here "
            f"each has an answer of its own; accepted: {', '.join(INDUCTIVE)}"
        )
    choose("`classifier`", classifier, INDUCTIVE)


def check_penalty(penalty: float | str, classifiers: Sequence[str]) -> None:
    """Raise an InputError where `C` is not accepted, or is of none of the classifiers."""
    PENALTY.require("`C`", penalty)
    if penalty != 1 and "LR" not in classifiers:
        raise InputError(
            f"`C` {penalty} was given, and `classifier` {' '.join(classifiers)} has no such "
            "penalty; leave it out, or take LR"
        )


def as_penalty(text: str) -> float | str:
    """Return a value of `C` from text; what is none stays text, which `PENALTY` refuses."""
    try:
        return float(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class EvaluationConfig:
    """Which episodes are drawn, and how they are classified (defaults: the paper's).

    Attributes:
        mode: which classes are asked for, `fine` or `coarse`.
        n_shots: support images a class; several numbers give several evaluations.
        n_ways: classes of an episode.
        n_queries: query images a class, or as many as a smaller class has left.
        n_test_runs: episodes of each evaluation.
        n_augmentations: augmented copies A of each support image; 0: the image as queries are seen.
        support_views: augmented views of an image, of which an episode draws A; 0: fresh ones for
            every use.
        intra_class: classes of one coarse class, instead of all-way.
        equal_queries: refuse classes that have fewer query images.
        classifier: one of `CLASSIFIERS`.
        C: of LR, as in scikit-learn; `auto`: chosen for each episode
            (`ancor.evaluation.penalty.choose_penalty`).
        center: subtract the mean of the train partition's features from all, which then are scaled
            to unit length again.
        average: mean of an ensemble's probabilities, `geometric` or `arithmetic`.
        untrained: score the network before training too, and the gain.
        baseline: score another model on the same episodes too, and the gain over it: a file, or a
            library's backbone (`ancor.checkpoints.pretrained.load_encoder`).
        only_base: whether features are the backbone's, or the head's embedding; None: the
            backbone's, and both of a head that was trained on features (`ancor.data.features`).
        features_out: `head`, `frozen` (the backbone's) or `both` side by side; None: as `only_base`
            says.
        open_set: score too how well unknown classes are told (`ancor.evaluation.open_set`).
        retrieval: report recall@K, MAP@R and k-NN over the whole partition too
            (`ancor.evaluation.retrieval`).
        clusters: score sub-classes that are found inside coarse classes
            (`ancor.evaluation.clusters`).
        seed: of every draw; 0 draws the paper's episodes.
    """

    mode: str = setting("fine", "which classes are asked for: fine or coarse", one_of(MODES))
    n_shots: tuple[int, ...] = setting(
        (1,),
        "support images a class; several numbers give several evaluations",
        at_least(1),
        group="episodes",
    )
    n_ways: int = setting(5, "classes an episode", at_least(1), group="episodes")
    n_queries: int = setting(
        15,
        "query images a class, or as many as a smaller one has left",
        at_least(1),
        group="episodes",
    )
    n_test_runs: int = setting(1000, "episodes", at_least(2), group="episodes")
    n_augmentations: int = setting(
        5,
        "augmented copies A of each support image; 0: the image as queries are seen",
        at_least(0),
        flags=("--n-augmentations", "--n-aug-support-samples"),
        group="episodes",
        metavar="A",
    )
    support_views: int = setting(
        10,
        "augmented views an image, of which an episode draws A; 0: fresh ones for every use",
        at_least(0),
        group="episodes",
        metavar="V",
    )
    intra_class: bool = setting(
        False,
        "classes of one coarse class, instead of all-way",
        flags=("--intra-class", "--fg"),
        group="episodes",
    )
    equal_queries: bool = setting(
        False, "refuse classes that have fewer query images", group="episodes"
    )
    classifier: str = setting(
        "LR",
        f"classifier: {', '.join(CLASSIFIERS)}; {' and '.join(TRANSDUCTIVE)} see all queries of an "
        "episode together",
        one_of(CLASSIFIERS),
        flags=("--classifier", "--cls"),
        metavar="NAME",
        group="episodes",
    )
    C: float | str = setting(
        1.0,
        "of LR: how much errors count against the penalty, scikit-learn's C; auto: the best for "
        "left-out support images",
        PENALTY,
        flags=("--C",),
        metavar="C",
        group="episodes",
    )
    center: bool = setting(
        False,
        "subtract the mean of the training images' features, and scale to unit length again",
        group="episodes",
    )
    only_base: bool | None = setting(
        None,
        "backbone features, or the head's embedding",
        negatable=True,
        group="episodes",
        unset="backbone features; of a head trained on features both",
    )
    features_out: str | None = setting(
        None,
        "head (the embedding), frozen (backbone features) or both side by side",
        one_of(("head", "frozen", "both")),
        group="episodes",
        unset="both of a head trained on features; else the backbone's",
    )
    average: str = setting(
        "geometric",
        "mean of the probabilities: geometric or arithmetic",
        one_of(AVERAGES),
        metavar="NAME",
        group="ensemble",
    )
    untrained: bool = setting(
        False,
        "score the same network before training too, and the gain with its interval",
        group="baseline",
    )
    baseline: str | None = setting(
        None,
        "score another model on the same episodes, and the gain over it with its interval: a "
        "file, timm:NAME or torchvision:NAME",
        metavar="MODEL",
        group="baseline",
    )
    open_set: bool = setting(
        False,
        "score too how well unknown classes are told, by AUROC: half of the classes get no support",
        group="episodes",
    )
    retrieval: bool = setting(
        False,
        "report recall@K, MAP@R and k-NN accuracy, each image against all others",
        group="whole partition",
    )
    clusters: bool = setting(
        False,
        "find sub-classes inside coarse classes without fine labels, and score them by these",
        group="whole partition",
    )
    seed: int = setting(0, "of every draw; 0 draws the paper's episodes")

    def __post_init__(self) -> None:
        check_settings(self)
        if len(set(self.n_shots)) < len(self.n_shots):
            raise InputError(f"`n_shots` {' '.join(map(str, self.n_shots))}: give each number once")
        check_penalty(self.C, [self.classifier])
        check_one_kind(self.only_base, self.features_out)
        if self.untrained and self.baseline is not None:
            raise InputError(
                f"`baseline` {self.baseline!r} and `untrained` were given; a gain is over one"
            )


def check_one_kind(only_base: bool | None, features_out: str | None) -> None:
    """Raise an InputError where the two settings ask for different features."""
    if only_base is None or features_out in (None, "frozen" if only_base else "head"):
        return
    raise InputError(
        f"{as_typed('only_base', only_base)} and `features_out` {features_out} are different "
        "features; give one of them"
    )
