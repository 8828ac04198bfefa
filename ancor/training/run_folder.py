"""The files of a run: where they go, what is saved, what a resume reads."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from ancor.checkpoints import checkpoint
from ancor.checkpoints.state_dicts import QUERY, encoder_state
from ancor.errors import InputError
from ancor.runtime.distributed import is_main_process
from ancor.runtime.text import check_utf8
from ancor.safe_io.locking import lock
from ancor.training.config import RunConfig
from ancor.training.state import trainer_state
from ancor.training.trainer import Trainer

log = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
RUN_MARKS = (checkpoint.LAST, checkpoint.BEST, METRICS)
LOCK = ".lock"
# What `overwrite` removes; all else is written anew, or is not the run's.
UNFINISHED = "*.pth.tar.*tmp"  # which a killed run leaves behind
OWN = ("*.pth.tar", UNFINISHED, METRICS, "log.txt", "events.out.tfevents.*")


def output_directory(named: str | None, default: str, overwrite: bool, resume: bool) -> Path:
    """Return the folder of a run, creating nothing.

    Args:
        named: what the user named; None: `default`, or with -2, -3, ... where that is taken.
        default: see `named`.
        overwrite: a named folder may hold a run, which is lost.
        resume: the folder may hold a run, which goes on.

    Raises:
        InputError: a named folder holds a run, or has a name that is not UTF-8.
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
                f"`output_dir` {str(folder)!r} already holds a run; go on by `resume` auto, "
                "replace it by `overwrite`, or name another folder"
            )
    check_utf8("`output_dir`", folder)
    return folder


def _holds_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in RUN_MARKS)


@contextmanager
def open_directory(folder: Path, overwrite: bool) -> Iterator[TextIO]:
    """Create the folder, or empty it of an earlier run's own files; hold it against other runs.

    Gives metrics.jsonl, open for appending.

    Raises:
        InputError: the folder cannot be written to, or another run writes into it.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = stack.enter_context((folder / LOCK).open("a"))
            lock(held, f"`output_dir` {str(folder)!r}")
            for pattern in OWN if overwrite else (UNFINISHED,):
                for path in folder.glob(pattern):
                    path.unlink()
            metrics = stack.enter_context(
                (folder / METRICS).open("a", encoding="utf-8", buffering=1)
            )
        except OSError as error:
            raise InputError(
                f"cannot write to `output_dir` {str(folder)!r} ({error.strerror}); name another "
                "folder"
            ) from error
        try:
            yield metrics
        except InputError:  # refused before anything was trained: the folder stays free
            if not metrics.tell():
                (folder / METRICS).unlink()
            raise


class RunSaver:
    """Saves a trainer's state into its folder; given to `Trainer` as `save`.

    Args:
        folder: the run's output directory.
        config: goes into every file.

    Attributes:
        failed: why the last save failed; None: it did not.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder = folder
        self.config = {"format": checkpoint.FORMAT, **config.plain()}
        self.failed: str | None = None
        self._written: checkpoint.Stamp | None = None

    def __call__(self, trainer: Trainer, best: bool, keep: bool) -> None:
        """Write `last`, and the encoder alone as `model_best` or under the epoch's number.

        Only the first process writes. Where that fails (a full disk), earlier files are untouched,
        one line says so, and `failed` tells until a later save succeeds.
        """
        if not is_main_process():
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
            if best:
                trainer.progress.forget_best()

    def _write(self, trainer: Trainer, best: bool, keep: bool) -> None:
        progress, method = trainer.progress, trainer.method
        common = {
            "epoch": progress.epoch,
            "arch": self.config["encoder"]["arch"],
            "best_accs": list(progress.best_accs),
            "config": self.config,
        }
        encoder = encoder_state(method.encoder, QUERY)
        if best:
            checkpoint.save({**common, "state_dict": encoder}, self.folder / checkpoint.BEST)
        if keep:
            begun = progress.epoch + (progress.position > 0)
            name = f"checkpoint_{begun - 1:04d}.pth.tar"
            checkpoint.save({**common, "state_dict": encoder}, self.folder / name)
        last = self.folder / checkpoint.LAST
        checkpoint.keep_as_previous(self.folder, self._written)
        checkpoint.save({**common, **trainer_state(trainer)}, last)
        self._written = checkpoint.stamp(last)
