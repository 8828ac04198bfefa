"""What is drawn of a model and a partition: which images, and their features in the plane."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ancor.data.episodes import EpisodeSampler, Protocol, span
from ancor.data.partition import Partition
from ancor.data.views import QUERY_VIEW
from ancor.errors import InputError, choose
from ancor.evaluation.feature_bank import class_weights
from ancor.evaluation.models import Model
from ancor.plots.captions import caption_of
from ancor.plots.config import LayoutConfig
from ancor.plots.projections import TITLES, perplexity_of, project
from ancor.plots.tsne import Layout
from ancor.runtime.seeding import address_seed

log = logging.getLogger(__name__)

FINE_IMAGES = 50  # of each fine class in the second plot: 15 + 35, as in the paper's code


def choose_images(
    partition: Partition, named: Sequence[int] | None, count: int, seed: int
) -> np.ndarray:
    """Return numbers of images, (Q,): those that are named, or `count` that the seed draws."""
    size = len(partition)
    if named is not None:
        for number in named:
            if not 0 <= number < size:
                raise InputError(
                    f"`images` {number}: partition {partition.name!r} of {partition.dataset!r} "
                    f"has {size} images; accepted: 0 to {size - 1}"
                )
        return np.array(named)
    if count < 1:
        raise InputError(f"`n` {count}: at least 1 is needed")
    rng = np.random.default_rng(address_seed(seed, "picture"))
    return np.sort(rng.choice(size, min(count, size), replace=False))


def encode(
    model: Model, partition: Partition, images: np.ndarray, only_base: bool, seed: int = 0
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return features (N, F) under the test transform, and class logits (N, C) or None.

    Features are the head's embedding where there is one, unless `only_base`.
    """
    pairs = np.stack([images, np.full_like(images, QUERY_VIEW)], axis=1)
    outputs = list(model.bank(partition, seed=seed).outputs(pairs))

    def joined(name: str) -> np.ndarray | None:
        parts = [getattr(output, name) for output in outputs]
        return None if parts[0] is None else torch.cat(parts).float().cpu().numpy()

    embedding = None if only_base else joined("embedding")
    return joined("features") if embedding is None else embedding, joined("logits")


def layouts(
    model: Model, partition: Partition, config: LayoutConfig
) -> Iterator[tuple[str, Layout]]:
    """Yield the name and the layout of each plot: `coarse`, and in mode `fine` that too.

    Raises:
        InputError: a setting is not accepted, there are no labels of the mode, or fewer images of a
            class than `equal_queries` asks for.
    """
    partition.labels(config.mode)  # refuses a partition without them
    if config.equal_queries:
        asked = Protocol(config.n_ways, config.n_shots, config.n_queries, equal_queries=True)
        EpisodeSampler.of(partition, config.mode).check(asked)
    inside = _coarse_number(partition, config)
    yield "coarse", _coarse_layout(model, partition, config)
    if config.mode == "fine":
        yield "fine", _fine_layout(model, partition, config, inside)


def _coarse_layout(model: Model, partition: Partition, config: LayoutConfig) -> Layout:
    """One episode's images, by coarse class; tells the accuracy of the model's own classifier."""
    per_class = config.n_shots + config.n_queries
    images = episode_images(partition, config, np.arange(len(partition)), per_class)
    features, logits = encode(model, partition, images, config.only_base, config.seed)
    coarse = partition.coarse_labels[images]
    weights = _class_weights(model, partition, config)
    if logits is not None and logits.shape[1] == partition.hierarchy.num_coarse:
        accuracy = 100 * np.mean(logits.argmax(1) == coarse)
        log.info(
            "Coarse accuracy of the model's own classifier: %.2f (%d images)", accuracy, len(images)
        )
    points, stars = _project(features, weights, config)
    title = f"{partition.dataset}, {partition.name}: {len(images)} images by coarse class"
    names = partition.hierarchy.coarse_names
    caption = _caption(model, config, len(points) + len(stars))
    return Layout(title, points, coarse, names, images, stars, caption=caption)


