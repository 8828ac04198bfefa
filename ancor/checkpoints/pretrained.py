"""Backbones with weights that others trained, and encoders by name instead of a file."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from ancor.checkpoints import checkpoint, hub
from ancor.checkpoints.state_dicts import COUNTER, PREFIXES, recognize, tensors_of
from ancor.data.registry import BREEDS_SETS
from ancor.errors import InputError, capped
from ancor.models.backbones import BACKBONES, build_backbone
from ancor.models.config import BARE, EncoderConfig
from ancor.models.encoder import Encoder
from ancor.models.libraries import Published, copy_state, library, saw_imagenet
from ancor.models.names import HUB, OWN_WEIGHTS, SMALL, library_name, library_of, same_weights

log = logging.getLogger(__name__)

# What names of backbones may begin with in the files of others: MoCo v3, DINO and their like.
OTHERS = ("module.base_encoder.", "base_encoder.", "module.backbone.", "backbone.", "encoder.")


class Pretrained(NamedTuple):
    """A backbone with its weights.

    Attributes:
        backbone: the network.
        name: what the weights are called: published ones' name, a file's path or name on the hub.
        line: what was loaded and what was not, for the log.
    """

    backbone: nn.Module
    name: str
    line: str


def read_backbone(arch: str, pretrained: str) -> Pretrained:
    """Build a backbone with weights.

    Args:
        arch: its name.
        pretrained: `OWN_WEIGHTS` for those that its library publishes, or a file: of the library's
            names, MoCo's, SwAV's, DINO's, or a checkpoint of this toolkit or the paper; or the
            name of one on the hub, `hf-hub:OWNER/NAME`.

    Raises:
        InputError: there are no such weights, or they do not fit.
    """
    apart = ""
    if pretrained == OWN_WEIGHTS:
        name = library_name(arch, pretrained)
        hub.ask_ahead(name)
        published = _published(arch, name)
        path, name = str(hub.fetched(published)), published.name
        apart = f"; license {published.license}" if published.license else ""
    else:
        path = name = pretrained
        if name.startswith(HUB):
            path = str(weights_file(name))
    backbone, missing, unused, theirs = _loaded(arch, path)
    if pretrained != OWN_WEIGHTS and theirs is None:
        apart = _prepared_as(arch)
    left = [*(f"{each} drawn at random" for each in missing), *(_unused(unused))]
    taken = len(backbone.state_dict()) - len(missing)
    told = f"{taken} tensors of {name}{''.join(f', {each}' for each in left)}{apart}"
    return Pretrained(backbone, name, told)


def _published(arch: str, name: str) -> Published:
    """Return the weights that a backbone's library publishes under a name; InputError: none."""
    found = library(name).published() if name else None
    if found is None:
        raise InputError(f"{arch} has no published weights; give `pretrained` a file of them")
    return found


def _prepared_as(arch: str) -> str:
    """Say for which weights a library's backbone prepares images, where a file's may be others."""
    others = library(arch).other_tags()
    if not others:
        return ""
    return (
        f"; images are prepared as for {library(arch).published().name}: if the weights are "
        f"{capped(others)}, name them, as `arch` {arch}.{others[0]}"
    )


def _unused(names: Collection[str]) -> list[str]:
    if not names:
        return []
    shown = sorted(names)
    return [f"without {shown[0]}{f' and {len(shown) - 1} more' if len(shown) > 1 else ''}"]


