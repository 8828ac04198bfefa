"""CoIns (Xu et al., ICCV 2021, arXiv 2005.09681), as its own authors have it.

MoCo-v2 with a cosine classifier on the same embedding. Written from the formula, since the license
of the published code (idstcv/CoIns) is non-commercial. MaskCon's code has another method of this
name (`ancor.methods.maskcon.CoinsMaskCon`).
"""

from collections.abc import Iterable, Iterator
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ancor.methods.base import Batch
from ancor.methods.contrastive_config import CoinsConfig
from ancor.methods.losses import Contrast, LossTerm, classification_loss, contrastive_loss
from ancor.methods.momentum import Momentum
from ancor.methods.queues import SingleQueue
from ancor.methods.similarities import normalize, wide
from ancor.models.config import EncoderConfig
from ancor.runtime.text import megabytes


class Coins(Momentum):
    """MoCo's loss, and w times that of the cosines to a center for each coarse class.

    Attributes:
        centers: W, (D, C), used at unit length; trained, and no part of the key encoder.
    """

    views = ("strong", "strong")  # query and key

    def __init__(
        self, encoder_config: EncoderConfig, config: CoinsConfig, labels: Tensor | None = None
    ) -> None:
        super().__init__(encoder_config, config, labels)
        self.follow(config.encoder_momentum)
        self.queue = SingleQueue(encoder_config.dim, config.queue_length)
        self.centers = nn.Parameter(torch.empty(encoder_config.dim, encoder_config.num_classes))
        nn.init.kaiming_uniform_(self.centers, a=sqrt(5))

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield the losses with what they depend on, and the queue."""
        config, queue = self.config, self.queue.queue
        yield (
            "Losses",
            f"moco, coarse x {config.coarse_weight:g}; temperature {config.temperature}, "
            f"key momentum {config.encoder_momentum}",
        )
        size = " x ".join(map(str, queue.shape))
        yield "Queue", f"single, {size}, {megabytes(queue.nbytes)} of fp32"

    def notices(self, images_of_class: Iterable[int]) -> Iterator[str]:
        """Yield what the queue does that surprises."""
        yield from super().notices(images_of_class)
        yield self.UNFILLED

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        """Compute the contrast of the two views, and that of the query with the centers."""
        config, key = self.config, self._encode_keys(batch)
        query = self.encode(batch.views[0]).embedding
        self.embedding = query
        with torch.autocast(query.device.type, enabled=False):
            columns, scale = self.queue.rings(), config.temperature
            contrast = Contrast(query, key, columns, batch.labels, None, scale)
            cosines = normalize(wide(query)) @ F.normalize(self.centers, dim=0)
            labels = batch.labels.to(query.device, non_blocking=True)
            coarse = classification_loss(cosines / config.temperature, labels)
            return {
                "moco": contrastive_loss("cst_all", contrast),
                "coarse": coarse._replace(value=config.coarse_weight * coarse.value),
            }
