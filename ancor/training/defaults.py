"""Defaults that follow from other settings; the start says which were taken."""

from collections.abc import Mapping
from typing import Any

from ancor.models.names import library_name

# By `optimizer`, of a run from drawn weights; SGD's are the paper's.
FROM_DRAWN: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw": {"lr": 1e-3, "weight_decay": 0.05},
}
# By `optimizer`, of a run from pretrained weights; the first is the default there.
FROM_PRETRAINED: dict[str, dict[str, Any]] = {
    "adamw": {
        "optimizer": "adamw",
        "lr": 1e-3,
        "backbone_lr_scale": 0.1,
        "weight_decay": 0.05,
        "warmup_epochs": 1.0,
        "clip_grad": 1.0,
        "freeze_bn": True,
    },
    "sgd": {"lr": 0.01, "backbone_lr_scale": 0.1, "warmup_epochs": 1.0, "freeze_bn": True},
}
# Of a head on the features of a frozen backbone, beside those.
ON_FEATURES: dict[str, Any] = {"epochs": 50, "queue_length": "auto", "save_freq": 10}


def following(
    arch: str,
    pretrained: str | None,
    given: Mapping[str, Any],
    from_file: Mapping[str, Any],
    on_features: bool = False,
) -> tuple[str, dict[str, Any]]:
    """Return what follows from `pretrained` and `optimizer`, and what to call them.

    Of a backbone that is not a library's, a file's weights change no default: the paper's hold.

    Args:
        arch: the backbone.
        pretrained: weights that the run starts from; None: drawn ones.
        given: settings that are given, which go before.
        from_file: what a file says: it says all, so that nothing follows.
        on_features: whether the backbone is frozen and its features are read in place of images.
    """
    if from_file:
        return "", {}
    drawn = pretrained is None or not library_name(arch, pretrained)
    table = FROM_PRETRAINED if on_features or not drawn else FROM_DRAWN
    optimizer = given.get("optimizer", next(iter(table)))
    found = {**table.get(optimizer, {}), **(ON_FEATURES if on_features else {})}
    found = {k: v for k, v in found.items() if k not in given}
    if on_features:
        for name in ("backbone_lr_scale", "freeze_bn"):
            found.pop(name, None)
    name = {"sgd": "SGD", "adamw": "AdamW"}.get(optimizer, optimizer)
    where = " on features" if on_features else "" if drawn else " on pretrained weights"
    return f"{name}'s defaults{where}", found