def _loaded(arch: str, path: str) -> tuple[nn.Module, list[str], list[str], str | None]:
    """Return a backbone with a file's weights, the names that the file lacks, those not used, and
    the file's own backbone, where it tells or shows.
    """
    content = checkpoint.load(path)
    tensors = tensors_of(content, path)
    own_config = checkpoint.own_encoder(content, path)
    theirs = own_config.arch if own_config else None
    if theirs is None and not library_of(arch)[0]:
        theirs = recognize(tensors, path).config.arch
    if theirs is not None and not same_weights(theirs, arch) and theirs + SMALL != arch:
        raise InputError(
            f"`arch` {arch} is asked for and {path!r} holds {theirs}; give `arch` {theirs}, or "
            "another file"
        )
    backbone = build_backbone(arch)
    inside = _inside(tensors, backbone.state_dict())
    # A ResNet for small images has a first layer of its own.
    apart = ["conv1.weight"] if arch.endswith(SMALL) and theirs != arch else []
    try:
        if library_of(arch)[0]:
            missing, unused = library(arch).load(backbone, inside)
        else:
            missing, unused = copy_state(backbone, inside, left=apart)
    except (RuntimeError, KeyError, AttributeError) as error:
        reason = str(error).strip().rpartition("\n")[2].strip()
        raise InputError(f"{path!r} does not fit {arch} ({reason:.150}); give another") from error
    missing = [name for name in missing if not name.endswith(COUNTER)]
    if lacking := [name for name in missing if name not in apart]:
        raise InputError(
            f"{path!r} lacks {len(lacking)} of the tensors of {arch}, {lacking[0]!r} first; give "
            "the weights of this backbone"
        )
    return backbone, missing, unused, theirs


def _inside(tensors: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Return tensors without the prefix under which most names of a backbone are; all, if none."""

    def under(prefix: str) -> dict[str, Tensor]:
        return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

    def count(prefix: str) -> int:
        return sum(name in own for name in under(prefix))

    best = max(("", *PREFIXES, *OTHERS), key=count)
    return under(best) if count(best) else dict(tensors)


def is_name(source: str) -> bool:
    """Return whether a source is a library's backbone (`timm:NAME`, `timm:NAME=FILE`), no file."""
    return bool(library_of(str(source))[0])


def weights_file(source: str) -> Path:
    """Return the file that an encoder's weights come from."""
    if str(source).startswith(HUB):
        return hub.shared(str(source))
    if not is_name(source):
        return Path(source)
    arch, _, file = str(source).partition("=")
    return weights_file(file) if file else hub.fetched(_published(arch, arch))


def load_encoder(source: Path | str, head: str | None = None) -> tuple[Encoder, dict[str, Any]]:
    """Read an encoder as `checkpoint.load_encoder` does, or build a library's with its weights.

    Args:
        source: a file; `hf-hub:OWNER/NAME`, what was pushed there; or `timm:NAME`,
            `torchvision:NAME`, each alone or with `=FILE`.
        head: see there.

    Raises:
        InputError: see there and `read_backbone`.
    """
    arch, _, file = str(source).partition("=")
    if arch in BACKBONES and arch.startswith("python:"):
        config = EncoderConfig(arch, BARE)
        encoder = Encoder(config).eval()
        return encoder, {**checkpoint.untold(config), "state_dict": encoder.state_dict()}
    if not is_name(str(source)):
        return checkpoint.load_encoder(weights_file(source), head)
    found = read_backbone(arch, file or OWN_WEIGHTS)
    config = EncoderConfig(arch, BARE)
    data = library(arch).preprocessing()
    content = {**checkpoint.untold(config), "state_dict": found.backbone.state_dict()}
    told = {**content["config"], "data": data, "pretrained_on": found.name}
    told["training"] = {"seed": 0, "pretrained": file or OWN_WEIGHTS}
    encoder = Encoder(config, found.backbone).eval()
    log.info("Backbone: %s", found.line)
    return encoder, {**content, "config": told}


def check_head(head: str | None, encoder: Encoder, source: object) -> None:
    """Raise an InputError where a head is given and an encoder, read from a source, has another."""
    if head not in (None, encoder.config.head):
        raise InputError(
            f"`head` {head} was given and {str(source)!r} holds {encoder.config.head}; leave it out"
        )


def seen_labels(name: str, dataset: str) -> list[str]:
    """Say where weights may have been trained with the fine labels of a dataset.

    Args:
        name: what the weights are called.
        dataset: what is evaluated or trained on.
    """
    if dataset not in (*BREEDS_SETS, "tiered"):
        return []
    if saw_imagenet(name):
        return [
            f"Notice: the weights {name} were trained with ImageNet's labels, which are the fine "
            f"classes of {dataset}: these are not new to them"
        ]
    return [
        f"Notice: the fine classes of {dataset} are ImageNet's; if {name} was trained with its "
        "labels, they are not new"
    ]
