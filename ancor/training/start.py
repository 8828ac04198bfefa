"""What a run starts from."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ancor.checkpoints.checksum import weights_hash
from ancor.checkpoints.pretrained import Pretrained, read_backbone, seen_labels
from ancor.data.features import FeatureRows, about
from ancor.data.partition import Images
from ancor.errors import InputError
from ancor.methods.base import Method
from ancor.models.libraries import check_image_size
from ancor.training.config import RunConfig


def start_of(
    config: RunConfig, content: Mapping[str, Any] | None
) -> tuple[RunConfig, Pretrained | None, list[str]]:
    """Read the weights that a fresh run starts from, unless it goes on from a checkpoint.

    Args:
        config: the run's.
        content: the checkpoint's content; None: a fresh run.

    Returns:
        The configuration, which names them; the weights; and lines about them for the log.

    Raises:
        InputError: there are none, or they do not fit, or the backbone cannot pass such images.
    """
    check_image_size(config.encoder.arch, config.data.transforms.size)
    if content is not None:
        name = content["config"].get("pretrained_on")
        return replace(config, pretrained_on=str(name or "")), None, []
    if config.training.pretrained is None:
        return config, None, []
    start = read_backbone(config.encoder.arch, config.training.pretrained)
    features = config.data.features
    if features is not None and about(features)["weights"] != weights_hash(start.backbone):
        raise InputError(
            f"`pretrained` {config.training.pretrained!r} are other weights than those that made "
            f"`features` {features!r}; give the file that they were made by, or write them anew"
        )
    seen = seen_labels(start.name, config.data.dataset)
    return replace(config, pretrained_on=start.name), start, [f"Backbone  {start.line}", *seen]


def check_features(method: Method, images: Images) -> None:
    """Raise an InputError where features in place of images are of another backbone than trains.

    Its file would hold a head for features that its own backbone does not make.
    """
    if isinstance(images, FeatureRows):
        images.check_made_by(weights_hash(method.encoder.backbone))
