"""Groups of a backbone's parameters from its input to its output, as fine-tuning counts them."""

from collections.abc import Collection
from importlib import import_module
from types import SimpleNamespace
from typing import NamedTuple

from torch import nn

from ancor.errors import InputError

NEARLY_ALL = 0.9  # a part with this share of the parameters is no stage: its own parts are


class Groups(NamedTuple):
    """Groups of a backbone.

    Attributes:
        names: of the parameters of each group, from the input to the output.
        head: number of the group that a head behind the backbone belongs to, from 0.
    """

    names: tuple[tuple[str, ...], ...]
    head: int


def follows_timm(backbone: nn.Module) -> bool:
    """Return whether a backbone tells its groups as timm's models do."""
    return hasattr(backbone, "group_matcher")


def backbone_groups(backbone: nn.Module) -> Groups:
    """Group the parameters of a backbone.

    timm's models by timm's own rule for layer-wise rates, others by stages: the parts that the
    module defines, in the order in which it defines them.
    """
    return _of_timm(backbone) if follows_timm(backbone) else _stages(backbone)


def _of_timm(backbone: nn.Module) -> Groups:
    """Group as timm does with a classifier: what its rule leaves over is of the classifier's."""
    place = (getattr(backbone, "pretrained_cfg", None) or {}).get("classifier") or "head"
    classifier = f"{place if isinstance(place, str) else place[0]}.weight"
    named = dict(backbone.named_parameters())
    with_head = SimpleNamespace(named_parameters=lambda: [*named.items(), (classifier, None)])
    matcher = backbone.group_matcher(coarse=False)
    found = import_module("timm.models").group_parameters(with_head, matcher, reverse=True)
    head = found.pop(classifier)
    names: dict[int, list[str]] = {number: [] for number in sorted({*found.values()})}
    for name in named:
        names[found.get(name, max(names))].append(name)
    return Groups(tuple(map(tuple, names.values())), head)


def _stages(backbone: nn.Module) -> Groups:
    """Group by the backbone's parts; norms and lone parameters stay with the part before them."""
    parts = _parts(backbone, "")
    total = sum(p.numel() for p in backbone.parameters())
    while parts:
        sizes = [sum(p.numel() for p in named.values()) for _, _, named in parts]
        largest = sizes.index(max(sizes))
        module, prefix, _ = parts[largest]
        inner = _parts(module, prefix) if module and sizes[largest] > NEARLY_ALL * total else []
        if all(part is None for part, _, _ in inner):
            break
        parts[largest : largest + 1] = inner
    groups: list[list[str]] = [[]]
    begins = True  # until the first group has a part with weights of its own
    for module, _, named in parts:
        small = module is None or all(p.ndim <= 1 for p in named.values())
        if small or begins:
            groups[-1] += named
        else:
            groups.append([*named])
        begins = begins and small
    names = tuple(tuple(group) for group in groups if group)
    return Groups(names, len(names))


def _parts(module: nn.Module, prefix: str) -> list[tuple[nn.Module | None, str, dict]]:
    """List the parts of a module that have parameters: (module, prefix of its names, parameters).

    The parameters that are the module's own come first, as a part of no module.
    """
    own = {prefix + name: p for name, p in module.named_parameters(recurse=False)}
    parts: list[tuple[nn.Module | None, str, dict]] = [(None, prefix, own)] if own else []
    for name, child in module.named_children():
        inside = f"{prefix}{name}."
        named = {inside + inner: p for inner, p in child.named_parameters()}
        if named:
            parts.append((child, inside, named))
    return parts


def frozen_groups(freeze: int | str, backbone: nn.Module) -> int:
    """Return how many groups `freeze` names, a number or `all`; InputError: more than there are."""
    if freeze == 0:
        return 0
    count = len(backbone_groups(backbone).names)
    if freeze == "all":
        return count
    if freeze > count:
        raise InputError(
            f"`freeze` {freeze}: the backbone has {count} groups; give 0 to {count}, or all"
        )
    return freeze


def fixed_modules(backbone: nn.Module, frozen: Collection[str]) -> list[nn.Module]:
    """List the modules of a backbone that stay in evaluation: all that they hold is frozen.

    A module without parameters (dropout) belongs to what is defined before it.

    Args:
        frozen: names of the frozen parameters, which begin at the input.
    """
    named = backbone.named_parameters(remove_duplicate=False)
    fixed = {p for name, p in named if name in frozen}
    found, before = [], bool(fixed)
    for module in backbone.modules():
        inside, own = list(module.parameters()), list(module.parameters(recurse=False))
        if all(p in fixed for p in inside) if inside else before:
            found.append(module)
        if own:
            before = all(p in fixed for p in own)
    return found


def batch_norms(backbone: nn.Module) -> list[nn.Module]:
    """List the batch norms of a backbone."""
    kinds = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm
    return [module for module in backbone.modules() if isinstance(module, kinds)]


def synchronized(network: nn.Module) -> nn.Module:
    """Return a network whose batch norms take their statistics over all processes.

    Those of timm that activate too are left to timm: torch would make plain ones of them.
    """
    if any(follows_timm(module) for module in network.modules()):
        return import_module("timm.layers").convert_sync_batchnorm(network)
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)
