"""What training asks of a method, with defaults for all of it but the losses."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ancor.methods.losses import LossTerm
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder, EncoderOutput
from ancor.models.groups import backbone_groups, batch_norms, fixed_modules
from ancor.runtime import distributed


class Batch(NamedTuple):
    """A batch of images.

    Attributes:
        views: augmented views, each (N, 3, H, W), on the device; one for each of `Method.views`.
        labels: classes (N,), on the host.
        indices: positions of the images in the training set, (N,), on the host.
        shuffle: with several processes, a permutation of the images that all of them hold together,
            the same on all; None with one.
    """

    views: tuple[Tensor, ...]
    labels: Tensor
    indices: Tensor
    shuffle: Tensor | None = None

    @property
    def images(self) -> int:
        """Number of images that all processes hold together."""
        return len(self.labels) if self.shuffle is None else len(self.shuffle)


class Method(nn.Module):
    """A training method: the loop adds its losses up, logs each by name, and steps.

    A method overrides `losses`, and of the rest what it needs. Modules, parameters and buffers that
    it registers beside the encoders are trained, saved and resumed as they are.

    It is made twice: first on the device "meta", where tensors have shapes and no numbers, for
    `check_memory`; what is counted from the labels is to be made on their device.

    Args:
        encoder_config: of the encoder that is trained.
        config: the method's settings (`ancor.methods.config`); checked against the head.
        labels: classes of the training images, (N,) of int64, by the numbers of `Batch.indices`;
            None where only shapes matter.

    Attributes:
        views: the kind of each augmented view that it needs of an image
            (`ancor.data.views.VIEW_KINDS`).
        accumulates: whether a batch may be split (`accumulate`): not where a loss compares the
            images of a whole batch.
        encoder: what the optimizer trains and evaluation uses.
        key_encoder: a second encoder that follows it, or None.
    """

    views: tuple[str, ...] = ("strong",)
    accumulates = True

    def __init__(
        self, encoder_config: EncoderConfig, config: Any, labels: Tensor | None = None
    ) -> None:
        super().__init__()
        self.check(encoder_config.head, config)
        self.config = config
        self.encoder = Encoder(encoder_config)
        self.key_encoder: Encoder | None = None
        self._frozen: dict[str, bool] = {}
        self._keeps_statistics = False
        # In a dict, so that wrappers do not enter this module's own names.
        self._run: dict[str, nn.Module] = {"query": self.encoder}

    @staticmethod
    def check(head: str, config: Any) -> None:
        """Raise an InputError for settings that have no meaning with this head."""
        config.check(head)

    def check_memory(self, free: int, device: torch.device) -> None:
        """Raise an InputError where what it keeps beside its encoders exceeds `free` bytes."""

    def prepare(self, device: torch.device, compiled: bool = False) -> None:
        """Let the passes run over all processes of a group, and compile them if asked.

        Called again where other parameters are trained than before.
        """
        self._run["query"] = self.encoder  # what averaged the gradients before is gone
        self._run["query"] = distributed.data_parallel(self.encoder, device)
        if compiled:
            plain = {name: getattr(m, "_orig_mod", m) for name, m in self._run.items()}
            self._run = {name: torch.compile(module) for name, module in plain.items()}

    def freeze(self, groups: int) -> None:
        """Train all but the first groups of the backbone (`ancor.models.groups`).

        Those stay as they are, batch-norm statistics included, in the key encoder too, and their
        dropout is off.
        """
        backbone = self.encoder.backbone
        named = dict(backbone.named_parameters(remove_duplicate=False))
        for name, trained in self._frozen.items():
            named[name].requires_grad_(trained)
        first = backbone_groups(backbone).names[:groups]
        self._frozen = {name: named[name].requires_grad for group in first for name in group}
        for name in self._frozen:
            named[name].requires_grad_(False)
        self.train(self.training)

    def keep_statistics(self, kept: bool) -> None:
        """Let the backbone's batch norm, in both encoders, keep its statistics and go by them."""
        self._keeps_statistics = kept
        self.train(self.training)

    def train(self, mode: bool = True) -> "Method":
        """Set training mode for all but what is frozen."""
        super().train(mode)
        for encoder in filter(None, (self.encoder, self.key_encoder)):
            for module in self._fixed(encoder):
                module.training = False
        return self

    def moving_buffers(self, encoder: Encoder) -> list[Tensor]:
        """List the buffers of one of its encoders that passes in training change."""
        fixed = {id(b) for m in self._fixed(encoder) for b in m.buffers(recurse=False)}
        return [buffer for buffer in encoder.buffers() if id(buffer) not in fixed]

    def _fixed(self, encoder: Encoder) -> list[nn.Module]:
        found = fixed_modules(encoder.backbone, self._frozen) if self._frozen else []
        if self._keeps_statistics:
            found += batch_norms(encoder.backbone)
        return found

    def encode(self, images: Tensor) -> EncoderOutput:
        """Encode images (N, 3, H, W); the gradient is averaged over the processes."""
        return self._run["query"](images)

    def losses(self, batch: Batch) -> dict[str, LossTerm]:
        """Compute the losses of a batch by name: means over this process's images.

        A loss that compares the images of the whole batch gathers them
        (`ancor.runtime.distributed.gather_with_gradient`, of `batch.images`). The names, and which
        of the losses have accuracies, stay the same within an epoch.
        """
        raise NotImplementedError

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield (title, line) for the summary of a run."""
        yield "Method", self.config.name

    def notices(self, images_of_class: Iterable[int]) -> Iterator[str]:
        """Yield what users might trip over, given the number of training images of each class."""
        yield from ()

    def parameters_to_train(self) -> list[nn.Parameter]:
        """List what the optimizer updates: all parameters but the key encoder's.

        Their gradients are averaged over the processes; one that no loss reached is 0.
        """
        named = self.named_parameters()
        return [each for name, each in named if not name.startswith("key_encoder.")]

    def moved_by_losses(self) -> list[Tensor]:
        """List the tensors that `losses` changes; a step that is rolled back restores them."""
        return self.moving_buffers(self.encoder)

    def before_training(self, batches: Any) -> None:
        """Prepare for a fresh start; not called on a resume.

        As `before_epoch`, it runs on all processes, in training mode and under the precision of
        training, with torch's generator seeded alike on all. It sees images by
        `batches.another_pass(purpose, number)`, whose views are no epoch's, and keeps gradients
        away itself (`torch.no_grad`).

        Args:
            batches: the training set (`ancor.training.batches.TrainingBatches`).
        """

    def before_epoch(self, epoch: int, batches: Any) -> None:
        """Prepare for an epoch, from 0; not called where an epoch is resumed within."""

    def after_step(self, good: Tensor | None = None) -> None:
        """Follow the optimizer's step; change nothing if `good`, a boolean (), does not hold."""

    def figures(self) -> dict[str, Tensor]:
        """Return figures of the last batch that show whether training is healthy."""
        return {}

    def clusters(self) -> Tensor | None:
        """Return a cluster of each training image, (n,), -1: none, to be scored after an epoch.

        They are compared with fine labels, where these are known, that no method sees.
        """
        return None

    def without_averaging(self) -> AbstractContextManager:
        """Return a context in which gradients are not yet averaged over the processes."""
        query = self._run["query"]
        return query.no_sync() if hasattr(query, "no_sync") else nullcontext()

    def extra_tensors(self) -> dict[str, Tensor]:
        """Return the tensors beside the encoders by their names in checkpoints.

        A resume copies a file's into them.
        """
        encoders = ("encoder.", "key_encoder.")
        return {k: t for k, t in self.state_dict().items() if not k.startswith(encoders)}

    def extra_state(self) -> dict[str, Any]:
        """Return plain values that an exact resume needs, for checkpoints.

        They stand beside the loop's own there, whose names are taken: step, position, batch,
        undone, best_epochs, meter, scaler, clocks.
        """
        return {}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `extra_state` returned; older files may lack some or all of it."""
