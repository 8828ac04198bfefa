"""Writes a copy of a checkpoint whose batch norms have other statistics.

Those of a trained encoder are moving averages over augmented crops, taken while its weights moved.
The copy's are the means over all training images under the test transform, with the final weights.

    python benchmarks/batch_norm.py runs/digits/model_best.pth.tar runs/digits/stilled.pth.tar
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ancor.checkpoints import checkpoint
from ancor.checkpoints.state_dicts import QUERY, encoder_state
from ancor.data.config import DataConfig
from ancor.data.transform_spec import TransformSpec
from ancor.data.transforms import normalize, query_transform, support_transform
from ancor.data.views import QUERY_VIEW, EvaluationViews
from ancor.runtime.from_dict import from_dict


@torch.inference_mode()
def estimate(encoder: nn.Module, views: EvaluationViews, transforms: TransformSpec) -> None:
    """Give each batch norm the mean of its batches' statistics; dropout stays off."""
    for module in encoder.eval().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.train().momentum = None  # a plain mean
    for images in DataLoader(views, 256):
        encoder(normalize(images, transforms))


def main() -> None:
    """Read, estimate, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    encoder, content = checkpoint.load_encoder(args.source)
    data = from_dict(DataConfig, content["config"]["data"], str(args.source))
    images, transforms = data.load("train").images, data.transforms
    # In another order than the file's, or a batch could be of one class.
    order = np.random.default_rng(0).permutation(len(images))
    pairs = np.stack([order, np.full_like(order, QUERY_VIEW)], axis=1)
    ways = query_transform(transforms), support_transform(transforms)
    estimate(encoder, EvaluationViews(images, pairs, *ways, seed=0), transforms)
    content["state_dict"] |= encoder_state(encoder, QUERY)
    checkpoint.save(content, args.target)


if __name__ == "__main__":
    main()
