"""The feature bank: each (image, view) pair that an evaluation needs, passed once (ours)."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ancor.data.partition import EvaluationViews, Images
from ancor.data.transforms import TransformSpec, normalise, query_transform, support_transform
from ancor.errors import InputError
from ancor.models.encoder import Encoder, EncoderOutput


class FeatureBank:
    """Computes features of (image, view) pairs of one partition with one encoder.

    Args:
        encoder: any encoder; it is put into evaluation mode for the time of a pass.
        images: the partition's images.
        transforms: how the network sees them.
        device: where the passes run.
        seed: seed of the augmented views.
        batch_size: images a forward pass.
        workers: processes that decode and augment; 0: none beside this one.
        embedding: whether features are the head's embedding, not the backbone's pooled features.
        dtype: what passes are cast to by autocast; None: fp32.
    """

    def __init__(
        self,
        encoder: Encoder,
        images: Images,
        transforms: TransformSpec,
        device: torch.device,
        seed: int = 0,
        batch_size: int = 256,
        workers: int = 0,
        embedding: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.encoder, self.images, self.device = encoder, images, device
        self.transforms = transforms
        self.query_transform = query_transform(transforms)
        self.support_transform = support_transform(transforms)
        self.seed, self.batch_size, self.workers = seed, batch_size, workers
        self.embedding, self.dtype = embedding, dtype

    def outputs(self, pairs: np.ndarray) -> Iterator[EncoderOutput]:
        """Yield the encoder's outputs for pairs (P, 2) of image and view, a batch at a time."""
        views = EvaluationViews(
            self.images, pairs, self.query_transform, self.support_transform, self.seed
        )
        loader = DataLoader(
            views,
            self.batch_size,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else the loader draws from the global one
        )
        was_training = self.encoder.training
        self.encoder.eval()
        try:
            cast = torch.autocast(
                self.device.type, dtype=self.dtype, enabled=self.dtype is not None
            )
            with torch.inference_mode(), cast:
                for images in loader:
                    images = normalise(images.to(self.device, non_blocking=True), self.transforms)
                    yield self.encoder(images.contiguous(memory_format=torch.channels_last))
        finally:
            self.encoder.train(was_training)

    def features(self, pairs: np.ndarray) -> np.ndarray:
        """Unit-length features of pairs (P, 2) of image and view, (P, F) of float32."""
        return self._normalised(self.outputs(pairs))

    def _normalised(self, outputs: Iterator[EncoderOutput]) -> np.ndarray:
        def pick(output: EncoderOutput) -> Tensor:
            if self.embedding and output.embedding is None:
                raise InputError(
                    f"--no-only-base scores the head's embedding, and head "
                    f"{self.encoder.config.head!r} has none; use --only-base"
                )
            return output.embedding if self.embedding else output.features

        return torch.cat([F.normalize(pick(o).float(), dim=1).cpu() for o in outputs]).numpy()