def _fine_layout(model: Model, partition: Partition, config: LayoutConfig, coarse: int) -> Layout:
    """Images of a coarse class, by fine class."""
    hierarchy = partition.hierarchy
    inside = np.flatnonzero(partition.coarse_labels == coarse)
    images = episode_images(partition, config, inside, FINE_IMAGES)
    features, _ = encode(model, partition, images, config.only_base, config.seed)
    weights = _class_weights(model, partition, config)
    weights = None if weights is None else weights[[coarse]]
    points, stars = _project(features, weights, config)
    classes, labels = np.unique(partition.fine_labels[images], return_inverse=True)
    about = f"{partition.dataset}, {partition.name}"
    return Layout(
        f"{about}: fine classes of {hierarchy.coarse_names[coarse]!r}",
        points,
        labels,
        [hierarchy.fine_names[label] for label in classes],
        images,
        stars,
        arrows=len(stars) > 0,
        caption=_caption(model, config, len(points) + len(stars)),
    )


def _project(
    features: np.ndarray, weights: np.ndarray | None, config: LayoutConfig
) -> tuple[np.ndarray, np.ndarray]:
    return project(features, weights, config.perplexity, config.seed, config.projection)


def _kind(model: Model, config: LayoutConfig) -> str:
    """Return which features are drawn."""
    embedded = model.network.config.embeds and not config.only_base
    return "embedding" if embedded else "features"


def _caption(model: Model, config: LayoutConfig, count: int) -> str:
    """Say what is drawn of a model, and how so many points came into the plane."""
    how = TITLES[config.projection]
    if config.projection == "tsne":
        how += f", perplexity {perplexity_of(count, config.perplexity):.3g}"
    return caption_of([model.path], [_kind(model, config)], how)


def episode_images(
    partition: Partition, config: LayoutConfig, images: np.ndarray, per_class: int
) -> np.ndarray:
    """Draw an episode from some images, `per_class` of each class or all of a smaller one."""
    sampler = EpisodeSampler.of(partition.subset(images), config.mode)
    sizes = [len(own) for own in sampler.images_of.values()]
    protocol = Protocol(config.n_ways, 1, max(1, per_class - 1), n_augmentations=1)
    if max(sizes) < 2:
        return images
    small, lone = [size for size in sizes if 1 < size < per_class], sizes.count(1)
    if small:
        log.info(
            "%d of %d classes have fewer than %d images: all of theirs are drawn, %s a class",
            *(len(small), len(sizes), per_class, span(small)),
        )
    if lone:
        log.info("%d of %d classes have 1 image, and are not drawn", lone, len(sizes))
    episode = sampler.draw(protocol, 0, config.seed)
    return images[np.concatenate([episode.support, episode.query])]


def _coarse_number(partition: Partition, config: LayoutConfig) -> int:
    """Return the coarse class that was asked for, or draw one that has images."""
    names = partition.hierarchy.coarse_names
    present = np.unique(partition.coarse_labels)
    if config.coarse_class is None:
        return int(np.random.RandomState(config.seed % 2**32).choice(present))
    numbers = {str(number): number for number in present.tolist()}
    numbers |= {names[number]: number for number in present.tolist()}
    return numbers[choose("`coarse_class`", config.coarse_class, numbers)]


def _class_weights(model: Model, partition: Partition, config: LayoutConfig) -> np.ndarray | None:
    """Return the class weights (C, F) where they live among the features that are drawn."""
    kind = _kind(model, config)
    weights = class_weights(model.network, kind, partition.hierarchy.num_coarse)
    if weights is None:
        log.info(
            "No stars are drawn: the model has no weights of these coarse classes among its %s",
            "embeddings" if kind == "embedding" else "backbone features",
        )
    return weights
