"""The files of a run: where they go, what is saved, what a resume reads."""

import errno
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from ancor import checkpoint
from ancor.data.catalog import DataConfig
from ancor.distributed import is_first
from ancor.errors import InputError
from ancor.methods.ancor import AncorConfig
from ancor.methods.base import Method
from ancor.models.encoder import EncoderConfig
from ancor.training.config import TrainConfig
from ancor.training.loop import Progress, Trainer
from ancor.training.meter import Meter

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are not told apart
    fcntl = None

log = logging.getLogger(__name__)

# What a resumed run must share with its file: it defines the model, the queue or the data.
FIXED = {
    "data": (
        "dataset",
        "image_size",
        "mean",
        "std",
        "crop_scale",
        "split",
        "breeds_info",
        "breeds_level",
        "breeds_ancestor",
        "breeds_subclasses",
        "coarse_level",
    ),
    "encoder": None,
    "method": None,
    "training": ("mode", "batch_size", "seed"),
}
METRICS = "metrics.jsonl"
RUN_MARKS = (checkpoint.LAST, checkpoint.BEST, METRICS)


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


def output_directory(named: str | None, default: str, overwrite: bool, resume: bool) -> Path:
    """Return the folder of a run, creating nothing.

    Args:
        named: what the user named; None: `default`, or with -2, -3, ... where that is taken.
        default: see `named`.
        overwrite: a named folder may hold a run, which is lost.
        resume: the folder may hold a run, which goes on.

    Raises:
        InputError: a named folder holds a run, or cannot be written to.
    """
    if named is None and not resume:
        folder, number = Path(default), 1
        while _holds_run(folder):
            number += 1
            folder = Path(f"{default}-{number}")
    else:
        folder = Path(named or default)
        if _holds_run(folder) and not (overwrite or resume):
            raise InputError(
                f"--output-dir {str(folder)!r} already holds a run; go on by --resume auto, "
                "replace it by --overwrite, or name another folder"
            )
    return folder


def _holds_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in RUN_MARKS)


def open_directory(folder: Path, overwrite: bool) -> TextIO:
    """Create the folder, or empty it of an earlier run's own files, and lock it for this process.

    The kernel releases the lock when the process ends, however it ends, and does not hand it on to
    loading processes.

    Returns:
        metrics.jsonl, open for appending; the lock goes with it.

    Raises:
        InputError: the folder cannot be written to, or another run writes into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        metrics = (folder / METRICS).open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise InputError(
            f"cannot write to --output-dir {str(folder)!r} ({error.strerror}); name another folder"
        ) from error
    _lock(metrics, folder)
    if overwrite:
        metrics.truncate(0)  # not removed: the lock is on it
        for pattern in ("*.pth.tar", "log.txt", "events.out.tfevents.*"):
            for path in folder.glob(pattern):
                path.unlink()
    return metrics


def _lock(file: TextIO, folder: Path) -> None:
    """Lock a file against other processes, where the system can."""
    if fcntl is None:
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise InputError(
                f"another run is writing into --output-dir {str(folder)!r}; wait for it, stop it, "
                "or name another folder"
            ) from error
        raise InputError(
            f"--output-dir {str(folder)!r} cannot be locked ({error.strerror}); name a folder on "
            "another file system"
        ) from error


class RunSaver:
    """Saves a trainer's state into its folder; given to `Trainer` as `save`.

    Args:
        folder: the run's output directory.
        config: goes into every file.

    Attributes:
        failed: why the last save failed; None: it did not.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder, self.config = folder, config.plain()
        self.failed: str | None = None

    def __call__(self, trainer: Trainer, best: bool, keep: bool) -> None:
        """Write `last`, and the encoder alone as `model_best` or under the epoch's number.

        Only the first process writes. Where that fails (a full disk), earlier files are untouched,
        one line says so, and `failed` tells until a later save succeeds.
        """
        if not is_first():
            return
        try:
            self._write(trainer, best, keep)
            self.failed = None
        except OSError as error:
            self.failed = error.strerror or str(error)
            log.error(
                "Could not save into %r (%s); earlier files are whole, the next save tries again",
                *(str(self.folder), self.failed),
            )
            if best and len(trainer.progress.best_accs) > 1:
                trainer.progress.best_accs.pop()  # it is in no file: a later one may be as good

    def _write(self, trainer: Trainer, best: bool, keep: bool) -> None:
        progress, method = trainer.progress, trainer.method
        common = {
            "epoch": progress.epoch,
            "arch": self.config["encoder"]["arch"],
            "best_accs": list(progress.best_accs),
            "config": self.config,
        }
        encoder = checkpoint.encoder_state(method.encoder, checkpoint.PREFIX + "encoder_q.")
        if best:
            checkpoint.save({**common, "state_dict": encoder}, self.folder / checkpoint.BEST)
        if keep:
            begun = progress.epoch + (progress.position > 0)
            name = f"checkpoint_{begun - 1:04d}.pth.tar"
            checkpoint.save({**common, "state_dict": encoder}, self.folder / name)
        checkpoint.keep_as_previous(self.folder)
        whole = {
            **common,
            "state_dict": checkpoint.method_state(method),
            "optimizer": trainer.optimizer.state_dict(),
            "progress": {
                "step": progress.step,
                "position": progress.position,
                "undone": progress.undone,
                "meter": trainer.meter.state(),
                "scaler": trainer.scaler.state_dict(),
                "clocks": checkpoint.clocks(method),
                "enqueued": method.queue.enqueued.tolist() if method.queue is not None else None,
            },
        }
        checkpoint.save(whole, self.folder / checkpoint.LAST)


