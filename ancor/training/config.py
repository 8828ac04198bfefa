"""The settings of a training run."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from ancor.checkpoints import checkpoint
from ancor.data.catalog import DataConfig
from ancor.errors import InputError, choose
from ancor.methods.ancor import AncorConfig
from ancor.models.encoder import EncoderConfig
from ancor.training.schedules import cosine_rate, step_rate

MODES = ("coarse", "fine")
SELECTIONS = ("validation", "last")


@dataclass(frozen=True)
class TrainConfig:
    """Optimiser, schedule and protocol of a run (defaults: the paper's).

    Attributes:
        mode: which labels are trained on, `coarse` or `fine`.
        epochs: passes over the training set.
        batch_size: images a step.
        lr, momentum, weight_decay: of SGD, on every parameter of the query encoder.
        schedule, gamma: epochs from which the rate is multiplied by gamma.
        cos, num_cycles: cosine with restarts instead, and how many cycles.
        seed: of everything random.
        select: `model_best` by validation accuracy, or the last epoch's.
        val_episodes: episodes of each validation; 0: none.
        print_freq: steps between two prints.
        save_freq: epochs between two saves, each after a validation.
        save_minutes: save also when so many have passed since the last save; None: not.
        figure_freq: epochs between two t-SNE pictures in TensorBoard; 0: none.
        skip_nonfinite: steps that may be undone because something in them was not finite.
        keep_epochs: epochs (from 0) after which the encoder is kept in a file of its own.
        max_steps: stop after this many steps; None: do all epochs.
        workers: processes that load data, for each training process; None: as suits the images.
        accumulate: parts that a process's batch is passed in, one after the other, to save memory.
        sync_bn: batch-norm statistics over all processes.
        compile: compile the encoders' passes.
        init_from: file that the backbone's start weights come from; None: drawn by the seed.
    """

    mode: str = "coarse"
    epochs: int = 200
    batch_size: int = 256
    lr: float = 0.03
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: tuple[int, ...] = (120, 160)
    gamma: float = 0.1
    cos: bool = False
    num_cycles: int = 10
    seed: int = 0
    select: str = "validation"
    val_episodes: int = 200
    print_freq: int = 10
    save_freq: int = 1
    save_minutes: float | None = None
    figure_freq: int = 0
    skip_nonfinite: int = 0
    keep_epochs: tuple[int, ...] = (59, 99, 159, 199)
    max_steps: int | None = None
    workers: int | None = None
    accumulate: int = 1
    sync_bn: bool = False
    compile: bool = False
    init_from: str | None = None

    def __post_init__(self) -> None:
        choose("--mode", self.mode, MODES)
        choose("--select", self.select, SELECTIONS)
        for name in (
            "epochs",
            "batch_size",
            "num_cycles",
            "print_freq",
            "save_freq",
            "max_steps",
            "accumulate",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} {value}: at least 1 is needed")
        for name in ("workers", "figure_freq", "skip_nonfinite"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise InputError(f"--{name.replace('_', '-')} {value}: 0 or more are needed")
        if self.save_minutes is not None and not 0 < self.save_minutes < math.inf:
            raise InputError(f"--save-minutes {self.save_minutes}: a number above 0 is needed")
        if self.val_episodes == 1 or self.val_episodes < 0:
            raise InputError(
                f"--val-episodes {self.val_episodes}: 0 (no validation) or at least 2 are needed"
            )
        for name, positive in (("lr", True), ("momentum", False), ("weight_decay", False)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (positive and value == 0):
                bound = "above 0" if positive else "of 0 or more"
                flag = "wd" if name == "weight_decay" else name
                raise InputError(f"--{flag} {value}: a finite number {bound} is needed")
        if not math.isfinite(self.gamma) or self.gamma <= 0:
            raise InputError(f"--gamma {self.gamma}: a finite number above 0 is needed")

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        if self.cos:
            return cosine_rate(self.lr, epoch, self.epochs, self.num_cycles)
        return step_rate(self.lr, epoch, self.schedule, self.gamma)


@dataclass(frozen=True)
class RunConfig:
    """Everything that defines a run; checkpoints carry it as `config`."""

    encoder: EncoderConfig
    method: AncorConfig
    data: DataConfig
    training: TrainConfig
    selected_on: str

    def plain(self) -> dict[str, Any]:
        """Return it as plain containers, as JSON would give them back."""
        return {"format": checkpoint.FORMAT, **json.loads(json.dumps(asdict(self)))}
