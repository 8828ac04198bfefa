"""The training loop. It knows no method: it adds losses up, logs each by name, and steps."""

import logging
import math
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from ancor.devices import used_memory
from ancor.distributed import rank, share, world_size
from ancor.errors import RunError
from ancor.logs import RunLog, progress
from ancor.methods.base import Batch, Method
from ancor.methods.losses import LossTerm
from ancor.seeding import address_seed, generator
from ancor.training.batches import TrainingBatches
from ancor.training.config import TrainConfig
from ancor.training.meter import Meter

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        epoch: epochs finished.
        step: optimiser steps done.
        best_accs: the rising 5-way validation accuracies (0-100), from 0.
    """

    epoch: int = 0
    step: int = 0
    best_accs: list[float] = field(default_factory=lambda: [0.0])

    def improves(self, accuracy: float) -> bool:
        """Note a validation accuracy (0-100) and tell whether it is the best so far."""
        if accuracy <= self.best_accs[-1]:
            return False
        self.best_accs.append(accuracy)
        return True


class Trainer:
    """Trains a method epoch by epoch.

    Args:
        method: what is trained.
        batches: the training set.
        config: optimiser, schedule, intervals.
        run_log: where figures go.
        validate: scores the encoder, or None.
        dtype: what network passes are cast to by autocast; None: fp32.
        save: called with (trainer, whether this is the best, whether to keep this epoch) after
            every `save_freq` epochs, every one of `keep_epochs`, and the last.
        quiet: no bars.
    """

    def __init__(
        self,
        method: Method,
        batches: TrainingBatches,
        config: TrainConfig,
        run_log: RunLog,
        validate: Callable[[], dict[str, tuple[float, float]]] | None,
        save: Callable[["Trainer", bool, bool], None],
        dtype: torch.dtype | None = None,
        quiet: bool = False,
    ) -> None:
        self.method, self.batches, self.config = method, batches, config
        self.run_log, self.validate, self.save, self.quiet = run_log, validate, save, quiet
        self.progress = Progress()
        self.dtype = dtype
        self.scaler = torch.GradScaler(batches.device.type, enabled=dtype == torch.float16)
        self.optimizer = torch.optim.SGD(
            method.encoder.parameters(),
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=batches.device.type in ("cpu", "cuda"),
        )

    def fit(self) -> None:
        """Train from where `progress` stands to the last epoch, or to `max_steps`."""
        while self.progress.epoch < self.config.epochs and not self._at_max_steps():
            epoch, started = self.progress.epoch, time.perf_counter()
            self._train_one_epoch(epoch)
            self.progress.epoch += 1
            figures = {"epoch": epoch + 1, "seconds": time.perf_counter() - started}
            last = self.progress.epoch == self.config.epochs or self._at_max_steps()
            keep = last or epoch in self.config.keep_epochs
            if keep or self.progress.epoch % self.config.save_freq == 0:
                scores = self._validation()
                self.save(self, self._is_best(scores, last), keep)
                figures |= {f"validation/{name}": 100 * mean for name, (mean, _) in scores.items()}
            self.run_log.record("epoch", self.progress.step, figures)

    def _at_max_steps(self) -> bool:
        return self.config.max_steps is not None and self.progress.step >= self.config.max_steps

    def _validation(self) -> dict[str, tuple[float, float]]:
        scores = self.validate() if self.validate else {}
        if scores:
            shown = ", ".join(f"{k} {100 * m:.2f} ± {100 * h:.2f}" for k, (m, h) in scores.items())
            log.info(
                "Epoch %d/%d  validation: %s", *(self.progress.epoch, self.config.epochs, shown)
            )
        return scores

    def _is_best(self, scores: dict[str, tuple[float, float]], last: bool) -> bool:
        """Tell whether `model_best` is to be this epoch's encoder."""
        improved = bool(scores) and self.progress.improves(100 * scores["5-way"][0])
        return improved if scores and self.config.select == "validation" else last

    def _train_one_epoch(self, epoch: int) -> None:
        rate = self.config.rate(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.method.train()
        meter, asked = Meter(), time.perf_counter()
        for number, batch in enumerate(self._bar(epoch), start=1):
            meter.waited(time.perf_counter() - asked)
            self._step(batch, meter)
            last = number == len(self.batches) or self._at_max_steps()
            if last or number % self.config.print_freq == 0:
                self._print(epoch, number, rate, meter.read())
                meter = Meter()
            if last:
                break
            asked = time.perf_counter()

    def _bar(self, epoch: int) -> Iterable[Batch]:
        return progress(
            self.batches.epoch(epoch),
            self.quiet,
            total=len(self.batches),
            desc=f"epoch {epoch + 1}/{self.config.epochs}",
            unit="batch",
        )

    def _step(self, batch: Batch, meter: Meter) -> None:
        """Pass a batch, in parts if asked, and take one step of the optimiser."""
        torch.manual_seed(address_seed(self.config.seed, "step", self.progress.step, rank()))
        parts = self._parts(batch)
        weights = [len(part.labels) / len(batch.labels) for part in parts]
        # Gradients are averaged over processes; with unequal parts each has to count by its images.
        scale = len(batch.labels) * world_size() / self.batches.batch_size
        losses = []
        self.optimizer.zero_grad()
        for part, weight in zip(parts, weights, strict=True):
            last = len(losses) == len(parts) - 1
            with nullcontext() if last else self.method.without_averaging():
                losses.append(self._losses(part))
                total = sum(term.value for term in losses[-1].values())
                self.scaler.scale(total * (weight * scale)).backward()
        self.scaler.unscale_(self.optimizer)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.method.after_step()
        self.progress.step += 1
        meter.add(losses, weights, len(batch.labels))

    def _losses(self, batch: Batch) -> dict[str, LossTerm]:
        device = self.batches.device.type
        with torch.autocast(device, dtype=self.dtype, enabled=self.dtype is not None):
            return self.method.losses(batch)

    def _parts(self, batch: Batch) -> list[Batch]:
        """Divide a batch for `accumulate`; give the parts their shuffles over the processes."""
        smallest = self.batches.batch_size // world_size()  # all processes make as many parts
        count = min(self.config.accumulate, smallest)
        views = zip(*(view.tensor_split(count) for view in batch.views), strict=True)
        labels, indices = batch.labels.tensor_split(count), batch.indices.tensor_split(count)
        return [
            Batch(*fields, shuffle=self._shuffle(number, count))
            for number, fields in enumerate(zip(views, labels, indices, strict=True))
        ]

    def _shuffle(self, part: int, parts: int) -> Tensor | None:
        """Return a permutation of the images that all processes hold in one part of the batch."""
        if world_size() == 1:
            return None
        shares = (share(self.batches.batch_size, of) for of in range(world_size()))
        sizes = (divmod(own.stop - own.start, parts) for own in shares)
        images = sum(size + (part < more) for size, more in sizes)
        address = (self.config.seed, "batch-norm shuffle", self.progress.step, part)
        return torch.randperm(images, generator=generator(*address))

    def _health(self) -> dict[str, float]:
        """Figures of the last batch: gradient norm, queue fill, signs of collapse."""
        gradients = [p.grad for p in self.method.encoder.parameters() if p.grad is not None]
        figures = {"gradient_norm": get_total_norm(gradients), **self.method.figures()}
        values = torch.stack([value.float() for value in figures.values()]).tolist()
        return {f"health/{name}": value for name, value in zip(figures, values, strict=True)}

    def _print(self, epoch: int, number: int, rate: float, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            if name.startswith("loss/") and not math.isfinite(value):
                raise RunError(
                    f"the loss {name.removeprefix('loss/')} became {value} by step "
                    f"{self.progress.step}; lower --lr, or look at the images with --print-freq 1"
                )
        record = {"epoch": epoch + 1, "lr": rate, **figures, **self._health()}
        record["memory_mb"] = used_memory(self.batches.device) / 2**20
        self.run_log.record("step", self.progress.step, record)
        losses = "  ".join(
            f"{name.removeprefix('loss/')} {value:.3f} "
            f"(top-1 {figures[name.replace('loss', 'top1', 1)]:.1f})"
            for name, value in figures.items()
            if name.startswith("loss/")
        )
        log.info(
            "Epoch %d/%d [%d/%d]  lr %.3g  %s  %.0f images/s, %.0f%% waiting for data",
            *(epoch + 1, self.config.epochs, number, len(self.batches), rate, losses),
            *(figures["images_per_s"], 100 * figures["data_wait"]),
        )
