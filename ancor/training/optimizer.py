"""The optimizer of a run, and the gradients that it is given."""

from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from ancor.methods.base import Method
from ancor.models.groups import backbone_groups, follows_timm
from ancor.runtime.distributed import average, world_size
from ancor.training.config import TrainConfig

BETA2 = 0.999  # of AdamW (Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101)
# What the optimizers know of each parameter.
STATES = {
    torch.optim.SGD: ("momentum_buffer",),
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
}


def build_optimizer(method: Method, config: TrainConfig, fused: bool) -> torch.optim.Optimizer:
    """Build the optimizer of all that a method trains; its rates are set by `set_rate`."""
    groups = parameter_groups(method, config)
    common = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": fused}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, betas=(config.momentum, BETA2), **common)
    return torch.optim.SGD(groups, momentum=config.momentum, **common)


def parameter_groups(method: Method, config: TrainConfig) -> list[dict[str, Any]]:
    """Divide a method's parameters by the factor of their rate and by whether they decay.

    A group's `lr_scale` and `weight_decay` are there where they are not those of all.
    """
    scales, undecayed = _rate_scales(method, config), set(_undecayed(method))
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for each in method.parameters_to_train():
        groups.setdefault((scales.get(each, 1.0), each in undecayed), []).append(each)
    return [
        {"params": parameters}
        | ({} if scale == 1 else {"lr_scale": scale})
        | ({"weight_decay": 0.0} if spared else {})
        for (scale, spared), parameters in groups.items()
    ]


def _rate_scales(method: Method, config: TrainConfig) -> dict[nn.Parameter, float]:
    """Return the factors of the rates of the backbone's parameters, where they are not all 1."""
    if config.backbone_lr_scale == config.layer_decay == 1:
        return {}
    backbone = method.encoder.backbone
    named, groups = dict(backbone.named_parameters()), backbone_groups(backbone)
    return {
        named[name]: config.backbone_lr_scale * config.layer_decay ** max(0, groups.head - number)
        for number, names in enumerate(groups.names)
        for name in names
        if name in named  # else it is another name of a parameter that has one
    }


def _undecayed(method: Method) -> Iterator[nn.Parameter]:
    """Yield what is spared by weight decay where the backbone is timm's, as timm's training does.

    It is what has one dimension, biases, and the backbone's `no_weight_decay`.
    """
    backbone = method.encoder.backbone
    if not follows_timm(backbone):
        return
    for name, each in method.named_parameters():
        if each.ndim <= 1 or name.endswith(".bias"):
            yield each
    excepted = backbone.no_weight_decay() if hasattr(backbone, "no_weight_decay") else ()
    for name, each in backbone.named_parameters():
        if any(fnmatch(name, pattern) for pattern in excepted):
            yield each


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate: of all parameters, or times the factor of each group."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1)


def trained(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """List the parameters of an optimizer that are not frozen."""
    groups = optimizer.param_groups
    return [each for group in groups for each in group["params"] if each.requires_grad]


def follow_freezing(optimizer: torch.optim.Optimizer) -> None:
    """Drop what the optimizer knows of frozen parameters; let others begin with zeros.

    They begin so before any step: what a first step makes itself stays unset where it is undone.
    """
    state, mine = optimizer.state, set(trained(optimizer))
    for group in optimizer.param_groups:
        # SGD without momentum knows nothing; AdamW has betas in its place.
        names = STATES[type(optimizer)] if group.get("momentum") != 0 else ()
        for each in group["params"]:
            if each not in mine:
                each.grad = None
            if each not in mine or not names:
                state.pop(each, None)
            elif each not in state:
                state[each] = {name: fresh_state(name, each, group["fused"]) for name in names}


def fresh_state(name: str, parameter: nn.Parameter, fused: bool) -> Tensor:
    """Return what an optimizer that has taken no step knows, laid out as the parameter is."""
    if name == "step":
        return torch.zeros((), device=parameter.device if fused else "cpu")
    return torch.zeros_like(parameter, requires_grad=False)


def finish_gradients(
    method: Method,
    optimizer: torch.optim.Optimizer,
    scaler: torch.GradScaler,
    clip: float | None = None,
) -> Tensor:
    """Complete the gradients of a backward pass and return their norm ().

    There is one for each parameter, averaged over the processes (the encoder's are already), of the
    loss without the scaler's factor. A parameter that no loss reached, on this process or in this
    step, has 0: the fused optimizer takes momenta of all parameters or of none. A norm larger than
    `clip` is then scaled down to it.
    """
    parameters = trained(optimizer)
    for each in parameters:
        if each.grad is None:
            each.grad = torch.zeros_like(each)
    own = set(method.encoder.parameters())
    for each in parameters if world_size() > 1 else ():
        if each not in own:
            each.grad.copy_(average(each.grad))
    scaler.unscale_(optimizer)
    norm = get_total_norm([each.grad for each in parameters])
    if clip is not None:
        clip_grads_with_norm_(parameters, clip, norm)
    return norm


def take_step(
    optimizer: torch.optim.Optimizer, scaler: torch.GradScaler, fused: bool, good: Tensor
) -> None:
    """Take the optimizer's step if `good`, a boolean (), holds."""
    if scaler.is_enabled():
        scaler.step(optimizer)  # which looks for itself
        scaler.update()
    elif fused:
        optimizer.grad_scale, optimizer.found_inf = None, (~good).float()
        optimizer.step()
    elif good:
        optimizer.step()
