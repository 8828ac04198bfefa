"""The flags that say which images, and how the network sees them."""

import argparse

from ancor.cli.options import add_settings
from ancor.data.config import DataConfig
from ancor.data.fields import AUGMENTATION
from ancor.data.registry import DATASETS
from ancor.runtime.settings import settings_of

VIEWS = ("dataset", "image_size", "mean", "std")  # settings of how a network sees images
DATASET_HELP = ", ".join(DATASETS)


def add_data_flags(
    parser: argparse.ArgumentParser, default: str, training: bool = False
) -> argparse._ArgumentGroup:
    """Add the flags that say which images.

    Args:
        parser: the command's.
        default: the dataset that is taken, for `--help`.
        training: whether the command draws training views.
    """
    settings = settings_of(DataConfig).items()
    names = [name for name, (_, about) in settings if training or about.group != AUGMENTATION]
    return add_settings(
        parser, DataConfig, "data", names, {"dataset": default}, dataset=f"one of {DATASET_HELP}"
    )


def add_view_flags(parser: argparse.ArgumentParser, group: str) -> None:
    """Add the flags that say how a network sees images that are of no dataset."""
    dataset = f"as the images of one of {DATASET_HELP}"
    add_settings(parser, DataConfig, group, VIEWS, {"dataset": None}, dataset=dataset)
