"""DropBlock (Ghiasi et al., NeurIPS 2018, arXiv 1810.12890), its keep rate falling with use."""

import logging

import torch
from torch import Tensor, nn
from torch.nn import functional as F

log = logging.getLogger(__name__)


class DropBlock(nn.Module):
    """Zero square blocks of a feature map while training; the identity in evaluation.

    The keep rate falls linearly from 1 to `1 - drop_rate` over the first `ramp_steps` training
    forwards. `clock` counts them. It is kept out of `state_dict`, whose names are fixed by the
    published files, so a checkpoint has to carry it beside (`ancor.checkpoints.checkpoint` does).

    Args:
        block_size: side of a dropped block in pixels of the feature map; on a smaller map the
            block is the map.
        drop_rate: share of the map that is dropped once the ramp has ended.
        ramp_steps: training forwards until then.
    """

    clock: Tensor

    def __init__(self, block_size: int, drop_rate: float = 0.1, ramp_steps: int = 40_000) -> None:
        super().__init__()
        self.block_size = block_size
        self.drop_rate = drop_rate
        self.ramp_steps = ramp_steps
        self.register_buffer("clock", torch.zeros((), dtype=torch.int64), persistent=False)
        self._told = False

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, C, H, W) to the same shape."""
        if not self.training:
            return features
        self.clock += 1
        height, width = features.shape[-2:]
        block = min(self.block_size, height, width)
        if block < self.block_size and not self._told:
            self._told = True
            log.warning(
                "DropBlock: blocks of %d do not fit the %d x %d feature map; using %d",
                *(self.block_size, height, width, block),
            )
        drop = (self.drop_rate * self.clock / self.ramp_steps).clamp(max=self.drop_rate)
        gamma = drop / block**2 * height**2 / (height - block + 1) ** 2
        corners = (*features.shape[:2], height - block + 1, width - block + 1)
        starts = (torch.rand(corners, device=features.device) < gamma).to(features.dtype)
        # A block covers `block` pixels from its start: a max-pool over the padded map spreads it.
        dropped = F.max_pool2d(F.pad(starts, (block - 1,) * 4), block, stride=1)
        kept = 1 - dropped
        scale = kept.numel() / kept.sum(dtype=torch.float32).clamp(min=1)
        return features * kept * scale.to(features.dtype)
