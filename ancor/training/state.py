"""The state of training as files hold it, and taking it up again."""

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ancor.checkpoints.checkpoint import LAST, class_names
from ancor.checkpoints.state_dicts import (
    KEY,
    PREFIX,
    QUERY,
    check_encoder_state,
    encoder_state,
    load_encoder_state,
    tensors_of,
)
from ancor.data.config import PERMISSIONS, DataConfig
from ancor.data.fields import as_now
from ancor.errors import InputError
from ancor.methods.base import Method
from ancor.models.dropblock import DropBlock
from ancor.models.encoder import Encoder
from ancor.runtime.devices import shapes_only
from ancor.runtime.settings import defaults_of, settings_of
from ancor.training.config import RunConfig
from ancor.training.metrics import Meter
from ancor.training.optimizer import STATES, follow_freezing, fresh_state, trained
from ancor.training.progress import Progress
from ancor.training.trainer import Trainer

MOST_STEPS = 2**62  # TensorBoard counts steps in 64 bits
# What a resumed run must share with its file: it defines the model, the queue or the data.
FIXED = {
    "data": tuple(
        name for name in settings_of(DataConfig) if name not in ("root", "features", *PERMISSIONS)
    ),
    "encoder": None,
    "method": None,
    "training": (
        *("mode", "batch_size", "seed", "balance"),
        # Whose momenta a file has, and in which groups.
        *("optimizer", "layer_decay", "backbone_lr_scale", "freeze", "freeze_epochs"),
    ),
}


def method_state(method: Method) -> dict[str, Tensor]:
    """Return all tensors of a method by their names in files.

    A method without keys still gets its `encoder_k` names, as the paper's files have them: they
    point at the query encoder's tensors, so they take no room.
    """
    state = encoder_state(method.encoder, QUERY)
    if method.key_encoder is not None:
        state |= encoder_state(method.key_encoder, KEY)
    else:
        with shapes_only():
            names = encoder_state(Encoder(method.encoder.key_config), KEY)
        state |= dict(zip(names, method.encoder.shared_state(), strict=True))
    return state | {PREFIX + name: tensor for name, tensor in method.extra_tensors().items()}


def load_method_state(method: Method, state: Mapping[str, Tensor]) -> None:
    """Copy tensors from a file's `state` into a method; InputError where they do not fit."""
    load_encoder_state(method.encoder, state, QUERY)
    if method.key_encoder is not None:
        load_encoder_state(method.key_encoder, state, KEY)
    for name, tensor in method.extra_tensors().items():
        found = state.get(PREFIX + name)
        if found is None or found.shape != tensor.shape:
            raise InputError(f"the file's {name} does not fit the model's {tuple(tensor.shape)}")
        tensor.copy_(found)


def clocks(method: Method) -> dict[str, int]:
    """Return every DropBlock's count of training forwards, by module name."""
    return {
        name: int(module.clock)
        for name, module in method.named_modules()
        if isinstance(module, DropBlock)
    }


def set_clocks(method: Method, counts: Mapping[str, int]) -> None:
    """Restore what `clocks` returned."""
    for name, module in method.named_modules():
        if isinstance(module, DropBlock) and name in counts:
            module.clock.fill_(counts[name])


def trainer_state(trainer: Trainer) -> dict[str, Any]:
    """Return what `restore` needs beside a checkpoint's common entries."""
    progress, extra = trainer.progress, trainer.method.extra_state()
    own = {
        "step": progress.step,
        "position": progress.position,
        "batch": trainer.batches.batch_size,
        "undone": progress.undone,
        "best_epochs": list(progress.best_epochs),
        "meter": trainer.meter.state(),
        "scaler": trainer.scaler.state_dict(),
        "clocks": clocks(trainer.method),
    }
    if taken := own.keys() & extra.keys():
        raise ValueError(f"extra_state of a method has {sorted(taken)}; expected other names")
    return {
        "state_dict": method_state(trainer.method),
        "optimizer": trainer.optimizer.state_dict(),
        "seconds": trainer.seconds(),
        "progress": {**own, **extra},
    }


