"""Subclasses that are found inside coarse classes: their means, and which image is of which.

SCGM (Ni et al., "Superclass-Conditional Gaussian Mixture Model for Learning Fine-Grained
Embeddings", ICLR 2022), in the form of its authors' code. Shapes: N samples, D embedding size, C
classes, Z subclasses. Means and embeddings are of unit length here, and similarities are products.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ancor.methods.similarities import normalize, wide
from ancor.methods.whole_set_config import SubclassConfig
from ancor.models.encoder import EncoderOutput
from ancor.runtime import distributed

log = logging.getLogger(__name__)

TOLERANCE = 0.1  # of the assignment, in the sum over all images: the authors'
MOST_ITERATIONS = 10_000  # the authors' code has no bound


class Subclasses(nn.Module):
    """Means of classes and subclasses, and the subclass that each training image is assigned to.

    Args:
        classes: their number C.
        dim: size D of the embedding.
        config: the settings.
        labels: classes of the training images, (n,).

    Attributes:
        class_means: mu_y, (C, D), of whatever length.
        means: mu_z, (Z, D), likewise.
        assigned: subclass of each training image, (n,); -1: none.
    """

    def __init__(self, classes: int, dim: int, config: SubclassConfig, labels: Tensor) -> None:
        super().__init__()
        self.config = config
        self.class_means = nn.Parameter(nn.init.xavier_uniform_(torch.empty(classes, dim)))
        self.means = nn.Parameter(nn.init.xavier_uniform_(torch.empty(config.num_subclasses, dim)))
        self.register_buffer("assigned", torch.full((len(labels),), -1))

    def of(self, indices: Tensor) -> Tensor:
        """Return the subclasses of images by their indices (N,), on the device; -1: none."""
        return self.assigned[indices.to(self.assigned.device, non_blocking=True)]

    def before_epoch(
        self, epoch: int, batches: Any, encode: Callable[[Tensor], EncoderOutput]
    ) -> None:
        """Assign all images anew, the E step, before epochs 0, 5, 10, ... (`assign_every`).

        It passes the training set once, as training sees it: augmented, shuffled, in training mode.
        Images of the last incomplete batch, which the pass drops, are assigned to none.
        """
        if epoch % self.config.assign_every and (self.assigned >= 0).any():
            return
        joint, seen = self._joint(epoch, batches, encode)
        self.assigned.fill_(-1)
        if distributed.is_main_process():
            found = sinkhorn(joint[seen], self.config.sharpness)
            places = seen.nonzero()[:, 0].to(self.assigned.device)
            self.assigned[places] = found.transport.argmax(1).to(self.assigned.device)
            log.info(
                "Before epoch %d: %d of %d images assigned to subclasses, in %d iterations%s",
                *(epoch + 1, len(places), len(seen), found.iterations),
                "" if found.error <= TOLERANCE else f", which left an error of {found.error:.3g}",
            )
        distributed.broadcast_from_main([self.assigned])

    @torch.no_grad()
    def _joint(
        self, epoch: int, batches: Any, encode: Callable[[Tensor], EncoderOutput]
    ) -> tuple[Tensor, Tensor]:
        """Return log J (n, Z), on the host in fp64, and which rows of it were seen (n,).

        It is the first process's; the others return nothing seen.
        """
        shape = (len(self.assigned), len(self.means)) if distributed.is_main_process() else (0, 0)
        joint, seen = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape[0]).bool()
        for batch in batches.another_pass("E step", epoch):
            embedding = encode(batch.views[0]).embedding
            device = embedding.device
            with torch.autocast(device.type, enabled=False):
                unit = normalize(wide(embedding))
                means = normalize(wide(self.class_means)), normalize(wide(self.means))
                labels = batch.labels.to(device, non_blocking=True)
                rows = log_joint(unit, labels, *means, self.config.subclass_temperature)
            both = (rows, batch.indices.to(device, non_blocking=True))
            rows, indices = (distributed.gather(part, batch.images).cpu() for part in both)
            if distributed.is_main_process():
                joint[indices], seen[indices] = rows.double(), True
        return joint, seen

    def check_assigned(self) -> None:
        """Raise a ValueError where a file assigned images to subclasses that there are not."""
        if not -1 <= self.assigned.min() <= self.assigned.max() < len(self.means):
            raise ValueError(f"images are assigned to subclass {int(self.assigned.max())}")


def class_given_subclass(class_means: Tensor, means: Tensor) -> Tensor:
    """Return log p(y|z), (Z, C), of unit means: a softmax over the classes."""
    return (means @ class_means.T).log_softmax(1)


def log_joint(
    unit: Tensor, labels: Tensor, class_means: Tensor, means: Tensor, temperature: float
) -> Tensor:
    """Return log J, (N, Z): p(z|x) p(y|z) of unit embeddings (N, D) and their classes (N,)."""
    of_class = class_given_subclass(class_means, means)[:, labels].T
    return (unit @ means.T / temperature).log_softmax(1) + of_class


def class_probabilities(
    unit: Tensor, class_means: Tensor, means: Tensor, temperature: float
) -> Tensor:
    """Return p(y|x) = sum over z of p(z|x) p(y|z), (N, C)."""
    of_subclass = (unit @ means.T / temperature).softmax(1)
    return of_subclass @ class_given_subclass(class_means, means).exp()


class Balanced(NamedTuple):
    """An assignment in which all subclasses are of one size.

    Attributes:
        transport: q, (n, Z): its rows add up to 1/n, its columns to 1/Z.
        subclass_factors, image_factors: r (Z,) and c (n,), with q = c J^sharpness r.
        iterations: how many it took.
        error: sum over the images of how far the last one looked at moved c, relatively.
    """

    transport: Tensor
    subclass_factors: Tensor
    image_factors: Tensor
    iterations: int
    error: float


def sinkhorn(log_joint: Tensor, sharpness: float) -> Balanced:
    """Assign images to subclasses of one size by Sinkhorn's and Knopp's iteration.

    Cuturi, NeurIPS 2013, arXiv 1306.0895, as SCGM's authors run it: from c = 1/n, the error looked
    at in iterations 0, 10, 20, ..., until it is 0.1 at most.

    Rows and columns are scaled to a largest entry of 1 first (ours): c and r take the factors up,
    so that nothing changes but that no row and no column vanishes by underflow.

    Args:
        log_joint: log J, (n, Z), of fp64.
        sharpness: lambda, the power that J is taken to.
    """
    images, subclasses = log_joint.shape
    power = sharpness * log_joint
    rows = power.amax(1, keepdim=True)
    columns = (power - rows).amax(0)
    power = power.sub_(rows).sub_(columns).exp_()
    rows = rows[:, 0]
    c = rows.clamp(min=-600).exp() / images
    iterations, error = 0, torch.inf
    while error > TOLERANCE and iterations < MOST_ITERATIONS:
        r = 1 / subclasses / (power.T @ c)
        moved = 1 / images / (power @ r)
        if iterations % 10 == 0:
            error = float((c / moved - 1).abs().sum())
        c, iterations = moved, iterations + 1
    transport = power.mul_(c[:, None]).mul_(r)
    return Balanced(transport, r * (-columns).exp(), c * (-rows).exp(), iterations, error)
