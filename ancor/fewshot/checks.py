"""Checks of a few-shot classifier's settings, and of what its score is asked for."""

import logging
from math import isfinite
from os import PathLike
from typing import Any

import numpy as np

from ancor.errors import InputError, capped, choose
from ancor.evaluation.config import AUTO, PENALTY, check_inductive
from ancor.fewshot.image_encoder import ImageEncoder

log = logging.getLogger(__name__)

UNKNOWN = "unknown"  # the answer of that name
SHARES = ("unknown", "unknown_rate", "back_off")
BY_CLASSES, BY_ENCODER = COARSE_BY = ("classes", "encoder")


def check_settings(model: Any) -> None:
    """Raise an InputError where a setting is not accepted, or does not fit the encoder."""
    if not isinstance(model.encoder, ImageEncoder):
        raise InputError(
            f"a {type(model.encoder).__name__} was given for the encoder; give what "
            "ancor.load_encoder returns"
        )
    check_inductive(model.classifier)
    PENALTY.require("`C`", model.C)
    if model.n_augmentations < 0:
        raise InputError(f"`n_augmentations` {model.n_augmentations}: 0 or more are needed")
    choose("`coarse_by`", model.coarse_by, COARSE_BY)
    if not isinstance(model.center, bool | str | PathLike):
        raise InputError(f"`center` {model.center!r}: True, False or a folder of images is needed")
    for name in SHARES:
        value, auto = getattr(model, name), name == "unknown"
        known = (value is None and name != "unknown_rate") or (auto and value == AUTO)
        if not known and not (isinstance(value, int | float) and 0 <= value <= 1):
            what = "a share" if name == "unknown_rate" else "a probability"
            raise InputError(
                f"`{name}` {value}: {what}, 0 to 1,{' or auto' if auto else ''} is needed"
            )
    if model.coarse_first and not model.encoder.num_coarse:
        raise InputError(
            f"the encoder (head {model.encoder.network.config.head!r}) has no classifier to ask "
            "for the coarse class first; leave `coarse_first` out, or give one "
            "trained with `mode` coarse and `head` seq, fork or cls"
        )


def check_answers(model: Any) -> None:
    """Raise an InputError where the learned classes leave no room for what is to be answered."""
    coarse = [] if model.coarse_ is None else model.coarse_.tolist()
    if model.unknown is not None and UNKNOWN in [*model.classes_.tolist(), *coarse]:
        raise InputError(
            f"a class is called {UNKNOWN!r}, which is what unknown={model.unknown} answers; "
            "rename the class, or leave `unknown` out"
        )
    if model.back_off is not None and model.coarse_ is None:
        raise InputError(
            f"`back_off` {model.back_off} answers a coarse class, and those of the classes are not "
            "known; give folders <coarse>/<class>/*, or an encoder whose file names the coarse "
            "classes that it tells apart"
        )
    if model.back_off is not None:
        pairs = zip(model.classes_.tolist(), coarse, strict=True)
        # A coarse class of which there is but one class, of the same name, is that class.
        alike = [n for n, own in pairs if n in coarse and (own != n or coarse.count(n) > 1)]
        if alike:
            raise InputError(
                f"`back_off` {model.back_off} answers coarse classes, and of the names of classes "
                f"{capped(map(repr, alike))} is one of theirs too: nothing tells which is meant; "
                "rename the class"
            )
    if model.coarse_by == BY_ENCODER:
        names = model.encoder.coarse_names
        strange = sorted({*coarse} - {*names})
        if not coarse or strange:
            have = capped(map(repr, names)) or "no class"
            raise InputError(
                f"`coarse_by` encoder: its classifier names {have}; not there: "
                f"{capped(map(repr, strange)) or 'any coarse class of the classes'}; "
                "leave it out, or name the coarse classes as the encoder's file does"
            )
    if model.unknown == AUTO:
        model.threshold()


def check_types(model: Any) -> None:
    """Raise a ValueError where a setting, read from a file, is of another type than its own."""
    wanted = {"n_augmentations": int, "coarse_first": bool, "seed": int}
    for name, kind in wanted.items():
        if type(getattr(model, name)) is not kind:
            raise ValueError(f"{name} {getattr(model, name)!r}")
    for name in SHARES:
        value = getattr(model, name)
        auto = name == "unknown" and value == AUTO
        if not (value is None or auto or isinstance(value, int | float)):
            raise ValueError(f"{name} {value!r}")
    if not isinstance(model.C, int | float | str) or not PENALTY.holds(model.C):
        raise ValueError(f"C {model.C!r}")
    if not (isfinite(model.temperature_) and model.temperature_ > 0):
        raise ValueError(f"temperature {model.temperature_}")
    choose("coarse_by", model.coarse_by, COARSE_BY)
    mean, width = model.center_, model.support_.vectors.shape[1]
    if model.center is not (mean is not None):
        raise ValueError(f"center {model.center!r} with {'no' if mean is None else 'a'} mean")
    if mean is not None and not (mean.shape == (width,) and mean.isfinite().all()):
        raise ValueError(f"a mean of size {tuple(mean.shape)}")
    if model.coarse_ is not None and model.coarse_.shape != model.classes_.shape:
        raise ValueError(f"{len(model.coarse_)} coarse classes")


def check_learned(labels: np.ndarray, classes: list) -> None:
    """Raise an InputError where no label is among the classes; warn where some are not."""
    foreign = labels[~np.isin(labels, classes)].tolist()
    if len(foreign) == len(labels):
        raise InputError(
            f"none of the labels, such as {foreign[0]!r}, is a class that was learned, such as "
            f"{classes[0]!r}; give the names that fit was given"
        )
    if foreign:
        log.warning(
            "%d of %d images are of classes that were never learned, such as %r: counted as wrong",
            *(len(foreign), len(labels), foreign[0]),
        )


def weights_of(weights: Any, count: int) -> np.ndarray | None:
    """Return how much each image counts, (N,) of floats; None: equally.

    Raises:
        InputError: they are no such numbers, or all 0.
    """
    if weights is None:
        return None
    try:
        found = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"weights that are not numbers ({error}); give one for each image"
        ) from error
    if found.shape != (count,) or not (found >= 0).all() or not 0 < found.sum() < np.inf:
        raise InputError(
            f"weights of shape {found.shape} were given for {count} images; give a finite number "
            "of 0 or more for each, and not 0 for all"
        )
    return found