def check_resumable(content: Mapping[str, Any], config: RunConfig, path: Path) -> list[str]:
    """Raise an InputError where a file cannot go on under this configuration.

    Returns:
        Lines on what is different and does not forbid it.
    """
    if "optimizer" not in content or "progress" not in content:
        raise InputError(f"{str(path)!r} holds an encoder only; `resume` needs a {LAST}")
    progress = content["progress"]
    counts = [None]
    if isinstance(progress, dict):  # format 1 knew only whole epochs, none of them undone
        later = [progress.get(name, 0) for name in ("position", "undone")]
        counts = [content["epoch"], progress.get("step"), *later]
    if not all(type(count) is int and 0 <= count < MOST_STEPS for count in counts):
        raise InputError(f"{str(path)!r} does not tell how far its run was; give another file")
    theirs, ours = content["config"], config.plain()
    theirs = {**theirs, "data": as_now(theirs["data"])}
    sections = {name: getattr(config, name) for name in ("data", "method", "training")}
    of_old = {k: {**defaults_of(type(v)), **theirs[k]} for k, v in sections.items()}
    theirs = {**theirs, **of_old}
    for section, names in FIXED.items():
        for name in names or ours[section]:
            before, now = theirs[section].get(name), ours[section][name]
            if name == "num_classes":  # names say more than their number
                _check_classes(class_names(content, path), config.classes, path)
            if before != now:
                raise InputError(
                    f"{section} setting {name!r} is {before!r:.80} in {str(path)!r} and "
                    f"{now!r:.80} now; a resumed run cannot change it: leave the flag out, or "
                    "start a new run"
                )
    # Before a method of the file's sizes is made.
    check_encoder_state(config.encoder, tensors_of(content, str(path)), QUERY)
    notes, epochs = [], theirs["training"]["epochs"]
    if config.training.cos and epochs != config.training.epochs:
        notes.append(
            f"`cos` plans the rates of the epochs to come over all `epochs`: "
            f"{config.training.epochs} now, {epochs!r:.20} in {str(path)!r}"
        )
    if theirs.get("fingerprint") not in (None, ours["fingerprint"]):  # old files have none
        notes.append(
            f"The training images are not those of {str(path)!r} ({theirs.get('images')!r:.20} "
            f"images then, {config.images} now, by names, sizes and labels): training goes on with "
            "those of now"
        )
    return notes


def _check_classes(before: tuple[str, ...], now: tuple[str, ...], path: Path) -> None:
    """Raise an InputError where the numbers of classes would stand for other classes."""
    if not before or before == now:  # old files tell no names
        return
    differing = ((a, b) for a, b in zip_longest(before, now) if a != b)
    was, is_now = next(differing)
    raise InputError(
        f"the classes are not those of {str(path)!r}: {len(before)} then and {len(now)} now, the "
        f"first that differs {was!r:.80} then and {is_now!r:.80} now; give the data that it was "
        "trained on, or start a new run"
    )


def _restore_optimizer(optimizer: torch.optim.Optimizer, told: Any) -> None:
    """Take what a file's optimizer knew of parameters; what is done with it is this run's own."""
    own = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    states = told["state"]
    tables = [states, *told["param_groups"], *(states.values() if type(states) is dict else ())]
    for each in tables:  # torch asks for their names, and warns where they are tensors
        if not isinstance(each, dict):
            raise ValueError(f"its optimizer has {each!r:.80} for a table")
    optimizer.load_state_dict(told)
    for group, ours in zip(optimizer.param_groups, own, strict=True):
        kept = {"params": group["params"], **ours}
        group.clear()
        group.update(kept)
    names = STATES[type(optimizer)]
    states = {p: {name: s[name] for name in names} for p, s in optimizer.state.items() if s}
    optimizer.state.clear()
    known = {p: s for p, s in states.items() if any(value is not None for value in s.values())}
    if known and known.keys() != set(trained(optimizer)):
        raise ValueError("it has not one momentum for each parameter")
    for parameter, state in known.items():
        # The step takes both to lie alike in memory, without looking.
        kept = {name: fresh_state(name, parameter, own[0]["fused"]) for name in names}
        for name, value in state.items():
            if value.shape != kept[name].shape or not value.is_floating_point():
                raise ValueError(f"a {name} of {value.dtype} and shape {tuple(value.shape)}")
            if name == "step" and not 0 <= value < MOST_STEPS:
                raise ValueError(f"a state of {value} steps")
            kept[name].copy_(value.detach())
        optimizer.state[parameter] = kept
    follow_freezing(optimizer)


