"""Settings of one kind that `ancor.data.config` has several of."""

from collections.abc import Mapping
from typing import Any

from ancor.runtime.settings import Check, setting

AUGMENTATION = "augmentation"  # the group of settings that only training views follow
# What no file allows, as anybody may have written it.
PERMISSIONS = ("download", "skip_bad_images", "allow_outside_root")
SHARE = Check(lambda share: 0 <= share <= 1, "a share of the views, from 0 (none) to 1 (all)")


def as_now(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's settings of data as they are meant now.

    Files of before settings had a `version` tell a `coarse_level` of manufacturer where none was
    given, and only aircraft heeded it.
    """
    unset = "version" not in told and told.get("dataset") != "aircraft"
    if unset and told.get("coarse_level") == "manufacturer":
        return {**told, "coarse_level": None}
    return dict(told)


def share_of_views(of: str, unset: str = "as the named augmentation") -> Any:
    """Make the setting of a part of training views: which share of them it changes."""
    about = {"metavar": "P", "unset": unset, "group": AUGMENTATION}
    return setting(None, f"share of the views that {of}", SHARE, **about)


def share_of_images(partition: str) -> Any:
    """Make the setting of a partition that is made of the training images."""
    return setting(
        None,
        f"share of the training images of each class that is the {partition} partition, equal "
        "pictures on one side",
        Check(lambda share: 0 < share < 1, "a share above 0 and below 1"),
        metavar="SHARE",
        unset="the dataset's own partition",
    )
