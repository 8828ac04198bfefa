"""The settings of a plot of features."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ancor.errors import InputError
from ancor.evaluation.config import MODES
from ancor.runtime.settings import above, at_least, check_settings, one_of, setting

PROJECTIONS = ("tsne", "umap")
PERPLEXITY = 30.0


@dataclass(frozen=True)
class LayoutConfig:
    """Which images are laid out in the plane, and how.

    Attributes:
        mode: `fine`, which gives the plot inside a coarse class too, or `coarse`.
        n_ways, n_shots, n_queries, equal_queries: of the episode whose images are drawn.
        coarse_class: name or number of the one that is drawn from inside; None: drawn by the seed.
        only_base: backbone features even where the model has an embedding.
        projection: `tsne` or `umap`.
        perplexity: of t-SNE.
        seed: of images and of the projection.
    """

    mode: str = setting("fine", "which classes are shown: fine or coarse", one_of(MODES))
    n_ways: int = setting(1000, "classes, or all there are", at_least(1), group="episodes")
    n_shots: int = setting(1, "support images a class", at_least(1), group="episodes")
    n_queries: int = setting(15, "query images a class", at_least(1), group="episodes")
    equal_queries: bool = setting(
        False, "refuse classes that have fewer query images", group="episodes"
    )
    coarse_class: str | None = setting(
        None, "coarse class of the second plot, by name or number", unset="drawn by the seed"
    )
    only_base: bool = setting(False, "backbone features even where the model has an embedding")
    projection: str = setting(
        "tsne",
        "how features come into the plane: tsne, or umap (pip install 'ancor-toolkit[umap]')",
        one_of(PROJECTIONS),
    )
    perplexity: float = setting(PERPLEXITY, "of t-SNE", above(0))
    seed: int = setting(0, "of images and of the projection")

    def __post_init__(self) -> None:
        check_settings(self)
        if self.projection != "tsne" and self.perplexity != PERPLEXITY:
            raise InputError(
                f"`perplexity` {self.perplexity:g} is of `projection` tsne, and {self.projection} "
                "has none; leave it out"
            )

    @classmethod
    def among(cls, given: Mapping[str, Any]) -> "LayoutConfig":
        """Take the settings from among others."""
        return cls(**{field.name: given[field.name] for field in fields(cls)})
