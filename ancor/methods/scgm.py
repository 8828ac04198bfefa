"""SCGM (Ni et al., ICLR 2022): fine subclasses found inside coarse classes, two ways to train."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.methods.ancor import Ancor
from ancor.methods.base import Batch, Method
from ancor.methods.health import effective_rank, mean_cosine
from ancor.methods.losses import LossTerm, classification_loss
from ancor.methods.similarities import angular, normalize, wide
from ancor.methods.subclasses import Subclasses, class_given_subclass, class_probabilities
from ancor.methods.whole_set_config import ScgmAConfig, ScgmGConfig
from ancor.models.config import EncoderConfig
from ancor.models.encoder import EncoderOutput


class ScgmG(Method):
    """A generic encoder, trained in turn with the subclasses of all images: an EM algorithm.

    Args:
        encoder_config: the encoder, with head `none`.
        config: the settings.
        labels: classes of the training images, (n,).
    """

    def __init__(
        self, encoder_config: EncoderConfig, config: ScgmGConfig, labels: Tensor | None = None
    ) -> None:
        super().__init__(encoder_config, config, labels)
        sizes = encoder_config.num_classes, encoder_config.dim
        self.subclasses = Subclasses(*sizes, config, labels)
        self._seen: tuple[Tensor, Tensor] | None = None  # embeddings and labels of the last batch

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield the loss with what it depends on, and the subclasses."""
        yield from super().describe()
        config = self.config
        yield (
            "Losses",
            f"cls, subclass x {config.subclass_weight:g}, hierarchy x {config.subclass_weight:g}; "
            f"metric {config.metric}, class logits of normalized {config.class_norm}, temperature "
            f"{config.subclass_temperature}",
        )
        yield described(config)

    def before_epoch(self, epoch: int, batches: Any) -> None:
        """Do the E step, where it is due."""
        self.subclasses.before_epoch(epoch, batches, self.encode)

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        """Do the M step of a batch."""
        config, found = self.config, self.subclasses
        embedding = self.encode(batch.views[0]).embedding
        labels = batch.labels.to(embedding.device, non_blocking=True)
        self._seen = embedding.detach(), labels
        with torch.autocast(embedding.device.type, enabled=False):
            assigned = found.of(batch.indices)
            columns = torch.arange(len(found.means), device=assigned.device)
            q = (assigned[:, None] == columns).to(wide(embedding).dtype)
            terms = scgm_losses(
                *(wide(embedding), labels, q, found.class_means, found.means),
                *(config.subclass_temperature, config.metric == "angular", config.class_norm),
            )
        for name in ("subclass", "hierarchy"):
            value = config.subclass_weight * terms[name].value
            terms[name] = terms[name]._replace(value=value)
        return terms

    @torch.no_grad()
    def figures(self) -> dict[str, Tensor]:
        """Return how often subclasses tell the last batch's classes, and signs of collapse."""
        embedding, labels = self._seen
        unit = normalize(wide(embedding))
        means = normalize(self.subclasses.class_means), normalize(self.subclasses.means)
        found = class_probabilities(unit, *means, self.config.subclass_temperature).argmax(1)
        return {
            "coarse_accuracy": (found == labels).float().mean(),
            "mean_cosine": mean_cosine(unit),
            "effective_rank": effective_rank(unit),
        }

    def clusters(self) -> Tensor:
        """Return the subclass of each training image, (n,); -1: none."""
        return self.subclasses.assigned

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Raise a ValueError where a file's subclasses are not those of the settings."""
        self.subclasses.check_assigned()


def described(config: ScgmGConfig | ScgmAConfig) -> tuple[str, str]:
    """Return title and line on the subclasses for the summary of a run."""
    first = ", ".join(str(1 + number * config.assign_every) for number in range(3))
    return (
        "Clusters",
        f"{config.num_subclasses} subclasses, assigned before epochs {first}, ...; sharpness "
        f"{config.sharpness:g}",
    )


