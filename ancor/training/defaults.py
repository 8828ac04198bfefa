"""Defaults that follow from other settings; the start says which were taken."""

from collections.abc import Mapping
from typing import Any

from ancor.methods.config import AncorConfig
from ancor.runtime.settings import settings_of

# By `optimizer`, of a run from drawn weights; SGD's are the paper's.
FROM_DRAWN: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw": {"lr": 1e-3, "weight_decay": 0.05},
}
# By `optimizer`, of a run from pretrained weights; the first is the default there. Its rate, in
# these few epochs, was chosen by measuring (docs/experiments.md), on a network with batch norm;
# others, transformers above all, are known to want a lower one.
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
WITH_BATCH_NORM: dict[str, Any] = {"lr": 3e-3}
# Of a backbone that trains on from there, beside those.
FINE_TUNING: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 64,
    "augment": "crops",
    "cos": True,
    "num_cycles": 1,
    "queue_length": "auto",
    "encoder_momentum": 0.99,
    "loss_weights": (1.0, 0.3),  # of ANCOR's two
}
FINE_TUNING_METHOD = "ce"  # which no other one surely passed, on coarse labels
# Of a head on the features of a frozen backbone, beside those.
ON_FEATURES: dict[str, Any] = {"epochs": 50, "queue_length": "auto", "save_freq": 10}
OF_A_BACKBONE = ("backbone_lr_scale", "freeze_bn")  # which a head on features has none of


def following(
    start: str, given: Mapping[str, Any], batch_norm: bool = False
) -> tuple[str, dict[str, Any]]:
    """Return what follows from what a run starts from and from `optimizer`, and what to call it.

    Of a backbone that is not a library's, a file's weights change no default: the paper's hold.

    Args:
        start: `drawn` weights, `pretrained` ones of a library's backbone, or the `features` of one
            that is frozen, which are read in place of images.
        given: settings that are given, which go before.
        batch_norm: whether the library's backbone has batch norm.
    """
    table = FROM_DRAWN if start == "drawn" else FROM_PRETRAINED
    optimizer = given.get("optimizer", next(iter(table)))
    found = dict(table.get(optimizer, {}))
    if start == "pretrained":
        method = {} if _asks_for_the_papers(given) else {"name": FINE_TUNING_METHOD}
        found = {**method, **found, **FINE_TUNING}
        if batch_norm and optimizer == "adamw":
            found |= WITH_BATCH_NORM
    elif start == "features":
        found = {k: v for k, v in found.items() if k not in OF_A_BACKBONE} | ON_FEATURES
    title = {"sgd": "SGD", "adamw": "AdamW"}.get(optimizer, optimizer)
    where = {"pretrained": " on pretrained weights", "features": " on features"}.get(start, "")
    return f"{title}'s defaults{where}", {k: v for k, v in found.items() if k not in given}


def _asks_for_the_papers(given: Mapping[str, Any]) -> bool:
    """Tell whether a setting is given that only the paper's method goes by, or fine labels are."""
    parts = {*settings_of(AncorConfig), "head", "mlp", "dim"} - {"class_weighting"}  # of cls alone
    return given.get("mode") == "fine" or bool(given.keys() & parts)
