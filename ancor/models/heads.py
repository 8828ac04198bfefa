"""Heads: from a backbone's features (N, F) to an embedding (N, D), class logits (N, C), or both.

Attribute names (`fc1`, `fc2`) are those of the published files.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from ancor.models.config import BARE, EncoderConfig


class SeqHead(nn.Module):
    """The paper's head: the classifier sits on the embedding, whose space its weights share."""

    def __init__(self, in_features: int, dim: int, num_classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, dim)
        self.fc2 = nn.Linear(dim, num_classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, F) to the embedding (N, D) and the logits (N, C)."""
        embedding = self.fc1(features)
        return embedding, self.fc2(F.relu(embedding))


class ForkHead(nn.Module):
    """Embedding and classifier side by side on the same features."""

    def __init__(self, in_features: int, dim: int, num_classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, dim)
        self.fc2 = nn.Linear(in_features, num_classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, F) to the embedding (N, D) and the logits (N, C)."""
        return self.fc1(features), self.fc2(features)


class ClassifierHead(nn.Linear):
    """Logits only."""

    def __init__(self, in_features: int, dim: int, num_classes: int) -> None:
        super().__init__(in_features, num_classes)

    def forward(self, features: Tensor) -> tuple[None, Tensor]:
        """Map (N, F) to no embedding and the logits (N, C)."""
        return None, super().forward(features)


class EmbeddingHead(nn.Linear):
    """Embedding only."""

    def __init__(self, in_features: int, dim: int, num_classes: int) -> None:
        super().__init__(in_features, dim)

    def forward(self, features: Tensor) -> tuple[Tensor, None]:
        """Map (N, F) to the embedding (N, D) and no logits."""
        return super().forward(features), None


class NoHead(nn.Module):
    """Neither: of files that hold a backbone alone. Training accepts no such head."""

    def forward(self, features: Tensor) -> tuple[None, None]:
        """Map (N, F) to no embedding and no logits."""
        return None, None


CLASSES: dict[str, type[nn.Module]] = {
    "seq": SeqHead,
    "fork": ForkHead,
    "cls": ClassifierHead,
    "none": EmbeddingHead,
}


def build_head(config: EncoderConfig, in_features: int) -> nn.Module:
    """Build a head, behind Linear(F, F) + ReLU if `mlp`; `BARE` builds `NoHead`."""
    if config.head == BARE:
        return NoHead()
    head = CLASSES[config.head](in_features, config.dim, config.num_classes)
    if not config.mlp:
        return head
    return nn.Sequential(nn.Linear(in_features, in_features), nn.ReLU(), head)
