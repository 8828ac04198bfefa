"""How much of an image is left where a backbone pools it."""

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
    sides: list[int] = []

    def note(module: nn.Module, given: tuple, out: object) -> None:
        if isinstance(out, torch.Tensor) and out.ndim == 4:
            sides.append(max(out.shape[2:]))

    looks = [
        module.register_forward_hook(note)
        for module in backbone.modules()
        if isinstance(module, nn.MaxPool2d)
        or (isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1)
    ]
    training = {module: module.training for module in backbone.modules()}
    like = next(backbone.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            backbone.eval()(like.new_zeros(1, 3, size, size))
    except RuntimeError:  # as of images that cannot pass
        return None
    finally:
        for look in looks:
            look.remove()
        for module, was in training.items():
            module.training = was
    return sides[-1] if sides else None
