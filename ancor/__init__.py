"""ANCOR: coarse-to-fine few-shot classification."""

from typing import TYPE_CHECKING, Any

from ancor.runtime.lazy import imported

if TYPE_CHECKING:
    from ancor.fewshot.api import embed, evaluate, load_dataset, train
    from ancor.fewshot.estimator import FewShotClassifier
    from ancor.fewshot.image_encoder import load_encoder

__version__ = "0.1.0"
# The public names and where they are; they are imported when first asked for, so that
# `import ancor` leaves torch alone.
_PUBLIC = {
    "FewShotClassifier": "ancor.fewshot.estimator",
    "embed": "ancor.fewshot.api",
    "evaluate": "ancor.fewshot.api",
    "load_dataset": "ancor.fewshot.api",
    "load_encoder": "ancor.fewshot.image_encoder",
    "train": "ancor.fewshot.api",
}
__all__ = ["FewShotClassifier", "embed", "evaluate", "load_dataset", "load_encoder", "train"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ancor' has no attribute {name!r}")
    return getattr(imported(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
