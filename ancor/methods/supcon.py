"""SupCon (Khosla et al., NeurIPS 2020, arXiv 2004.11362) and SimCLR (Chen et al., ICML 2020).

SimCLR (arXiv 2002.05709) is the same loss without labels: an image's positives are its own views.
The loss is that of the published code (HobbitLong/SupContrast): L_out of the paper, its gradient
scaled by T / 0.07.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ancor.methods.base import Batch, Method
from ancor.methods.health import effective_rank, mean_cosine
from ancor.methods.losses import LossTerm
from ancor.methods.similarities import normalize, wide
from ancor.runtime.distributed import gather, gather_with_gradient, rank_slice


def supervised_contrast(
    features: Tensor,
    positives: Tensor,
    temperature: float,
    base_temperature: float,
    rows: slice = slice(None),
    anchors: str = "all",
) -> Tensor:
    """Mean supervised contrastive loss of some images' views against all views, ().

    With S_ab = u_a . u_b / T and P(a) the views b != a of images that are positives of a's, an
    anchor's loss is - (T / base) sum_{b in P(a)} log(exp S_ab / sum_{b' != a} exp S_ab') / |P(a)|,
    or 0 where P(a) is empty.

    Args:
        features: u, V views of N images, (N, V, D), at unit length.
        positives: which images are positives of which, (N, N), 1 or 0; need not be symmetric.
        temperature: T.
        base_temperature: what the loss is scaled by, beside T.
        rows: the images whose views are anchors.
        anchors: `all` views of these images, or `one`, the first.
    """
    images, views, _ = features.shape
    own = features[rows] if anchors == "all" else features[rows, :1]
    others = features.transpose(0, 1).flatten(0, 1)  # view by view
    similarities = own.transpose(0, 1).flatten(0, 1) @ others.T / temperature
    numbers = torch.arange(images * views, device=features.device).view(views, images)
    itself = numbers[: own.shape[1], rows].flatten()[:, None] == numbers.flatten()
    total = similarities.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    weights = positives[rows].to(features.dtype).repeat(own.shape[1], views)
    weights = weights.masked_fill(itself, 0)
    counts = weights.sum(1).clamp(min=1)
    log_shares = (weights * (similarities - total)).sum(1) / counts
    return -temperature / base_temperature * log_shares.mean()


class SupCon(Method):
    """Contrast of all views of a batch; images of one label are positives of each other.

    One pass of both views through one network, so that batch statistics are of both; no key
    encoder, no queue.
    """

    views, accumulates = ("strong", "strong"), False
    uses_labels = True

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield the loss with what it depends on."""
        config = self.config
        whose = "images of one label" if self.uses_labels else "views of one image"
        yield (
            "Losses",
            f"{config.name}, positives are {whose}; temperature {config.temperature} over "
            f"{config.base_temperature}, anchors {config.anchors}",
        )

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        """Compute the loss of this process's images against those of all processes."""
        config, count = self.config, len(self.views)
        embedding = self.encode(torch.cat(batch.views)).embedding
        with torch.autocast(embedding.device.type, enabled=False):
            self._embedding = embedding.detach().chunk(count)[0]
            own = normalize(wide(embedding)).view(count, -1, embedding.shape[1]).transpose(0, 1)
            features = gather_with_gradient(own, batch.images)
            value = supervised_contrast(
                features,
                self._positives(batch, features.device),
                config.temperature,
                config.base_temperature,
                rank_slice(batch.images),
                config.anchors,
            )
        return {config.name: LossTerm(value)}

    def _positives(self, batch: Batch, device: torch.device) -> Tensor:
        """Return which images of all processes are positives of which, (N, N)."""
        labels = gather(batch.labels.to(device, non_blocking=True), batch.images)
        return labels[:, None] == labels

    @torch.no_grad()
    def figures(self) -> dict[str, Tensor]:
        """Return signs of collapse in the last batch's embeddings."""
        return {
            "mean_cosine": mean_cosine(self._embedding),
            "effective_rank": effective_rank(self._embedding),
        }


class SimCLR(SupCon):
    """The same, where only the views of an image are positives of each other."""

    uses_labels = False

    def _positives(self, batch: Batch, device: torch.device) -> Tensor:
        return torch.eye(batch.images, dtype=torch.bool, device=device)
