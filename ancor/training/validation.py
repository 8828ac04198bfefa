"""Few-shot validation while training: the paper's protocol, on seeded episodes."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from ancor.data.episodes import EpisodeSampler, Protocol, span
from ancor.data.features import FeatureRows
from ancor.data.partition import Partition
from ancor.data.transform_spec import TransformSpec
from ancor.errors import InputError, MissingPartition
from ancor.evaluation.feature_bank import FeatureBank, default_kind
from ancor.evaluation.plan import mean_and_interval, plan_evaluations
from ancor.evaluation.predictors import single
from ancor.evaluation.scoring import score
from ancor.models.encoder import Encoder
from ancor.runtime import distributed
from ancor.runtime.devices import Runtime
from ancor.training.config import RunConfig

# Their names are those of the figures, whatever the number of ways that the data allow.
PROTOCOLS = {
    "5-way": Protocol(n_ways=5),
    "intra-class": Protocol(n_ways=5, intra_class=True),
}
VIEWS = 5  # of each image: as many as an episode uses, so that a validation is quick


class SharedSource:
    """A bank whose passes all processes share; each is given all features."""

    def __init__(self, bank: FeatureBank) -> None:
        self.bank, self.width, self.device = bank, bank.width, bank.device

    def stream(self, pairs: np.ndarray) -> Iterator[Tensor]:
        """Yield features of pairs (P, 2) of image and view: (P, F) of float32, at once."""
        part = self.bank.features(pairs[distributed.rank_slice(len(pairs))])
        yield distributed.gather(part.to(self.device), len(pairs)).cpu()


class Validator:
    """Scores an encoder by 1-shot episodes with the nearest cosine, on backbone features.

    Several processes share the passes; batch-norm statistics are the first one's.

    Images without fine labels are scored by their coarse classes, which `notes` tells.

    Args:
        partition: the images.
        transforms: what the encoder sees of them.
        encoder: what is scored.
        runtime: where and how passes run.
        episodes: of each of the two kinds; the same ones at every call.

    Attributes:
        notes: lines on what episodes cannot be made of.
        ways: fewest and most classes of episodes, by kind.

    Raises:
        InputError: too few classes have enough images.
    """

    def __init__(
        self,
        partition: Partition,
        transforms: TransformSpec,
        encoder: Encoder,
        runtime: Runtime,
        episodes: int = 200,
    ) -> None:
        self.partition = partition
        level = "coarse" if partition.fine_labels is None else "fine"
        sampler = EpisodeSampler.of(partition, level)
        self.protocols = dict(PROTOCOLS)
        lone = not sampler.families(PROTOCOLS["intra-class"])
        if lone:
            del self.protocols["intra-class"]
        self.plan = plan_evaluations(
            sampler, list(self.protocols.values()), episodes, VIEWS, transforms=transforms
        )
        every = [self.plan.ways(which).tolist() for which in range(len(self.protocols))]
        self.ways = {n: [min(w), max(w)] for n, w in zip(self.protocols, every, strict=True)}
        self.notes = [f"Validation: {line}" for line in self.plan.notes]
        if level == "coarse":
            self.notes.append(
                "Validation: by coarse classes, as the images have no fine labels; it chooses "
                "model_best, and tells nothing of fine classes"
            )
        elif lone:
            self.notes.append(
                "Validation: no intra-class episodes, as no coarse class has 2 fine classes with "
                "enough images"
            )
        kind = default_kind(encoder, isinstance(partition.images, FeatureRows))
        bank = FeatureBank(encoder, partition.images, transforms, runtime, kind=kind)
        self.source = SharedSource(bank)
        self.predict = single("Cosine")

    def __call__(self) -> dict[str, tuple[float, float]]:
        """Return mean accuracy and interval (0-1) by kind of episode."""
        distributed.broadcast_from_main(list(self.source.bank.encoder.buffers()))
        scored = score(self.plan, [self.source], self.predict, quiet=True)
        return {
            name: mean_and_interval(outcome.accuracies)
            for name, outcome in zip(self.protocols, scored, strict=True)
        }

    def title(self, name: str) -> str:
        """Name a kind of episodes by its real ways: `2-way`, `intra-class (2-4 ways)`."""
        ways = span(self.ways[name])
        if name == "5-way":
            return f"{ways}-way"
        return name if ways == "5" else f"{name} ({ways} ways)"


def validation_of(
    config: RunConfig, encoder: Encoder, runtime: Runtime, partition: Partition | None = None
) -> tuple[Validator | None, Partition | None, str | None]:
    """Return a run's validation, the partition that was read for it, and why there is none.

    `partition` replaces the dataset's own.
    """
    episodes = config.training.val_episodes
    if episodes == 0:
        return None, None, "`val_episodes` 0"
    try:
        read = partition or config.data.load("validation")
    except MissingPartition as error:
        return None, None, str(error)
    try:
        validator = Validator(read, config.data.transforms, encoder, runtime, episodes)
    except InputError as error:  # too few classes for an episode: no reason not to train
        return None, read, str(error)
    return validator, read, None
