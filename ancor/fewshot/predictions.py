"""What `ancor predict` reports: answers, the likeliest classes, the accuracy where it is known."""

import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ancor.evaluation.neighbors import nearest
from ancor.runtime.text import columns, printable

if TYPE_CHECKING:
    from ancor.fewshot.classifier import Classifier
    from ancor.fewshot.support_set import Features

log = logging.getLogger(__name__)

SAME = 1 - 1e-6  # cosine from which two images are one, but for rounding


def classify(
    model: "Classifier", queries: list[tuple[str, str]], top_k: int | None
) -> list[dict[str, Any]]:
    """Return of each image its path, answer, likeliest class and, where known, true class.

    Beside the true class stands whether the image is one of those that were learned from.

    With `top_k`, its likeliest classes too; the answer is the first unless it is "unknown" or a
    coarse class. Where coarse classes are known, the likeliest of them, its probability and, where
    the encoder's file names those that it tells apart itself, its own answer and how probable it is
    among all of them.
    """
    features = model.encoder.features([path for _, path in queries])
    classes, answers = model.classes_.tolist(), model.predict(features).tolist()
    if top_k is not None and top_k > len(classes):
        log.warning("Notice: `top_k` %d: there are %d classes, all are listed", top_k, len(classes))
    labels = [_class_of(*query, {str(name): name for name in classes}) for query in queries]
    rows, coarse_of = [], {}
    if model.coarse_ is not None:
        coarse_of = dict(zip(classes, model.coarse_.tolist(), strict=True))
    probabilities = model.predict_proba(features).tolist()
    similarities = model.similarity(features).tolist()
    coarse = _coarse_answers(model, features)
    learned = nearest(model.support_.vectors, features.vectors, 1).similarities[:, 0] >= SAME
    for (_, path), answer, own, label, similarity, level, seen in zip(
        queries, answers, probabilities, labels, similarities, coarse, learned.tolist(), strict=True
    ):
        # Of classes that are equally likely, the answer comes first.
        ranked = sorted(zip(classes, own, strict=True), key=lambda c: (-c[1], c[0] != answer))
        row = {"path": path, "class": answer, "probability": ranked[0][1], "nearest": ranked[0][0]}
        row |= {"similarity": similarity, **level}
        if any(name is not None for name in labels):
            row |= {"label": label, "learned_from": seen}
            if level:
                row["coarse_label"] = coarse_of.get(label)
        if top_k is not None:
            row["candidates"] = [{"class": c, "probability": p} for c, p in ranked[:top_k]]
        rows.append(row)
    return rows


def _coarse_answers(model: "Classifier", features: "Features") -> list[dict[str, Any]]:
    """Return of each image what is told at the coarse level; nothing where it is not known."""
    if model.coarse_ is None:
        return [{}] * len(features)
    names, sums = np.unique(model.coarse_), model.predict_coarse_proba(features)
    likeliest = names[sums.argmax(1)].tolist()
    pairs = zip(likeliest, sums.max(1).tolist(), strict=True)
    found = [{"coarse": name, "coarse_probability": own} for name, own in pairs]
    if own := model.encoder.coarse_names:
        sure, numbers = features.coarse_logits.double().softmax(1).max(1)
        for row, number, share in zip(found, numbers.tolist(), sure.tolist(), strict=True):
            row |= {"coarse_by_encoder": own[number], "coarse_by_encoder_probability": share}
    return found


def _class_of(place: str, path: str, classes: dict[str, Any]) -> Any:
    """Return the class that the innermost folder of an image is named as; None: no folder is.

    Looked at are folders from the one that `query` names on.
    """
    if place == path:
        return None
    inside = os.path.relpath(path, place).split(os.sep)[:-1]
    folders = [os.path.basename(os.path.abspath(place)), *inside]
    return next((classes[name] for name in reversed(folders) if name in classes), None)