def _restore_scaler(scaler: torch.GradScaler, told: Any) -> None:
    """Take the scale of a file and the steps it has held; what changes it is this run's own."""
    scale, steps, ours = told["scale"], told["_growth_tracker"], scaler.state_dict()
    bounds = torch.finfo(torch.float32)
    if type(scale) not in (int, float) or not bounds.tiny <= scale <= bounds.max:
        raise ValueError(f"a loss scale of {scale!r:.80}")
    if type(steps) is not int or not 0 <= steps <= ours["growth_interval"]:
        raise ValueError(f"a loss scale that has held for {steps!r:.80} steps")
    scaler.load_state_dict({**ours, "scale": float(scale), "_growth_tracker": steps})


def _meter(told: dict[str, Any] | None, classes: int) -> Meter:
    """Return the meter that a file tells of; ValueError where its steps are not rows of figures."""
    meter = Meter(told, classes)
    if told and any(type(name) is not str for name in told["names"]):
        raise ValueError("the names of its figures are not words")
    if told and any(step.shape != (len(told["names"]) + 1,) for step in told["steps"]):
        raise ValueError("its figures have no names")
    if told and any(counts.shape[1:] != (2, classes) for counts in told.get("right", ())):
        raise ValueError("its counts are of other classes")
    return meter


def _best_epochs(told: Any, count: int) -> list[int | None]:
    """Return the epoch of each best accuracy, as far as a file tells."""
    fits = isinstance(told, list) and len(told) == count
    return [epoch if type(epoch) is int else None for epoch in told] if fits else [None] * count


def _accuracy(told: Any) -> float:
    """Return a best accuracy of a file; ValueError where it is no plain number."""
    if type(told) not in (int, float):
        raise ValueError(f"a best accuracy of {told!r:.80}")
    return float(told)


def _seconds(told: Any) -> float | None:
    """Return the time that earlier starts took; None where a file does not tell (old files)."""
    return float(told) if type(told) in (int, float) and 0 <= told < 1e10 else None


def restore(trainer: Trainer, content: Mapping[str, Any], same_images: bool = True) -> None:
    """Put a trainer into the state that `trainer_state` returned.

    Figures that no print has told are taken only where they are of the `same_images`.
    """
    method = trainer.method
    load_method_state(method, tensors_of(content, "the file"))
    progress = content["progress"]
    tables = {"optimizer": content["optimizer"]}
    tables |= {name: progress.get(name) for name in ("clocks", "meter", "scaler")}
    for name, told in tables.items():
        if not isinstance(told, dict | None):
            raise ValueError(f"its {name} is {told!r:.80}")
    # What its last step trained: what follows at an epoch's end is not thawed yet.
    trainer.freeze_for(max(0, content["epoch"] - (progress.get("position", 0) == 0)))
    _restore_optimizer(trainer.optimizer, content["optimizer"])
    set_clocks(method, progress["clocks"])
    method.load_extra_state(progress)
    best = [_accuracy(told) for told in content["best_accs"]] or [0.0]
    # Format 1 knew only whole epochs.
    trainer.progress = Progress(
        content["epoch"],
        progress.get("position", 0),
        progress["step"],
        progress.get("undone", 0),
        best,
        _best_epochs(progress.get("best_epochs"), len(best)),
        _seconds(content.get("seconds")),
    )
    if same_images:
        trainer.meter = _meter(progress.get("meter"), trainer.meter.classes)
    if progress.get("scaler") and trainer.scaler.is_enabled():
        _restore_scaler(trainer.scaler, progress["scaler"])
