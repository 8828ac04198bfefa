"""The feature bank: each (image, view) pair that an evaluation needs, passed once (ours)."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ancor.checkpoints.checksum import weights_hash
from ancor.data.features import FeatureRows
from ancor.data.loading import Loader
from ancor.data.partition import Images
from ancor.data.transform_spec import TransformSpec
from ancor.data.transforms import normalize, query_transform, support_transform
from ancor.data.views import QUERY_VIEW, EvaluationViews
from ancor.errors import InputError, RunError, choose
from ancor.evaluation.config import check_one_kind
from ancor.evaluation.feature_cache import FeatureCache
from ancor.evaluation.rows import RowReader
from ancor.models.encoder import Encoder, EncoderOutput
from ancor.runtime.devices import Runtime
from ancor.runtime.logging import progress

# What a bank gives of a picture: the backbone's pooled features, the head's embedding, or both side
# by side, of unit length; or the number of the class that the head finds likeliest.
KINDS = ("features", "embedding", "both", "predicted class")
FEATURES_OUT = {"head": "embedding", "frozen": "features", "both": "both"}


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
        if kind in ("embedding", "both") and not encoder.config.embeds:
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
        features, embedding = self.encoder.backbone.out_features, self.encoder.config.dim
        widths = {
            "features": features,
            "embedding": embedding,
            "both": features + embedding,
            "predicted class": 1,
        }
        return widths[self.kind]

    def outputs(self, pairs: np.ndarray) -> Iterator[EncoderOutput]:
        """Yield the encoder's outputs for pairs (P, 2) of image and view, a batch at a time.

        Of features in place of images there is no other view for evaluation than the test
        transform's, which stands for all.
        """
        runtime = self.runtime
        if isinstance(self.images, FeatureRows):
            batches = self._rows(pairs).split(runtime.batch_size)
        else:
            views = EvaluationViews(
                self.images, pairs, self.query_transform, self.support_transform, self.seed
            )
            batches = Loader(views, runtime.workers, runtime.device, batch_size=runtime.batch_size)
        was_training = self.encoder.training
        self.encoder.eval()
        try:
            for batch in progress(batches, runtime.quiet, desc="features", unit="batch"):
                yield _finite(self.encode(batch))
        finally:
            self.encoder.train(was_training)

    def _rows(self, pairs: np.ndarray) -> Tensor:
        self.images.check_made_by(weights_hash(self.encoder.backbone))
        return self.images.rows[torch.from_numpy(pairs[:, 0]), 0]

    @torch.inference_mode()
    def encode(self, batch: Tensor) -> EncoderOutput:
        """Encode a batch of images as loaded, bytes (N, 3, S, S), or of features (N, F)."""
        batch = batch.to(self.device, non_blocking=True)
        if batch.ndim == 4:
            batch = normalize(batch, self.transforms).contiguous(memory_format=torch.channels_last)
        with self.runtime.autocast():
            return self.encoder(batch)

    def stream(self, pairs: np.ndarray) -> Iterator[Tensor]:
        """Yield features of pairs (P, 2) of image and view, in order: (n, F) of float32."""
        if self.cache is None:
            return self._computed(pairs)
        return self.cache.stream(pairs, self._computed)

    def features(self, pairs: np.ndarray) -> Tensor:
        """Features of pairs (P, 2) of image and view, (P, F) of float32."""
        return torch.cat(list(self.stream(pairs)))

    def test_features(self) -> Tensor:
        """Features of every image under the test transform, (N, F) of float32."""
        images = np.arange(len(self.images))
        features = torch.empty((len(images), self.width))
        pairs = np.stack([images, np.full_like(images, QUERY_VIEW)], axis=1)
        with closing(RowReader(self.stream(pairs))) as reader:
            reader.read_into(features)  # in place: joining a million of them would hold them twice
        return features

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
    """Features, embedding or both side by side, of unit length, (N, F) of float32.

    Each of both is of unit length first, so that the cosine is the mean of the two cosines.
    """
    if kind == "both":
        parts = [unit_vectors(output, part) for part in ("features", "embedding")]
        return F.normalize(torch.cat(parts, dim=1), dim=1)
    return F.normalize(getattr(output, kind).float(), dim=1)


def plain_vectors(output: EncoderOutput, kind: str) -> Tensor:
    """The same as the network gives them, of any length, (N, F) of float32."""
    parts = ("features", "embedding") if kind == "both" else (kind,)
    return torch.cat([getattr(output, part).float() for part in parts], dim=1)


def features_name(kind: str) -> str:
    """Name one of `KINDS` as in `FEATURES_OUT`, if it is there."""
    return next((name for name, of in FEATURES_OUT.items() if of == kind), kind)


def kind_of(
    encoder: Encoder,
    content: Mapping[str, Any],
    only_base: bool | None,
    features_out: str | None = None,
) -> str:
    """Return which of `KINDS` is scored.

    Args:
        encoder: whose features they are.
        content: its checkpoint's; empty: not known.
        only_base: whether features are the backbone's, or the head's embedding; None: the
            backbone's, and of a head that was trained on the features of a frozen backbone both,
            as it alone loses inside the classes that it was taught.
        features_out: a name of `FEATURES_OUT`, which goes before that.

    Raises:
        InputError: `features_out` is none of them, or the two ask for different features.
    """
    if features_out is not None:
        choose("`features_out`", features_out, FEATURES_OUT)
    check_one_kind(only_base, features_out)
    if features_out is not None:
        return FEATURES_OUT[features_out]
    if only_base is not None:
        return "features" if only_base else "embedding"
    data = (content.get("config") or {}).get("data") or {}
    return default_kind(encoder, bool(data.get("features")))


def default_kind(encoder: Encoder, on_features: bool) -> str:
    """Return which of `KINDS` is scored where nothing is asked for.

    Args:
        encoder: whose features they are.
        on_features: whether it is a head on the features of a frozen backbone.
    """
    return "both" if on_features and encoder.config.embeds else "features"


def predicted_class(output: EncoderOutput) -> Tensor:
    """Numbers (N,) of the classes that the head finds likeliest."""
    return output.logits.argmax(1)
