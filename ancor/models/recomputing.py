"""Pass a backbone's blocks again in the backward pass, instead of keeping their activations.

Chen, Xu, Zhang and Guestrin, "Training Deep Nets with Sublinear Memory Cost" (2016, arXiv
1604.06174), a block of the network being what is passed again.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ancor.errors import InputError
from ancor.models.groups import NEARLY_ALL

HOLDERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def recompute_activations(backbone: nn.Module) -> None:
    """Let the blocks of a backbone keep no more than their inputs for the backward pass.

    A second pass of a block sees its buffers as the first one did, draws what it drew, and leaves
    the buffers alone: batch-norm statistics and DropBlock's clock move once a step, and gradients
    are the same to the bit where the device's arithmetic is. That is not so of timm's own
    `set_grad_checkpointing`, by which batch-norm statistics move twice; its backbones are treated
    as all others. Passes without gradient, and in evaluation, are as before.

    Raises:
        InputError: the backbone has no blocks: no part of it has parts of its own.
    """
    found = blocks(backbone)
    if not found:
        raise InputError(
            f"`checkpoint_activations`: the backbone ({type(backbone).__name__}) is made of single "
            "layers, without blocks to pass again; leave it out"
        )
    for block in found:
        block.forward = partial(_pass, block)


def blocks(backbone: nn.Module) -> list[nn.Module]:
    """List the blocks of a backbone, from its input to its output.

    What holds blocks one after another is none itself, nor is what has nearly all parameters.
    """

    def size(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    waiting, found = list(backbone.children()), []
    while waiting:
        part = waiting.pop(0)
        inner = list(part.children())
        nested = any(True for child in inner for _ in child.children())
        if nested and (type(part) in HOLDERS or size(part) > NEARLY_ALL * size(backbone)):
            waiting[:0] = inner
        elif inner and size(part):
            found.append(part)
    return found


def _pass(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Pass a block, in training so that it is passed again in the backward pass."""
    forward = partial(type(block).forward, block)
    if not (block.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    seen = [
        (module, name, buffer.clone())
        for module in block.modules()
        if module.training
        for name, buffer in module.named_buffers(recurse=False)
    ]
    return checkpoint(
        forward,
        *args,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _with_buffers(seen)),
        **kwargs,
    )


@contextmanager
def _with_buffers(seen: list[tuple[nn.Module, str, Tensor]]) -> Iterator[None]:
    """Give modules other buffers, and theirs back at the end."""
    now = [module._buffers[name] for module, name, _ in seen]
    for module, name, buffer in seen:
        module._buffers[name] = buffer
    try:
        yield
    finally:
        for (module, name, _), buffer in zip(seen, now, strict=True):
            module._buffers[name] = buffer
