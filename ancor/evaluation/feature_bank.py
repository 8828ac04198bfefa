"""The feature bank: each (image, view) pair that an evaluation needs, passed once (ours)."""

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.data.loading import Loader
from ancor.data.partition import Images
from ancor.data.transform_spec import TransformSpec
from ancor.data.transforms import normalize, query_transform, support_transform
from ancor.data.views import EvaluationViews
from ancor.errors import InputError, RunError, choose
from ancor.evaluation.feature_cache import FeatureCache
from ancor.models.encoder import Encoder, EncoderOutput
from ancor.runtime.devices import Runtime
from ancor.runtime.logging import progress

# What a bank gives of a picture: the backbone's pooled features or the head's embedding, of unit
# length, or the number of the class that the head finds likeliest.
KINDS = ("features", "embedding", "predicted class")


class FeatureBank:
    """Computes features of (image, view) pairs of one partition with one encoder.

    Args:
        encoder: any encoder; it is put into evaluation mode for the time of a pass.
        images: the partition's images.
        transforms: how the network sees them.
        runtime: where and how the passes run.
        seed: seed of the augmented views.
        kind: one of `KINDS`.
        cache: keeps features on disk; None: nothing is kept.
    """

    def __init__(
        self,
        encoder: Encoder,
        images: Images,
        transforms: TransformSpec,
        runtime: Runtime,
        seed: int = 0,
        kind: str = "features",
        cache: FeatureCache | None = None,
    ) -> None:
        self.encoder, self.images, self.runtime = encoder, images, runtime
        self.transforms = transforms
        self.query_transform = query_transform(transforms)
        self.support_transform = support_transform(transforms)
        self.seed, self.kind, self.cache = seed, choose("features", kind, KINDS), cache
        if kind == "embedding" and not encoder.config.embeds:
            raise InputError(
                f"head {encoder.config.head!r} has no embedding to score; use the backbone's "
                "features, by `only_base`"
            )

    @property
    def device(self) -> torch.device:
        """Where the passes run."""
        return self.runtime.device

    @property
    def width(self) -> int:
        """Number F of features of a picture."""
        widths = {
            "features": self.encoder.backbone.out_features,
            "embedding": self.encoder.config.dim,
            "predicted class": 1,
        }
        return widths[self.kind]

    def outputs(self, pairs: np.ndarray) -> Iterator[EncoderOutput]:
        """Yield the encoder's outputs for pairs (P, 2) of image and view, a batch at a time."""
        views = EvaluationViews(
            self.images, pairs, self.query_transform, self.support_transform, self.seed
        )
        runtime = self.runtime
        loader = Loader(views, runtime.workers, runtime.device, batch_size=runtime.batch_size)
        was_training = self.encoder.training
        self.encoder.eval()
        try:
            for images in progress(loader, runtime.quiet, desc="features", unit="batch"):
                yield _finite(self._encode(images))
        finally:
            self.encoder.train(was_training)

    @torch.inference_mode()
    def _encode(self, images: Tensor) -> EncoderOutput:
        images = normalize(images.to(self.device, non_blocking=True), self.transforms)
        with self.runtime.autocast():
            return self.encoder(images.contiguous(memory_format=torch.channels_last))

    def stream(self, pairs: np.ndarray) -> Iterator[Tensor]:
        """Yield features of pairs (P, 2) of image and view, in order: (n, F) of float32."""
        if self.cache is None:
            return self._computed(pairs)
        return self.cache.stream(pairs, self._computed)

    def features(self, pairs: np.ndarray) -> Tensor:
        """Features of pairs (P, 2) of image and view, (P, F) of float32."""
        return torch.cat(list(self.stream(pairs)))

    def _computed(self, pairs: np.ndarray) -> Iterator[Tensor]:
        with closing(self.outputs(pairs)) as outputs:
            for output in outputs:
                if self.kind == "predicted class":
                    found = predicted_class(output)[:, None].float()
                else:
                    found = unit_vectors(output, self.kind)
                yield found.cpu()


def _finite(output: EncoderOutput) -> EncoderOutput:
    """Return an encoder's output; RunError where a number in it is none, as no score could be."""
    for part, values in output._asdict().items():
        if values is not None and not values.isfinite().all():
            raise RunError(
                f"the encoder's {part} of some images are not finite; check `mean`, `std` and the "
                "file of weights"
            )
    return output


def class_weights(encoder: Encoder, kind: str, num_coarse: int) -> np.ndarray | None:
    """Return the weights (C, F) of the coarse classes that can be drawn among an encoder's outputs.

    Args:
        encoder: whose class weights.
        kind: of its outputs that are drawn, `features` or `embedding`.
        num_coarse: number C of coarse classes.

    Returns:
        None where they are other classes' or not among these outputs.
    """
    weight = encoder.class_weight_among(kind)
    if weight is None or len(weight) != num_coarse:
        return None
    return weight.detach().float().cpu().numpy()


def unit_vectors(output: EncoderOutput, kind: str) -> Tensor:
    """Features or embedding, of unit length, (N, F) of float32."""
    return F.normalize(getattr(output, kind).float(), dim=1)


def predicted_class(output: EncoderOutput) -> Tensor:
    """Numbers (N,) of the classes that the head finds likeliest."""
    return output.logits.argmax(1)
