"""What a run tells when it ends or is stopped: what it came to, and the command that follows."""

import os
import shlex
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from ancor.checkpoints.checkpoint import BEST, LAST
from ancor.data.config import PERMISSIONS, DataConfig
from ancor.data.episodes import EpisodeSampler, Protocol
from ancor.data.images import ImageFiles
from ancor.data.packed import PackedImages
from ancor.data.partition import Partition
from ancor.errors import InputError
from ancor.runtime.distributed import local_world_size, nodes, world_size
from ancor.runtime.text import command_line, installed_name
from ancor.training.config import RunConfig
from ancor.training.run_folder import RunSaver
from ancor.training.trainer import Trainer

LAUNCHERS = ("--multiprocessing-distributed", "--nproc", "--world-size")
MOST_IN_MEMORY = 100_000  # images; a larger set that is held in memory takes gigabytes


def stopped(config: RunConfig, saver: RunSaver, flags: Sequence[str]) -> str:
    """Return what a signal leaves of a run: whether it is saved, and the command to go on.

    Args:
        config: the run's settings.
        saver: what saved it.
        flags: those of the command that started it which are in no file.
    """
    if saver.failed and not (saver.folder / LAST).exists():
        return f"nothing of it saved ({saver.failed})"
    saved = f"the last save failed ({saver.failed})" if saver.failed else "all of it saved"
    if config.training.max_steps is not None:
        flags = [*flags, "--max-steps", str(config.training.max_steps)]
    return f"{saved}; go on: {going_on(saver.folder, flags)}"


def going_on(folder: Path, flags: Sequence[str]) -> str:
    """Write the command that goes on with the run of a folder."""
    line = command_line("train", "--output-dir", folder, "--resume", "auto", *flags)
    if world_size() > 1 and not set(LAUNCHERS) & set(flags):
        return f"{_launcher()} {line.removeprefix('python ')}"
    return line


def _launcher() -> str:
    """Write the torchrun that starts as many processes; nodes meet where the first one was."""
    words = ["torchrun", "--nproc-per-node", local_world_size()]
    if nodes() > 1:
        meeting = "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{os.environ['MASTER_ADDR']}:29500"
        words = ["on each node,", *words, "--nnodes", nodes(), *meeting]
    return " ".join(map(str, words))


def ended(
    config: RunConfig,
    folder: Path,
    flags: Sequence[str],
    trainer: Trainer,
    partitions: Sequence[Partition],
) -> Iterator[str]:
    """Yield what a run came to, and what follows.

    Args:
        config: the run's settings.
        folder: its output directory.
        flags: those of the command that started it which are in no file.
        trainer: what trained.
        partitions: the training images, and those of validation, if they were read.
    """
    done = trainer.progress
    yield f"Done: {_steps(trainer)}; files in {folder}"
    if done.epoch < config.training.epochs:
        yield (
            f"Stopped before the last of {config.training.epochs} epochs; go on: "
            f"{going_on(folder, flags)}"
        )
    if len(done.best_accs) > 1:
        epoch = f" after epoch {done.best_epochs[-1]}" if done.best_epochs[-1] else ""
        other = "; model_best is the last epoch" if config.selected_on == "last" else ""
        yield f"Best validation accuracy: {done.best_accs[-1]:.2f}{epoch}{other}"
    model = folder / BEST
    yield f"Next: {_next(config.data, model if model.exists() else folder / LAST, partitions)}"


def _steps(trainer: Trainer) -> str:
    """Tell the steps done and their time, over all starts."""
    step, first, seconds = trainer.progress.step, trainer.pace.first, trainer.pace.seconds()
    now = timedelta(seconds=round(seconds))
    if not first:
        return f"{step} steps in {now}"
    total = trainer.seconds()
    over_all = "" if total is None else f" in {timedelta(seconds=round(total))}"
    return f"{step} steps{over_all}, {step - first} of them since the resume in {now}"


def _next(data: DataConfig, model: Path, partitions: Sequence[Partition]) -> str:
    """Write a command that works with the data that are there; none is read twice."""
    given = (name for name in PERMISSIONS if name != "download" and getattr(data, name))
    allowed = [f"--{name.replace('_', '-')}" for name in given]
    known = dict(zip(("train", "validation"), partitions, strict=False))
    for mode in ("fine", "coarse"):
        for name in ("test", "validation", "train"):
            large = name == "test" and _too_large(partitions[0])
            if not large and name not in known:
                known[name] = _read(data, name)
            if large or _is_scorable(known[name], mode):
                modes = [] if mode == "fine" else ["--mode", mode]
                words = ["--model-path", model, "--partition", name, *modes, *allowed]
                return command_line("eval", *words)
    return f"{installed_name() or 'python -m ancor'} inspect {shlex.quote(str(model))}"


def _too_large(train: Partition) -> bool:
    """Return whether the test images would stand beside training images that fill the memory."""
    in_memory = not isinstance(train.images, ImageFiles | PackedImages)
    return in_memory and len(train) > MOST_IN_MEMORY


def _read(data: DataConfig, name: str) -> Partition | None:
    try:
        return data.read(name)
    except (InputError, OSError):
        return None


def _is_scorable(partition: Partition | None, mode: str) -> bool:
    """Return whether the episodes that eval.py draws by default can be drawn."""
    if partition is None:
        return False
    try:
        EpisodeSampler.of(partition, mode).check(Protocol(n_ways=5))
    except InputError:
        return False
    return True
