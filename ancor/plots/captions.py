"""What a picture is of, in the lines above it: data first, then models and their features."""

import re
from collections.abc import Sequence
from pathlib import Path

from ancor.plots.style import LONGEST_TITLE, plain

# What the features are called in a picture, by `ancor.evaluation.feature_bank.KINDS`.
FEATURES = {"features": "backbone features", "both": "embedding beside backbone features"}


def caption_of(paths: Sequence[str], features: Sequence[str], *more: str) -> str:
    """Say what is drawn: models by name, which of their features, and what was done with them.

    Args:
        paths: of the models; a library's backbone is called by its name, without its file.
        features: of each model its kind of them.
        more: such as the classifier.
    """
    names = [
        path.partition("=")[0] if re.match(r"[\w-]+:", path) else "/".join(Path(path).parts[-2:])
        for path in map(str, paths)
    ]
    kinds = ", ".join(FEATURES.get(kind, kind) for kind in dict.fromkeys(features))
    return plain("; ".join(filter(None, (" + ".join(names), kinds, *more))), LONGEST_TITLE)


def titled(title: str, caption: str) -> str:
    """Return the lines above a picture."""
    return "\n".join(filter(None, [plain(title, LONGEST_TITLE), caption]))