def accuracy_of(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the accuracy in percent over images and over classes; None: no class is known."""
    right: dict[Any, list[bool]] = {}
    known = [row for row in rows if row.get("label") is not None]
    for row in known:
        right.setdefault(row["label"], []).append(row["class"] == row["label"])
    if not right:
        return None
    means = [sum(own) / len(own) for own in right.values()]
    return {
        "images": len(known),
        "classes": len(right),
        "mean_over_images": 100 * sum(map(sum, right.values())) / len(known),
        "mean_over_classes": 100 * sum(means) / len(means),
        "equal_counts": len(set(map(len, right.values()))) == 1,
        "left_out": len(rows) - len(known),
        "learned_from": sum(row["learned_from"] for row in known),
        "unknown": sum(row["class"] != row["nearest"] for row in known),
        **_coarse_accuracy(known),
    }


def _coarse_accuracy(known: list[dict[str, Any]]) -> dict[str, float]:
    """Return the accuracy of the likeliest coarse classes over images, in percent, if known."""
    if "coarse_label" not in known[0]:
        return {}
    right = [row["coarse"] == row["coarse_label"] for row in known]
    return {"coarse_mean_over_images": 100 * sum(right) / len(right)}


def told(accuracy: dict[str, Any] | None) -> Iterator[str]:
    """Yield the accuracy for people."""
    if accuracy is None:
        return
    text = f"Accuracy: {accuracy['mean_over_images']:.2f}% (mean over {accuracy['images']} images)"
    if not accuracy["equal_counts"]:
        mean, classes = accuracy["mean_over_classes"], accuracy["classes"]
        text += f", {mean:.2f}% (mean over {classes} classes)"
    if "coarse_mean_over_images" in accuracy:
        text += f"; of the coarse classes {accuracy['coarse_mean_over_images']:.2f}%"
    if accuracy["left_out"]:
        text += f"; left out, as no folder of theirs is named as a class: {accuracy['left_out']}"
    if accuracy["learned_from"]:
        seen, images = accuracy["learned_from"], accuracy["images"]
        text += f"; {seen} of the {images} were learned from, which flatters the accuracy"
    if accuracy["unknown"]:
        text += f'; {accuracy["unknown"]} answers "unknown" or of a coarse class count as wrong'
    yield text


def table(rows: list[dict[str, Any]]) -> tuple[list[str], Iterator[list[Any]]]:
    """Return the titles of the table, and its rows."""
    count = len(rows[0].get("candidates", ()))
    columns = [f"{name}_{k}" for k in range(1, count + 1) for name in ("class", "probability")]
    names = [name for name in rows[0] if name != "candidates"]
    return [*names, *columns], map(_cells, rows)


def _cells(row: dict[str, Any]) -> list[Any]:
    """Return a row of the table, probabilities with six decimals."""
    cells: list[Any] = []
    for name, value in row.items():
        if name != "candidates":
            cells.append(f"{value:.6f}" if isinstance(value, float) else value)
    for one in row.get("candidates", ()):
        cells += [one["class"], f"{one['probability']:.6f}"]
    return cells


def lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Lay the answers out in columns; what would break a line is shown by its repr."""
    shown = [[_word(row["path"]), _word(row["class"]), f"{_probability(row):.3f}"] for row in rows]
    for line, row in zip(columns(shown), rows, strict=True):
        if "candidates" in row:
            listed = (f"{_word(c['class'])} {c['probability']:.3f}" for c in row["candidates"])
            line += f"  ({', '.join(listed)})"
        elif row["class"] != row["nearest"]:
            line += f"  (nearest: {_word(row['nearest'])})"
        yield line


def _probability(row: dict[str, Any]) -> float:
    """Return how probable the answer is; of "unknown", how probable the nearest class is."""
    backed_off = row["class"] != row["nearest"] and row["class"] == row.get("coarse")
    return row["coarse_probability" if backed_off else "probability"]


def _word(value: Any) -> str:
    text = str(value)
    return text if printable(text) == text else repr(text)
