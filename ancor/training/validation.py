"""Few-shot validation while training: the paper's protocol, on seeded episodes."""

import torch

from ancor.data.catalog import DataConfig
from ancor.data.episodes import Protocol
from ancor.data.partition import Partition
from ancor.evaluation.episodic import mean_and_interval, plan_evaluations
from ancor.evaluation.features import FeatureBank
from ancor.evaluation.predictors import single
from ancor.evaluation.scoring import score
from ancor.models.encoder import Encoder

PROTOCOLS = {
    "5-way": Protocol(n_ways=5),
    "intra-class": Protocol(n_ways=5, intra_class=True),
}
VIEWS = 5  # of each image: as many as an episode uses, so that a validation is quick


class Validator:
    """Scores an encoder by 1-shot episodes with the nearest cosine, on backbone features.

    Args:
        partition: images with fine labels.
        data: their dataset.
        encoder: what is scored.
        device: where passes run.
        episodes: of each of the two kinds; the same ones at every call.
        workers: processes that decode.
        dtype: what passes are cast to by autocast; None: fp32.

    Raises:
        InputError: the partition has no fine labels, or a class has too few images.
    """

    def __init__(
        self,
        partition: Partition,
        data: DataConfig,
        encoder: Encoder,
        device: torch.device,
        episodes: int = 200,
        workers: int = 0,
        dtype: torch.dtype | None = None,
    ) -> None:
        sampler = data.sampler(partition, "fine")
        self.plan = plan_evaluations(
            sampler, list(PROTOCOLS.values()), episodes, VIEWS, transforms=data.transforms
        )
        self.bank = FeatureBank(
            encoder, partition.images, data.transforms, device, workers=workers, dtype=dtype
        )
        self.predict = single("Cosine")

    def __call__(self) -> dict[str, tuple[float, float]]:
        """Return mean accuracy and interval (0-1) by kind of episode."""
        scored = score(self.plan, [self.bank], self.predict, quiet=True)
        return {
            name: mean_and_interval(outcome.accuracies)
            for name, outcome in zip(PROTOCOLS, scored, strict=True)
        }
