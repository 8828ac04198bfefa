"""Going on with a run from a checkpoint."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ancor.errors import InputError
from ancor.safe_io.broken import BROKEN
from ancor.training.state import restore
from ancor.training.trainer import Trainer

log = logging.getLogger(__name__)


def go_on(trainer: Trainer, content: Mapping[str, Any], path: Path | None, images: str) -> None:
    """Put a trainer where a checkpoint stands, and say where that is.

    Args:
        trainer: of the same settings.
        content: the checkpoint.
        path: its file, for messages.
        images: fingerprint of the training images; where others are told in the file, the epoch
            that was cut off begins again.

    Raises:
        InputError: the file holds no such state, or stands beyond the end of an epoch.
    """
    told = content["config"].get("fingerprint")
    same_images = not told or told == images
    try:
        restore(trainer, content, same_images)
    except BROKEN as error:
        raise InputError(
            f"{str(path)!r} holds no state that this run can go on from "
            f"({error!r:.200}); give another file, or start afresh"
        ) from error
    done, steps = trainer.progress, len(trainer.batches)
    if done.position and not same_images:
        log.info("The epoch that was cut off begins again, as its images have changed")
        trainer.begin_again(done.epoch)
    if done.position > steps:
        raise InputError(
            f"{str(path)!r} stands after {done.position} batches of an epoch, which has {steps}: "
            "it was trained on other images, or changed; give the images that it was trained on, "
            "or start a new run"
        )
    part = f" and {done.position} batches" if done.position else ""
    log.info("Going on from %s after epoch %d%s", path, done.epoch, part)
