"""The optimizer of a run, and the gradients that it is given."""

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from ancor.methods.base import Method
from ancor.runtime.distributed import average, world_size
from ancor.training.config import TrainConfig


def build_optimizer(method: Method, config: TrainConfig, fused: bool) -> torch.optim.SGD:
    """Build SGD over all that a method trains; its rate is set by `set_rate`."""
    return torch.optim.SGD(
        method.parameters_to_train(),
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=fused,
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def trained(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """List the parameters of an optimizer that are not frozen."""
    groups = optimizer.param_groups
    return [each for group in groups for each in group["params"] if each.requires_grad]


def finish_gradients(
    method: Method, optimizer: torch.optim.Optimizer, scaler: torch.GradScaler
) -> Tensor:
    """Complete the gradients of a backward pass and return their norm ().

    There is one for each parameter, averaged over the processes (the encoder's are already), of the
    loss without the scaler's factor. A parameter that no loss reached, on this process or in this
    step, has 0: the fused optimizer takes momenta of all parameters or of none.
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
    return get_total_norm([each.grad for each in parameters])


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