def scgm_losses(
    embedding: Tensor,
    labels: Tensor,
    q: Tensor,
    class_means: Tensor,
    means: Tensor,
    temperature: float,
    angle: bool = False,
    class_norm: str = "embedding",
) -> dict[str, LossTerm]:
    """Compute the losses of the M step by name, none weighted, each with its own gradients.

    Args:
        embedding: e, (N, D), of whatever length.
        labels: classes (N,).
        q: assignments (N, Z). One of zeros counts as subclass 0 in `subclass`, and nothing in
            `hierarchy`, as in the authors' code.
        class_means, means: mu_y (C, D) and mu_z (Z, D), of whatever length.
        temperature: tau, of `subclass`.
        angle: compare directions from the class's mean in `subclass`, as ANCOR's metric does.
        class_norm: what is of unit length in `cls`: embedding, means, both or none.

    Returns:
        `subclass`: that an image's subclass is the assigned one. `hierarchy`: that the assigned
        subclass is of the image's class. `cls`: the class, from relu of the embedding.
    """
    unit, unit_classes, unit_means = normalize(embedding), normalize(class_means), normalize(means)
    if angle:
        own = unit_classes[labels]
        directions = normalize(unit_means - own[:, None])  # (N, Z, D)
        logits = torch.einsum("nd,nzd->nz", angular(unit, own), directions)
    else:
        logits = unit @ unit_means.T
    of_class = class_given_subclass(unit_classes, unit_means)[:, labels].T
    seen = unit if class_norm in ("embedding", "both") else embedding
    weights = unit_classes if class_norm in ("means", "both") else class_means
    return {
        "cls": classification_loss(F.relu(seen) @ weights.T, labels),
        "subclass": classification_loss(logits / temperature, q.argmax(1)),
        "hierarchy": LossTerm(-(q * of_class).sum() / len(q)),
    }


class ScgmA(Ancor):
    """ANCOR with class means for class weights, and two losses of subclasses.

    As published, no gradient reaches the means from these two (`detach_means`): the subclasses'
    stay where they were drawn, and `hierarchy` trains nothing.
    """

    def __init__(
        self, encoder_config: EncoderConfig, config: ScgmAConfig, labels: Tensor | None = None
    ) -> None:
        super().__init__(encoder_config, config, labels)
        sizes = encoder_config.num_classes, encoder_config.dim
        self.subclasses = Subclasses(*sizes, config, labels)
        self.subclasses.means.requires_grad_(not config.detach_means)

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield what ANCOR does, and the subclasses."""
        yield from Method.describe(self)
        yield from super().describe()
        config = self.config
        yield (
            "Beside",
            f"subclass x {config.subclass_weight:g}, temperature {config.subclass_temperature}; "
            f"hierarchy x {config.subclass_weight:g}, temperature {config.class_temperature}; "
            f"{'no' if config.detach_means else 'with'} gradient to the means",
        )
        yield described(config)

    def class_logits(self, output: EncoderOutput) -> Tensor:
        """Return relu(n(e)) . mu_y, (N, C)."""
        return F.relu(normalize(wide(output.embedding))) @ self.subclasses.class_means.T

    def class_weights(self) -> Tensor:
        """Return the means mu_y, (C, D), from which angles are measured."""
        return self.subclasses.class_means

    def before_epoch(self, epoch: int, batches: Any) -> None:
        """Do the E step, where it is due."""
        self.subclasses.before_epoch(epoch, batches, self.encode)

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        """Compute ANCOR's losses and those of the subclasses."""
        terms, config, found = super().losses(batch), self.config, self.subclasses
        with torch.autocast(batch.views[0].device.type, enabled=False):
            labels = batch.labels.to(found.means.device, non_blocking=True)
            assigned = found.of(batch.indices).clamp(min=0)  # none counts as the first: as there
            both = (found.class_means, found.means)
            class_means, means = (normalize(m.detach() if config.detach_means else m) for m in both)
            of_subclass = normalize(wide(self.embedding)) @ means.T / config.subclass_temperature
            of_class = means[assigned] @ class_means.T / config.class_temperature
            new = {"subclass": (of_subclass, assigned), "hierarchy": (of_class, labels)}
            for name, both in new.items():
                term = classification_loss(*both)
                terms[name] = term._replace(value=config.subclass_weight * term.value)
        return terms

    def clusters(self) -> Tensor:
        """Return the subclass of each training image, (n,); -1: none."""
        return self.subclasses.assigned

    def extra_tensors(self) -> dict[str, Tensor]:
        """Return ANCOR's, the means and the assignment."""
        return super().extra_tensors() | self.subclasses.state_dict(prefix="subclasses.")

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore ANCOR's; ValueError where a file's subclasses are not those of the settings."""
        super().load_extra_state(state)
        self.subclasses.check_assigned()