def check_resumable(content: Mapping[str, Any], config: RunConfig, path: Path) -> None:
    """Raise an InputError where a file cannot go on under this configuration."""
    if "optimizer" not in content or "progress" not in content:
        raise InputError(f"{str(path)!r} holds an encoder only; --resume needs a {checkpoint.LAST}")
    progress = content["progress"]
    counts = [None]
    if isinstance(progress, dict):  # format 1 knew only whole epochs, none of them undone
        later = [progress.get(name, 0) for name in ("position", "undone")]
        counts = [content["epoch"], progress.get("step"), *later]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise InputError(f"{str(path)!r} does not tell how far its run was; give another file")
    theirs, ours = content["config"], config.plain()
    theirs = {**theirs, "method": {**asdict(AncorConfig()), **theirs["method"]}}  # of old versions
    for section, names in FIXED.items():
        for name in names or ours[section]:
            before, now = theirs[section].get(name), ours[section][name]
            if before != now:
                raise InputError(
                    f"{section} setting {name!r} is {before!r} in {str(path)!r} and {now!r} now; "
                    "a resumed run cannot change it: leave the flag out, or start a new run"
                )


def restore(trainer: Trainer, content: Mapping[str, Any]) -> None:
    """Put a trainer into the state that `RunSaver` wrote."""
    method: Method = trainer.method
    checkpoint.load_method_state(method, content["state_dict"])
    hyper = [
        {k: group[k] for k in ("momentum", "weight_decay")}
        for group in trainer.optimizer.param_groups
    ]
    trainer.optimizer.load_state_dict(content["optimizer"])
    for group, ours in zip(trainer.optimizer.param_groups, hyper, strict=True):
        group.update(ours)
    progress = content["progress"]
    checkpoint.set_clocks(method, progress["clocks"])
    if method.queue is not None:
        method.queue.enqueued.copy_(method.queue.enqueued.new_tensor(progress["enqueued"]))
    # Format 1 knew only whole epochs.
    trainer.progress = Progress(
        content["epoch"],
        progress.get("position", 0),
        progress["step"],
        progress.get("undone", 0),
        list(content["best_accs"]),
    )
    trainer.meter = Meter(progress.get("meter"))
    if progress.get("scaler"):
        trainer.scaler.load_state_dict(progress["scaler"])
