"""Going on with a run from a checkpoint."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ancor.checkpoints import checkpoint
from ancor.errors import InputError, RunError
from ancor.runtime import distributed
from ancor.safe_io.broken import BROKEN
from ancor.training.state import MOST_STEPS, restore
from ancor.training.trainer import Trainer

log = logging.getLogger(__name__)


def start_from(resume: str | None, folder: str | None) -> tuple[Path | None, dict[str, Any] | None]:
    """Return the file to go on from and its content; None: a fresh start.

    Args:
        resume: the file; `auto`: the newest whole one in the folder, if there is any; None: none.
        folder: output directory; None: not given.

    Raises:
        InputError: it cannot be read, or `auto` has no folder to search.
        RunError: the processes of this group do not find the same there.
    """
    if resume is None:
        return None, None
    if resume == "auto" and folder is None:
        raise InputError("`resume` auto looks into `output_dir`, which was not given; name it")
    if resume == "auto":
        path, content = checkpoint.newest(Path(folder)) or (None, None)
    else:
        path, content = Path(resume), checkpoint.read(resume)
    _check_same(folder if resume == "auto" else resume, content)
    return path, content


def _check_same(place: str, content: Mapping[str, Any] | None) -> None:
    """Raise a RunError where processes would go on from other steps; -1 stands for afresh."""
    progress = (content or {}).get("progress")
    step = progress.get("step") if isinstance(progress, dict) else None
    if type(step) is not int or not 0 <= step < MOST_STEPS:  # which is refused later
        step = 0
    step = -1 if content is None else step
    most, least = distributed.all_reduce_max(step), -distributed.all_reduce_max(-step)
    if most != least:
        found = "nothing to go on from" if least < 0 else f"step {least}"
        raise RunError(
            f"`resume`: in {place!r} some processes find step {most} and others {found}; name a "
            "folder that all nodes see, or bring the newest files to each"
        )


def go_on(trainer: Trainer, content: Mapping[str, Any], path: Path | None, images: str) -> None:
    """Put a trainer where a checkpoint stands, and say where that is.

    Args:
        trainer: of the same settings.
        content: the checkpoint.
        path: its file, for messages.
        images: fingerprint of the training images; where others are told in the file, or batches
            of another size, the epoch that was cut off begins again.

    Raises:
        InputError: the file holds no such state, or stands beyond the end of an epoch.
    """
    told = content["config"].get("fingerprint")
    same_images = not told or told == images
    # `batch_size` is a node's, of which there may be more now; old files do not tell a step's.
    batch, before = trainer.batches.batch_size, content["progress"].get("batch")
    same_batches = type(before) is not int or before == batch
    try:
        restore(trainer, content, same_images)
    except BROKEN as error:
        raise InputError(
            f"{str(path)!r} holds no state that this run can go on from "
            f"({error!r:.200}); give another file, or start afresh"
        ) from error
    done, steps = trainer.progress, len(trainer.batches)
    if not same_batches:
        log.info("Notice: a step takes %d images now, and took %d in %s", batch, before, path)
    if done.position and not (same_images and same_batches):
        changed = "batches" if same_images else "images"
        log.info("The epoch that was cut off begins again, as its %s have changed", changed)
        trainer.begin_again(done.epoch)
    if done.position > steps:
        raise InputError(
            f"{str(path)!r} stands after {done.position} batches of an epoch, which has {steps}: "
            "it was trained on other images, or changed; give the images that it was trained on, "
            "or start a new run"
        )
    part = f" and {done.position} batches" if done.position else ""
    log.info("Going on from %s after epoch %d%s", path, done.epoch, part)
