"""What is told of fine-tuning: what of the backbone is trained, and when."""

from collections.abc import Iterable, Iterator

from torch import nn

from ancor.methods.base import Method
from ancor.models.groups import backbone_groups, frozen_groups
from ancor.training.config import TrainConfig
from ancor.training.optimizer import parameter_groups


def what_trains(method: Method, config: TrainConfig) -> str:
    """Tell by what optimizer what is trained, what is frozen, and rates where they differ."""
    backbone = method.encoder.backbone
    count = frozen_groups(config.freeze, backbone)
    names = backbone_groups(backbone).names if count else ()
    named = dict(backbone.named_parameters(remove_duplicate=False))
    held = {named[name] for group in names[:count] for name in group}
    every = [p for p in method.parameters_to_train() if p.requires_grad or p in held]
    moving = [p for p in every if p not in held]
    said = f"{'AdamW' if config.optimizer == 'adamw' else 'SGD'}, {_millions(moving)} parameters"
    if count:
        until = "" if config.freeze_epochs is None else f" for {config.freeze_epochs} epochs"
        span = "the first" if count == 1 else f"the first {count}"
        part = "the whole backbone" if count == len(names) else f"{span} of {len(names)} groups"
        said += f"; {part} frozen{until} ({_millions(held)})"
    if config.freeze_bn:
        said += "; batch norm keeps its statistics"
    ever = {*(moving if config.freeze_epochs is None else every)}
    scales = {
        group.get("lr_scale", 1)
        for group in parameter_groups(method, config)
        if not ever.isdisjoint(group["params"])
    }
    if len(scales) > 1:
        low, high = config.lr * min(scales), config.lr * max(scales)
        said += f"; rates {low:.3g} to {high:.3g} in {len(scales)} steps"
    return said + (f"; gradient norm at most {config.clip_grad:g}" if config.clip_grad else "")


def freezing_notices(config: TrainConfig, embeds: bool) -> Iterator[str]:
    """Yield what of freezing might surprise, of a head that gives an embedding or does not."""
    if config.freeze and config.pretrained is None:
        yield (
            "What `freeze` names keeps the weights that the seed drew: none are loaded "
            "(`pretrained`)"
        )
    if config.freeze_bn and config.pretrained is None:
        yield (
            "`freeze_bn` keeps the batch-norm statistics of drawn weights, means of 0 and "
            "variances of 1: none are loaded (`pretrained`)"
        )
    if config.freeze_epochs is not None and config.freeze_epochs >= config.epochs:
        yield (
            f"`freeze_epochs` {config.freeze_epochs} with {config.epochs} epochs: what `freeze` "
            "names never trains"
        )
    if config.frozen(config.epochs - 1) == "all" and not embeds:
        yield (
            "The backbone's features are all that is evaluated of a head without an embedding, and "
            "`freeze` all leaves them as they are: the training changes no score; `head` seq has "
            "an embedding"
        )


def _millions(parameters: Iterable[nn.Parameter]) -> str:
    return f"{sum(p.numel() for p in parameters) / 1e6:.2f} M"
