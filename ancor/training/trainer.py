"""The training loop. It knows no method: it adds losses up, logs each by name, and steps."""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from ancor.errors import Interrupted
from ancor.methods.base import Batch, Method
from ancor.models.groups import frozen_groups
from ancor.runtime.devices import used_memory
from ancor.runtime.distributed import all_reduce_max, rank, world_size
from ancor.runtime.logging import RunLog, progress
from ancor.runtime.seeding import address_seed
from ancor.training.batches import TrainingBatches, micro_batches
from ancor.training.clusters import cluster_figures, in_words
from ancor.training.config import TrainConfig
from ancor.training.metrics import Meter, shown
from ancor.training.optimizer import (
    build_optimizer,
    finish_gradients,
    follow_freezing,
    set_rate,
    take_step,
)
from ancor.training.progress import Pace, Progress
from ancor.training.signals import Requests
from ancor.training.step_guard import StepGuard, count_undone

log = logging.getLogger(__name__)


class Trainer:
    """Trains a method epoch by epoch.

    Args:
        method: what is trained.
        batches: the training set.
        config: optimizer, schedule, intervals.
        run_log: where figures go.
        validate: scores the encoder, or None.
        dtype: what network passes are cast to by autocast; None: fp32.
        save: called with (trainer, whether this is the best, whether to keep this epoch) after
            every `save_freq` epochs, every one of `keep_epochs`, and the last; every
            `save_minutes`, when a signal asks for it, and before a signal ends training.
        quiet: no bars.
        draw: called with (run_log, steps done) every `figure_freq` epochs, or None.
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
        draw: Callable[[RunLog, int], None] | None = None,
    ) -> None:
        self.method, self.batches, self.config = method, batches, config
        self.run_log, self.validate, self.save, self.quiet = run_log, validate, save, quiet
        self.draw = draw
        self.progress, self.meter = Progress(), Meter()
        self.requests = Requests()
        self.dtype = dtype
        self.scaler = torch.GradScaler(batches.device.type, enabled=dtype == torch.float16)
        self.fused = batches.device.type in ("cpu", "cuda")
        self.optimizer = build_optimizer(method, config, self.fused)
        method.keep_statistics(config.freeze_bn)
        self.guard = StepGuard(method.moved_by_losses())
        self.frozen = 0  # groups of the backbone
        self.freeze_for(0)
        self._norm: Tensor | None = None
        self._saved = time.monotonic()
        self.pace = Pace(0)  # of this start

    def fit(self) -> None:
        """Train from where `progress` stands to the last epoch, or to `max_steps`.

        Raises:
            Interrupted: a signal asked to stop; everything is saved.
            RunError: something was not finite.
        """
        self.pace = Pace(self.progress.step)
        if self.progress.step == 0:
            with self._prepared("before training", 0):
                self.method.before_training(self.batches)
        with self.requests:
            while self._steps_left(self.config.epochs) > 0 or self.progress.ends(len(self.batches)):
                self._epoch(self.progress.epoch)

    def step(self, batch: Batch, meter: Meter) -> None:
        """Pass a batch, in parts if asked, take one step of the optimizer, and tell the meter."""
        torch.manual_seed(address_seed(self.config.seed, "step", self.progress.step, rank()))
        config, size = self.config, self.batches.batch_size
        parts = micro_batches(batch, size, config.accumulate, config.seed, self.progress.step)
        # Gradients are averaged over processes; with unequal parts each has to count by its images.
        scale = len(batch.labels) * world_size() / size
        losses = []
        self.guard.remember()
        self.optimizer.zero_grad()
        for part, weight in parts:
            last = len(losses) == len(parts) - 1
            with nullcontext() if last else self.method.without_averaging():
                with self._autocast():
                    losses.append(self.method.losses(part))
                total = sum(term.value for term in losses[-1].values())
                # Not a number where the total is not finite: then no gradient is, on any process.
                weight = weight * scale * (1 + 0 * total.detach())
                self.scaler.scale(total * weight).backward()
        self._norm = finish_gradients(self.method, self.optimizer, self.scaler, config.clip_grad)
        good = self._norm.isfinite()
        take_step(self.optimizer, self.scaler, self.fused, good)
        self.guard.settle(good)
        self.method.after_step(good)
        self.progress.step += 1
        labels = [part.labels for part, _ in parts]
        meter.add(losses, [weight for _, weight in parts], good, labels)

    def freeze_for(self, epoch: int) -> bool:
        """Freeze what is frozen in an epoch, from 0; return whether that is another part."""
        before, backbone = self.frozen, self.method.encoder.backbone
        self.frozen = frozen_groups(self.config.frozen(epoch), backbone)
        if self.frozen != before:
            self.method.freeze(self.frozen)
            self.guard = StepGuard(self.method.moved_by_losses())
        follow_freezing(self.optimizer)
        return self.frozen != before

    def begin_again(self, epoch: int) -> None:
        """Begin an epoch, from 0, anew; figures of another one that has begun are dropped."""
        self.progress.epoch, self.progress.position, self.meter = epoch, 0, self.meter.rest(0)

    def seconds(self) -> float | None:
        """Return the time that the run was trained for, over all starts; None: not known."""
        before = self.progress.seconds
        return None if before is None else before + self.pace.seconds()

    def _steps_left(self, epochs: int) -> int:
        return self.progress.steps_left(epochs, len(self.batches), self.config.max_steps)

    def _epoch(self, epoch: int) -> None:
        """Do an epoch, or what is left of it, and what follows."""
        started = time.perf_counter()
        if self.freeze_for(epoch):
            log.info("Epoch %d: what was frozen trains from here on", epoch + 1)
            self.method.prepare(self.batches.device, self.config.compile)
        if self.progress.position == 0:
            with self._prepared("before epoch", epoch):
                self.method.before_epoch(epoch, self.batches)
        self._train_one_epoch(epoch)
        if self.progress.ends(len(self.batches)):
            self.progress.epoch, self.progress.position = epoch + 1, 0
        figures = {"epoch": epoch + 1, "seconds": time.perf_counter() - started}
        last = self._steps_left(self.config.epochs) <= 0
        keep = last or epoch in self.config.keep_epochs
        if keep or self.progress.epoch % self.config.save_freq == 0:
            scores = self._validation(epoch)
            self._save(self._is_best(scores, last, epoch + 1), keep)
            figures |= {f"validation/{name}": 100 * mean for name, (mean, _) in scores.items()}
            figures |= self._clusters(epoch)
            if scores:
                figures["validation_ways"] = self.validate.ways
        self.run_log.record("epoch", self.progress.step, figures)
        ended = self.progress.position == 0
        if self.draw and ended and self.progress.epoch % self.config.figure_freq == 0:
            self.draw(self.run_log, self.progress.step)

    def _save(self, best: bool = False, keep: bool = False) -> None:
        self.meter.stop()
        self.save(self, best, keep)
        self._saved, self.requests.save = time.monotonic(), False

    def _validation(self, epoch: int) -> dict[str, tuple[float, float]]:
        scores = self.validate() if self.validate else {}
        if scores:
            means = ", ".join(
                f"{self.validate.title(kind)} {100 * mean:.2f} ± {100 * half:.2f}"
                for kind, (mean, half) in scores.items()
            )
            log.info("Epoch %d/%d  validation: %s", epoch + 1, self.config.epochs, means)
        return scores

    def _clusters(self, epoch: int) -> dict[str, float]:
        clusters = self.method.clusters()
        if clusters is None:
            return {}
        found = cluster_figures(clusters.cpu().numpy(), self.batches.fine_labels)
        log.info("Epoch %d/%d  clusters: %s", epoch + 1, self.config.epochs, in_words(found))
        return {f"clusters/{name}": value for name, value in found.items()}

    def _is_best(self, scores: dict[str, tuple[float, float]], last: bool, epoch: int) -> bool:
        """Return whether `model_best` is to be the encoder after this epoch, counted from 1."""
        improved = bool(scores) and self.progress.improves(100 * scores["5-way"][0], epoch)
        chosen = self.config.select == "validation" and len(self.progress.best_accs) > 1
        return improved if scores and chosen else last  # none is better than 0: the last

    def _train_one_epoch(self, epoch: int) -> None:
        self.method.train()
        bar = progress(
            self.batches.epoch(epoch, self.progress.position),
            self.quiet,
            initial=self.progress.position,
            total=len(self.batches),
            desc=f"epoch {epoch + 1}/{self.config.epochs}",
            unit="batch",
        )
        self.meter.start()
        asked = time.perf_counter()
        for number, batch in enumerate(bar, start=self.progress.position + 1):
            self.meter.waited(time.perf_counter() - asked)
            rate = self.config.rate(epoch, number - 1, len(self.batches))
            set_rate(self.optimizer, rate)
            self.step(batch, self.meter)
            self.progress.position = number
            bar.set_postfix_str(f"run: {self._left()} left", refresh=False)
            left = self._steps_left(epoch + 1)
            prints = self._ends_window(left)
            if prints:
                self._print(epoch, number, rate, *self.meter.read())
                self.meter = self.meter.rest(self._lent(number))
            self._heed_requests(prints)
            if left <= 0:
                break
            self.meter.start()
            asked = time.perf_counter()

    def _ends_window(self, left: int) -> bool:
        """Return whether figures are printed with `left` steps of the epoch to go.

        The last window takes the steps that are too few for one of their own: a mean over one step
        beside means over ten would make every curve a saw.
        """
        return left <= 0 or min(len(self.meter), left) >= self.config.print_freq

    def _lent(self, number: int) -> int:
        """Return how many steps the next window repeats, so that it is long enough.

        It repeats some where `max_steps` ends the run shortly after an epoch's begin, or shortly
        before its end: what a resumed run does of it is too little for a window then.
        """
        whole = min(self.config.print_freq, len(self.batches))
        coming = len(self.batches) - number or self._steps_left(self.config.epochs)
        return whole - coming if 0 < coming < whole else 0

    def _left(self) -> str:
        """Return the time that the rest of the run takes at the pace until now, `0:12:34`."""
        return self.pace.left(self.progress.step, self._steps_left(self.config.epochs))

    def _heed_requests(self, at_print: bool) -> None:
        """Save if it is time to, and stop if a signal asks; several processes agree at prints."""
        stop = self.requests.stop
        if world_size() > 1:
            stop = all_reduce_max(stop) if at_print else 0
        due = time.monotonic() - self._saved >= 60 * (self.config.save_minutes or float("inf"))
        if stop or due or self.requests.save:
            self._save()
        if stop:
            name = signal.Signals(stop).name
            raise Interrupted(stop, f"stopped by {name} after step {self.progress.step}")

    def _autocast(self) -> torch.autocast:
        device = self.batches.device.type
        return torch.autocast(device, dtype=self.dtype, enabled=self.dtype is not None)

    @contextmanager
    def _prepared(self, purpose: str, number: int) -> Iterator[None]:
        """Run a hook of the method as a step is run; all processes draw alike."""
        torch.manual_seed(address_seed(self.config.seed, purpose, number))
        self.method.train()
        with self._autocast():
            yield

    def _health(self) -> dict[str, float]:
        """Figures of the last batch: gradient norm, queue fill, signs of collapse."""
        figures = {"gradient_norm": self._norm, **self.method.figures()}
        values = torch.stack([value.float() for value in figures.values()]).tolist()
        return {f"health/{name}": value for name, value in zip(figures, values, strict=True)}

    def _print(
        self, epoch: int, number: int, rate: float, figures: dict[str, float], failures: list
    ) -> None:
        if self.scaler.is_enabled():  # a scale that is too large for a step is no failure
            failures = [failure for failure in failures if failure.name != "gradient"]
        count_undone(self.progress, failures, len(self.meter), self.config.skip_nonfinite)
        record = {"epoch": epoch + 1, "lr": rate, **figures, **self._health()}
        record["memory_mb"] = used_memory(self.batches.device) / 2**20
        self.run_log.record("step", self.progress.step, record)
        log.info(
            "Epoch %d/%d [%d/%d]  lr %.3g  %s, %s left",
            *(epoch + 1, self.config.epochs, number, len(self.batches), rate),
            *(shown(figures), self._left()),
        )
