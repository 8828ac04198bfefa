"""AutoAugment and perspective of a training view, drawn from its own address.

AutoAugment (Cubuk et al., CVPR 2019, arXiv 1805.09501) is torchvision's policy of CIFAR-10. Of its
25 sub-policies MaskCon's code has 24; in the other it equalizes twice, by chance 0.2 and 0.8, where
torchvision has 0.2 and 0.6.
"""

from collections.abc import Callable
from functools import cache
from random import Random

import torch
from torch import Tensor

from ancor.data.transform_spec import TransformSpec
from ancor.runtime.lazy import Lazy
from ancor.runtime.seeding import seeded

GRAY = 128  # what comes into view
DISTORTION = 0.5
v2 = Lazy("torchvision.transforms.v2")


@cache
def policy() -> Callable[[Tensor], Tensor]:
    """Return AutoAugment's policy, of bytes (3, S, S)."""
    return v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10, fill=GRAY)


@cache
def perspective() -> Callable[[Tensor], Tensor]:
    """Return what shows bytes (3, S, S) in perspective."""
    return v2.RandomPerspective(DISTORTION, p=1.0)


def changed(view: Tensor, spec: TransformSpec, rng: Random) -> Tensor:
    """Return a view (3, S, S) of bytes seen in perspective, and changed by AutoAugment's policy.

    Each of the two comes in the share of the views that the transforms say, and whether it does
    leaves the draws of the other as they are. Nothing is drawn where neither is asked for.
    """
    if not (spec.perspective or spec.auto_augment):
        return view
    seeds = rng.getrandbits(62), rng.getrandbits(62)
    parts = (perspective, spec.perspective), (policy, spec.auto_augment)
    for seed, (change, share) in zip(seeds, parts, strict=True):
        with seeded(seed, "policy"):
            if torch.rand(()) < share:
                view = change()(view)
    return view
