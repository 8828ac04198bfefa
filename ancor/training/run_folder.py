"""The files of a run: where they go, what is saved, what a resume reads."""

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from ancor.checkpoints import checkpoint
from ancor.checkpoints.state_dicts import QUERY, encoder_state
from ancor.errors import InputError
from ancor.runtime.distributed import is_main_process
from ancor.runtime.text import check_utf8
from ancor.safe_io.locking import lock
from ancor.safe_io.writing import replacing
from ancor.training.config import RunConfig
from ancor.training.progress import Progress
from ancor.training.state import trainer_state
from ancor.training.trainer import Trainer

log = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
RUN_MARKS = (checkpoint.LAST, checkpoint.BEST, METRICS)
LOCK = ".lock"
UNFINISHED = "*.pth.tar.*tmp"  # which a killed run leaves behind
# What `clear` removes beside the metrics; all else is written anew, or is not the run's.
OWN = ("*.pth.tar", UNFINISHED, "log.txt", "events.out.tfevents.*")


def output_directory(
    named: str | None,
    default: str,
    overwrite: bool,
    resume: bool,
    resumed_from: Path | None = None,
) -> Path:
    """Return the folder of a run, creating nothing.

    Only the first process writes there, and so only it can find the folder taken.

    Args:
        named: what the user named; None: `default`, or with -2, -3, ... where that is taken.
        default: see `named`.
        overwrite: a named folder may hold a run, which is lost.
        resume: the folder may hold a run, which goes on: the one of `resumed_from`.
        resumed_from: the checkpoint that is resumed; None: there is none, or none yet.

    Raises:
        InputError: a named folder holds another run, or has a name that is not UTF-8.
    """
    if named is None and is_main_process() and not resume:
        folder, number = Path(default), 1
        while _holds_run(folder):
            number += 1
            folder = Path(f"{default}-{number}")
    else:
        folder = Path(named or default)
        goes_on = resume and (resumed_from is None or is_of(folder, resumed_from))
        if is_main_process() and _holds_run(folder) and not (overwrite or goes_on):
            raise InputError(
                f"`output_dir` {str(folder)!r} already holds a run; go on by `resume` auto, "
                "replace it by `overwrite`, or name another folder"
            )
    check_utf8("`output_dir`", folder)
    return folder


def is_of(folder: Path, file: Path) -> bool:
    """Return whether a checkpoint is in a folder, itself or a link to it."""
    return folder.resolve() in (file.parent.resolve(), file.resolve().parent)


def _holds_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in RUN_MARKS)


@contextmanager
def open_directory(folder: Path) -> Iterator[TextIO]:
    """Create the folder, and hold it against other runs; an earlier run's files stay.

    Gives metrics.jsonl, open for appending.

    Raises:
        InputError: the folder cannot be written to, or another run writes into it.
    """
    with ExitStack() as stack:
        with _one_line(folder):
            folder.mkdir(parents=True, exist_ok=True)
            held = stack.enter_context((folder / LOCK).open("a"))
            lock(held, f"`output_dir` {str(folder)!r}")
            for path in folder.glob(UNFINISHED):
                path.unlink()
            metrics = stack.enter_context(
                (folder / METRICS).open("a", encoding="utf-8", buffering=1)
            )
        try:
            yield metrics
        except InputError:  # refused before anything was trained: the folder stays free
            if not metrics.tell():
                (folder / METRICS).unlink()
            raise


def clear(folder: Path, metrics: TextIO) -> None:
    """Remove an earlier run's own files from an open folder; InputError where that fails."""
    with _one_line(folder):
        for pattern in OWN:
            for path in folder.glob(pattern):
                path.unlink()
        metrics.seek(0)
        metrics.truncate()


@contextmanager
def _one_line(folder: Path) -> Iterator[None]:
    """Turn an error of the disk into an InputError that names the folder."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write to `output_dir` {str(folder)!r} ({error.strerror}); name another folder"
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
            try:
                checkpoint.save({**common, "state_dict": encoder}, self.folder / checkpoint.BEST)
            except OSError:
                if self._chooses:
                    progress.forget_best()
                raise
        if keep:
            begun = progress.epoch + (progress.position > 0)
            name = f"checkpoint_{begun - 1:04d}.pth.tar"
            checkpoint.save({**common, "state_dict": encoder}, self.folder / name)
        last = self.folder / checkpoint.LAST
        checkpoint.keep_as_previous(self.folder, self._written)
        checkpoint.save({**common, **trainer_state(trainer)}, last)
        self._written = checkpoint.stamp(last)

    @property
    def _chooses(self) -> bool:
        """Whether `model_best` is the encoder of the best accuracy, not the last one."""
        return self.config["selected_on"] != "last"

    def take_best(self, progress: Progress, content: Mapping[str, Any], path: Path) -> None:
        """Have the folder hold the `model_best` of a resumed run's best accuracy.

        It is copied from the checkpoint's folder if need be. Where there is none, best accuracies
        begin anew, and a line says so.

        Args:
            progress: the checkpoint's.
            content: the checkpoint.
            path: its file.
        """
        if not (is_main_process() and self._chooses and len(progress.best_accs) > 1):
            return
        source, best = path.parent / checkpoint.BEST, self.folder / checkpoint.BEST
        if is_of(self.folder, path):
            found = best.exists() and content["config"].get("selected_on") != "last"
        elif found := _is_best(source, progress.best_accs):
            with _one_line(self.folder), replacing(best) as copy:
                shutil.copyfile(source, copy)
        if not found:
            log.info(
                "The encoder of the best validation accuracy so far, %.2f, is not in %r: best "
                "accuracies begin anew",
                *(progress.best_accs[-1], str(path.parent)),
            )
            progress.best_accs, progress.best_epochs = [0.0], [None]


def _is_best(path: Path, accuracies: list[float]) -> bool:
    """Return whether a file is a whole `model_best` of the last of these best accuracies."""
    try:
        content = checkpoint.read(path)
    except InputError:
        return False
    chosen = content["config"].get("selected_on") != "last"
    return chosen and repr(content.get("best_accs")) == repr(accuracies)  # of whatever is there
