"""ANCOR: coarse-to-fine few-shot classification."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
# The public names and where they are; they are imported when first asked for, so that
# `import ancor` leaves torch alone.
_PUBLIC = {
    "FewShotClassifier": "ancor.fewshot.classifier",
    "load_encoder": "ancor.fewshot.image_encoder",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ancor' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
