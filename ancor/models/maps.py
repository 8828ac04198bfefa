"""How much of an image is left where a backbone pools it."""

from collections.abc import Collection

import torch
from torch import nn

PHOTOGRAPH = 128  # pixels; of such images and larger ones every backbone leaves a map


def map_side(backbone: nn.Module, size: int) -> int | None:
    """Return the side of the last map that a backbone makes of an image; None: it makes none.

    That is what its last convolution of more than 1 x 1, or its last max-pooling, gives: what
    comes after sees no neighbors. Transformers that merge patches by other layers are not seen
    through.

    Args:
        backbone: from images (N, 3, S, S) to features (N, F); its state stays as it is.
        size: S, in pixels.
    """
    pooling = [
        module
        for module in backbone.modules()
        if isinstance(module, nn.MaxPool2d)
        or (isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1)
    ]
    sides = [max(shape[2:]) for shape in _shapes(backbone, size, pooling) if len(shape) == 4]
    return sides[-1] if sides else None


def fewest_values(backbone: nn.Module, size: int, norms: Collection[nn.Module]) -> int | None:
    """Return the fewest values a channel that batch norms see of one image; None: they see none.

    Args:
        backbone, size: as of `map_side`.
        norms: batch norms of the backbone.
    """
    return min((shape[2:].numel() for shape in _shapes(backbone, size, norms)), default=None)


def _shapes(backbone: nn.Module, size: int, modules: Collection[nn.Module]) -> list[torch.Size]:
    """Return the shapes of what modules of a backbone make of an image, in their order."""
    shapes: list[torch.Size] = []

    def note(module: nn.Module, given: tuple, out: object) -> None:
        if isinstance(out, torch.Tensor):
            shapes.append(out.shape)

    looks = [module.register_forward_hook(note) for module in modules]
    training = {module: module.training for module in backbone.modules()}
    like = next(backbone.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            backbone.eval()(like.new_zeros(1, 3, size, size))
    except RuntimeError:  # as of images that cannot pass
        return []
    finally:
        for look in looks:
            look.remove()
        for module, was in training.items():
            module.training = was
    return shapes
