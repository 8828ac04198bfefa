"""The settings of a training run."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from ancor.data.config import DataConfig
from ancor.errors import InputError
from ancor.methods.config import BALANCES
from ancor.models.config import EncoderConfig
from ancor.models.names import OWN_WEIGHTS
from ancor.runtime.settings import Check, above, at_least, between, check_settings, one_of, setting
from ancor.training import schedules

MODES = ("coarse", "fine")
SELECTIONS = ("validation", "last")
OPTIMIZERS = ("sgd", "adamw")
RATES = ("paper", "supcontrast")


def _is_freeze(value: int | str) -> bool:
    return value == "all" or (type(value) is int and value >= 0)


@dataclass(frozen=True)
class TrainConfig:
    """Optimizer, schedule and protocol of a run (defaults: the paper's).

    Attributes:
        mode: which labels are trained on, `coarse` or `fine`.
        epochs: passes over the training set.
        batch_size: images a step.
        optimizer: `sgd` or `adamw`.
        lr, momentum, weight_decay: of the optimizer, on every parameter of the method; with a
            backbone of timm's no decay on norms, biases, and what the backbone excepts.
        layer_decay, backbone_lr_scale: factors of the rate of the backbone's groups
            (`ancor.models.groups`): from each group to the one before it, and of all of them.
        clip_grad: largest norm of the gradient; None: any.
        freeze, freeze_epochs: how many groups of the backbone stay as they are, or `all`, and for
            how many epochs; None: all.
        freeze_bn: the backbone's batch norm keeps its statistics, by which it then trains too.
        schedule, gamma: epochs from which the rate is multiplied by gamma.
        cos, num_cycles: cosine with restarts instead, and how many cycles.
        warmup_epochs: epochs over which the rate rises from 0; it is then set at each step.
        rates: whose rules these follow: the paper's, or `supcontrast` (SupContrast's code).
        max_steps: stop after this many steps; None: do all epochs.
        balance: how often each class is seen in an epoch (`ancor.methods.balance`).
        accumulate: micro-batches that each process splits its batch into.
        seed: of everything random.
        select: `model_best` by validation accuracy, or the last epoch's.
        val_episodes: episodes of each validation; 0: none.
        print_freq: steps between two prints.
        save_freq: epochs between two saves, each after a validation.
        save_minutes: save also when that many have passed since the last save; None: not.
        figure_freq: epochs between two t-SNE plots in TensorBoard; 0: none.
        skip_nonfinite: steps that may be rolled back because something in them was not finite.
        keep_epochs: epochs (from 0) after which the encoder is kept in a file of its own.
        workers: processes that load data, for each training process; None: as suits the images.
        sync_bn: batch-norm statistics over all processes.
        compile: compile the encoders' passes.
        checkpoint_activations: keep the inputs of the backbone's blocks alone for the backward
            pass, and pass them again there (`ancor.models.recomputing`).
        pretrained: the backbone's start weights: `default`, its library's own, or a file; None:
            drawn by the seed.
    """

    mode: str = setting("coarse", "which labels to train on: coarse or fine", one_of(MODES))
    epochs: int = setting(200, "passes over the training set", at_least(1), group="schedule")
    batch_size: int = setting(
        256, "images a step", at_least(1), flags=("-b", "--batch-size"), group="schedule"
    )
    lr: float = setting(0.03, "learning rate", above(0), metavar="RATE", group="schedule")
    schedule: tuple[int, ...] = setting(
        (120, 160), "epochs at which the rate falls", metavar="EPOCH", group="schedule"
    )
    gamma: float = setting(0.1, "factor of each fall", above(0), metavar="FACTOR", group="schedule")
    cos: bool = setting(
        False, "cosine schedule with restarts instead", negatable=True, group="schedule"
    )
    num_cycles: int = setting(10, "its cycles", at_least(1), group="schedule")
    warmup_epochs: float = setting(
        0.0,
        "epochs over which the rate rises from 0; it is then set at each step, not each epoch",
        between(0, 100_000),
        metavar="EPOCHS",
        group="schedule",
    )
    rates: str = setting(
        "paper",
        "whose schedule: paper, or supcontrast (one cosine that ends at rate x gamma^3 in the last "
        "epoch; a warm-up that begins at 0.01)",
        one_of(RATES),
        group="schedule",
    )
    optimizer: str = setting("sgd", "sgd or adamw", one_of(OPTIMIZERS), group="schedule")
    momentum: float = setting(
        0.9, "momentum of SGD; AdamW's first beta", at_least(0), metavar="M", group="schedule"
    )
    weight_decay: float = setting(
        1e-4,
        "weight decay; with a timm backbone not of norms, biases and what that backbone excepts",
        at_least(0),
        flags=("--wd", "--weight-decay"),
        metavar="W",
        group="schedule",
    )
    clip_grad: float | None = setting(
        None,
        "scale the gradient down to this norm where it is larger",
        above(0),
        metavar="NORM",
        unset="not",
        group="schedule",
    )
    layer_decay: float = setting(
        1.0,
        "factor of the rate from each group of layers to the one before it",
        Check(lambda value: 0 < value <= 1, "a number above 0, 1 at most"),
        metavar="D",
        group="schedule",
    )
    backbone_lr_scale: float = setting(
        1.0,
        "factor of the backbone's rate beside the head's",
        above(0),
        metavar="S",
        group="schedule",
    )
    freeze: int | str = setting(
        0,
        "groups of the backbone's layers, from the input, that are not trained; or all",
        Check(_is_freeze, "0 or more, or all"),
        metavar="N",
        group="schedule",
    )
    freeze_epochs: int | None = setting(
        None,
        "epochs after which these groups train too",
        at_least(1),
        unset="never",
        group="schedule",
    )
    freeze_bn: bool = setting(
        False, "keep the backbone's batch-norm statistics", negatable=True, group="schedule"
    )
    max_steps: int | None = setting(None, "stop after N steps", at_least(1), group="schedule")
    balance: str = setting(
        "none",
        "images of an epoch: none (each once), class (each class as often as another) or sqrt, "
        "between them",
        one_of(BALANCES),
        metavar="HOW",
        group="schedule",
    )
    accumulate: int = setting(
        1,
        "gradient accumulation: split each batch into N micro-batches",
        at_least(1),
        group="schedule",
    )
    pretrained: str | None = setting(
        None,
        "start from weights: the backbone's published ones, or those of a file (ours, the "
        "paper's, timm's, torchvision's, MoCo's, SwAV's, DINO's)",
        flags=("--pretrained", "--init-from"),
        metavar="FILE",
        group="model",
        const=OWN_WEIGHTS,
    )
    seed: int = setting(0, "seed of everything random", group="run")
    save_freq: int = setting(
        1, "epochs between validations", at_least(1), flags=("-s", "--save-freq"), group="run"
    )
    save_minutes: float | None = setting(
        None,
        "save also when M minutes have passed since the last save",
        above(0),
        metavar="M",
        unset="not",
        group="run",
    )
    skip_nonfinite: int = setting(
        0,
        "go on after up to N steps in which a loss was not finite; each is rolled back",
        at_least(0),
        group="run",
    )
    keep_epochs: tuple[int, ...] = setting(
        (59, 99, 159, 199),
        "epochs, from 0, whose encoder is kept in a file of its own",
        metavar="EPOCH",
        group="run",
    )
    select: str = setting(
        "validation",
        "model_best is chosen by validation, or is the last",
        one_of(SELECTIONS),
        metavar="HOW",
        group="run",
    )
    val_episodes: int = setting(
        200,
        "episodes of a validation; 0: none",
        Check(lambda value: value == 0 or value >= 2, "0 (no validation), or 2 or more"),
        group="run",
    )
    print_freq: int = setting(
        10, "steps between prints", at_least(1), flags=("-p", "--print-freq"), group="run"
    )
    figure_freq: int = setting(
        0, "epochs between t-SNE plots in TensorBoard; 0: none", at_least(0), group="run"
    )
    workers: int | None = setting(
        None,
        "processes that load data",
        at_least(0),
        flags=("-j", "--workers", "--num-workers"),
        unset="the CPUs that may be used; 0 for small images in memory",
        group="device",
    )
    compile: bool = setting(False, "compile the encoders' passes", group="device")
    checkpoint_activations: bool = setting(
        False, "save memory: pass the backbone's blocks again in the backward pass", group="device"
    )
    sync_bn: bool = setting(False, "batch-norm statistics over all processes", group="processes")

    def __post_init__(self) -> None:
        check_settings(self)
        if self.optimizer == "adamw" and self.momentum >= 1:
            raise InputError(f"`momentum` {self.momentum}: expected below 1 with `optimizer` adamw")
        if self.compile and self.checkpoint_activations:
            raise InputError(
                "`compile` and `checkpoint_activations` exclude each other; choose one"
            )
        if self.freeze_epochs is not None and self.freeze == 0:
            raise InputError(
                f"`freeze_epochs` {self.freeze_epochs}: nothing is frozen; name it by `freeze`"
            )

    def frozen(self, epoch: int) -> int | str:
        """Return how many groups are frozen in an epoch, from 0, or `all`."""
        thawed = self.freeze_epochs is not None and epoch >= self.freeze_epochs
        return 0 if thawed else self.freeze

    def rate(self, epoch: int, batch: int = 0, batches: int = 1) -> float:
        """Learning rate of a step: its epoch's, or with a warm-up its own.

        Args:
            epoch: counted from 0.
            batch: batches of this epoch before this one.
            batches: batches of an epoch.
        """
        if self.rates == "supcontrast":
            counts = epoch * batches + batch, batches, self.epochs
            falls = (None if self.cos else self.schedule), self.gamma, self.warmup_epochs
            return schedules.supcontrast_rate(self.lr, *counts, *falls)
        if self.warmup_epochs == 0:
            batch, batches = 0, 1
        step, warmup = epoch * batches + batch, round(self.warmup_epochs * batches)
        rise = schedules.warmup_factor(step, warmup)
        if not self.cos:
            return rise * schedules.step_rate(self.lr, epoch, self.schedule, self.gamma)
        after, total = max(0, step - warmup), self.epochs * batches - warmup
        cosine = schedules.cosine_of_steps if self.warmup_epochs else schedules.cosine_rate
        return rise * cosine(self.lr, after, total, self.num_cycles)


@dataclass(frozen=True)
class RunConfig:
    """Everything that defines a run; checkpoints carry it as `config`.

    Attributes:
        encoder, data, training: sections of settings.
        method: the settings of the method, of the class that the registry names.
        selected_on: partition that `model_best` is chosen on, or `last`.
        classes: names of the classes that are trained on, by number; the data tells them.
        images: the number of training images; the data tells it.
        pretrained_on: what the weights that it starts from are called; empty: it starts from none.
        fingerprint: a hash of the training images' names or contents, and their labels; likewise.
    """

    encoder: EncoderConfig
    method: Any
    data: DataConfig
    training: TrainConfig
    selected_on: str = "validation"
    classes: tuple[str, ...] = ()
    images: int = 0
    fingerprint: str = ""
    pretrained_on: str = ""

    def plain(self) -> dict[str, Any]:
        """Return it as plain containers, as JSON would give them back."""
        return json.loads(json.dumps(asdict(self)))
