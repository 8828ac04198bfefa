"""An encoder with its preprocessing: from images of any kind to features."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ancor.checkpoints import checkpoint
from ancor.checkpoints.pretrained import check_head
from ancor.checkpoints.pretrained import load_encoder as read_encoder
from ancor.data.config import PREPROCESSING, DataConfig
from ancor.data.dataset_images import DatasetImages
from ancor.data.partition import Images, Partition
from ancor.data.registry import DATASETS
from ancor.data.resolve import own_preprocessing
from ancor.data.transform_spec import TransformSpec
from ancor.data.transforms import stored_form
from ancor.data.views import QUERY_VIEW, distinct_views
from ancor.errors import InputError, choose
from ancor.evaluation.feature_bank import (
    FEATURES_OUT,
    FeatureBank,
    features_name,
    kind_of,
    plain_vectors,
    predicted_class,
    unit_vectors,
)
from ancor.fewshot import inputs
from ancor.fewshot.support_set import Features, known_features
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder, EncoderOutput
from ancor.models.libraries import check_image_size
from ancor.models.own import named_module
from ancor.runtime.devices import Runtime, shapes_only, usable_cpus
from ancor.runtime.from_dict import from_dict
from ancor.runtime.logging import progress

HELD = 2**29  # bytes of resized images that wait for their pass; one may be of 20 million
PACKED = "encoder/"  # what the names of its arrays begin with in a saved classifier


class ImageEncoder:
    """Turns images into features; it is never changed, so classifiers may share it.

    Args:
        encoder: the network.
        transforms: what it sees of an image.
        runtime: where and how its passes run.
        content: epoch and configuration of the checkpoint that it comes from; None: not known.
        only_base, features_out: what its features are (`ancor.evaluation.feature_bank.kind_of`).

    Raises:
        InputError: the head's embedding is asked for and there is none.
    """

    def __init__(
        self,
        encoder: Encoder,
        transforms: TransformSpec,
        runtime: Runtime,
        only_base: bool | None = None,
        content: Mapping[str, Any] | None = None,
        features_out: str | None = None,
    ) -> None:
        self.content = content or {}
        self.kind = kind_of(encoder, self.content, only_base, features_out)
        self.network = encoder.to(runtime.device, memory_format=torch.channels_last).eval()
        self.transforms, self.runtime = transforms, runtime
        self._form = stored_form(transforms)
        self.width = self._bank({}, 0).width  # number F of features

    def __deepcopy__(self, memo: dict) -> "ImageEncoder":
        """Return itself: sklearn.clone copies the parameters of an estimator by deepcopy."""
        return self

    def __repr__(self) -> str:
        config = self.network.config
        return f"ImageEncoder({config.arch}, head {config.head}, {self.transforms.size} px)"

    @property
    def num_coarse(self) -> int:
        """Number of coarse classes that its own classifier tells apart; 0: it has none."""
        weight = self.network.class_weight
        return 0 if weight is None else len(weight)

    @property
    def coarse_names(self) -> tuple[str, ...]:
        """Names of these classes, by number; () where its file does not tell them."""
        if not self.content or self.content["config"]["training"].get("mode") == "fine":
            return ()
        names = checkpoint.class_names(self.content, repr(self))
        return names if len(names) == self.num_coarse else ()

    def encode(self, images: Any, *, unit_length: bool = True) -> np.ndarray:
        """Compute the features of images as an array, (N, F) of float32.

        Args:
            images: as for `features`, with its errors; or a `Partition`, as evaluation sees it.
            unit_length: whether each is scaled to length 1, as they are compared; else they are as
                the network gives them.
        """
        vectors = unit_vectors if unit_length else plain_vectors
        outputs = self._outputs(images)
        return np.concatenate([vectors(each, self.kind).numpy(force=True) for each in outputs])

    def _outputs(self, images: Any) -> Iterator[EncoderOutput]:
        """Yield what the network gives of images under the test transform, in order."""
        whole = isinstance(images, Partition)
        for some in [images.images] if whole else self._read(inputs.listed(images)):
            pairs = np.array([(number, QUERY_VIEW) for number in range(len(some))])
            yield from self._bank(some, 0).outputs(pairs)

    def features(self, images: Any, n_augmentations: int = 0, seed: int = 0) -> Features:
        """Compute the features of images, which may be given wherever images are taken.

        Args:
            images: a list of paths, PIL images, arrays or tensors (`ancor.fewshot.inputs`),
                a folder's path, or a torch dataset; of features, nothing is computed.
            n_augmentations: random views of each, A, as evaluation makes of support images. A
                view follows from seed, the image's content and the view's number alone.
            seed: of the views.

        Raises:
            InputError: an image cannot be read; its message names it.
        """
        known = known_features(images)
        if known is not None:
            return known
        return Features.join(
            [
                self._encode(chunk, n_augmentations, seed)
                for chunk in self._read(inputs.listed(images))
            ]
        )

    def _read(self, images: list | DatasetImages) -> Iterator[list[Tensor]]:
        """Read as many images as a pass takes, or as fill `HELD`.

        In threads, as decoding leaves Python's lock; a few images each at a time.
        """
        step, size, held = 4 * usable_cpus(), self.runtime.batch_size, []
        starts = range(0, len(images), step)
        with ThreadPoolExecutor(usable_cpus()) as pool:
            for start in progress(starts, self.runtime.quiet, desc="images", unit="step"):
                positions = range(start, min(start + step, len(images)))
                held += pool.map(self._formed, map(images.__getitem__, positions), positions)
                while len(held) >= size or sum(image.nbytes for image in held) > HELD:
                    yield held[:size]
                    held = held[size:]
        if held:
            yield held

    def _formed(self, image: Any, position: int) -> Tensor:
        """Read and resize at once: as many images as threads lie in memory in full size."""
        return self._form(inputs.read(image, position))

    def _encode(self, images: list[Tensor], copies: int, seed: int) -> Features:
        """Encode images (3, H, W), each of its views that differ once."""
        addresses = [inputs.address(image) for image in images] if copies else range(len(images))
        wanted = np.array([(a, view) for a in addresses for view in (QUERY_VIEW, *range(copies))])
        pairs, rows = np.unique(
            distinct_views(wanted, self.transforms, seed), axis=0, return_inverse=True
        )
        bank = self._bank(dict(zip(addresses, images, strict=True)), seed)
        found = Features.join([self._read_off(output) for output in bank.outputs(pairs)])
        rows = torch.from_numpy(rows.reshape(len(images), 1 + copies))
        vectors, coarse = found.vectors[rows], found.coarse[rows]
        logits = found.coarse_logits[rows[:, 0]]
        return Features(vectors[:, 0], vectors[:, 1:], coarse[:, 0], coarse[:, 1:], logits)

    def encode_prepared(self, pixels: Tensor) -> Features:
        """Compute the features of images that are resized and cropped already.

        Args:
            pixels: as the network sees them, (N, 3, S, S) of uint8.
        """
        return self._read_off(self._bank({}, 0).encode(pixels))

    def _read_off(self, output: EncoderOutput) -> Features:
        """Take features, without views, from what the network gives."""
        vectors, logits = unit_vectors(output, self.kind).cpu(), None
        coarse = torch.full((len(vectors),), -1)
        if self.num_coarse:
            coarse, logits = predicted_class(output).cpu(), output.logits.float().cpu()
        return Features(vectors, vectors[:, None][:, :0], coarse, coarse[:, None][:, :0], logits)

    def pack(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what `unpack` makes its parts of again: plain values, and arrays by name."""
        about = {
            "config": asdict(self.network.config),
            "transforms": asdict(self.transforms),
            "features_out": features_name(self.kind),
            "coarse_names": self.coarse_names,
        }
        state = self.network.state_dict()
        return about, {PACKED + name: tensor.cpu().numpy() for name, tensor in state.items()}

    @staticmethod
    def unpack(
        about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> tuple[Encoder, TransformSpec, dict[str, Any]]:
        """Return the network, the transforms and the other arguments that `pack` described."""
        config = from_dict(EncoderConfig, about["config"], "the saved classifier")
        state = {n.removeprefix(PACKED): a for n, a in arrays.items() if n.startswith(PACKED)}
        with shapes_only():  # sizes first: the file's own bound what is allocated
            shapes = {n: tuple(t.shape) for n, t in Encoder(config).state_dict().items()}
        if shapes != {n: a.shape for n, a in state.items()}:
            raise ValueError("its weights do not fit its encoder")
        if any(a.dtype.kind not in "fiu" for a in state.values()):
            raise ValueError("its weights are not real numbers")
        encoder = Encoder(config)
        encoder.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        spec = TransformSpec.from_file(about["transforms"])
        names = about.get("coarse_names")  # files of versions before tell none
        if "features_out" in about:
            others = {"features_out": choose("features_out", about["features_out"], FEATURES_OUT)}
        else:  # as versions before told it
            others = {"only_base": bool(about["only_base"])}
        content = checkpoint.untold(config)
        content["config"]["classes"] = names or ()
        checkpoint.class_names(content, "the saved classifier")
        return encoder, spec, others | ({"content": content} if names else {})

    def _bank(self, images: Images | list[Tensor] | dict[int, Tensor], seed: int) -> FeatureBank:
        quiet = replace(self.runtime, workers=0, quiet=True)  # the bar is of images that are read
        return FeatureBank(self.network, images, self.transforms, quiet, seed, self.kind)


def load_encoder(
    path: str | Path | nn.Module,
    *,
    pretrained: str | Path | None = None,
    head: str | None = None,
    only_base: bool | None = None,
    features_out: str | None = None,
    dataset: str | None = None,
    image_size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: str | torch.device = "auto",
    precision: str = "fp32",
    batch_size: int = 256,
    quiet: bool = True,
) -> ImageEncoder:
    """Load an encoder and its preprocessing from any file that eval.py reads.

    A checkpoint of train.py tells how its images were prepared; of another file, name a dataset
    whose preparation it shares, or give image_size, mean and std.

    Args:
        path: a checkpoint of train.py or the paper, a MoCo, SwAV or torchvision file; `timm:NAME`
            or `torchvision:NAME`, with the weights that the library publishes; `hf-hub:OWNER/NAME`,
            what was pushed there; or a network from images (N, 3, H, W) to features (N, F).
        pretrained: a file with the weights of a library's backbone.
        head: which head it has, where a published file leaves two open.
        only_base: whether features are the backbone's, or the head's embedding; None: the
            backbone's, and both of a head that was trained on features.
        features_out: `head`, `frozen` or `both` side by side; None: as `only_base` says.
        dataset: a name of `ancor.data.config.DATASETS`.
        image_size: side of the images that the network sees, in pixels.
        mean, std: of each channel, for images scaled to 0-1.
        device: auto, cuda, mps or cpu, or a torch device.
        precision: fp32, bf16, fp16 or auto.
        batch_size: images a forward pass.
        quiet: whether to show no progress bar on a terminal.

    Raises:
        InputError: it cannot be read or holds no encoder; or the preparation is not known.
    """
    if isinstance(path, nn.Module):
        path = named_module(path)
    source = str(path) if pretrained is None else f"{path}={pretrained}"
    encoder, content = read_encoder(source, head)
    check_head(head, encoder, path)
    told = content["config"]["data"]
    changes = {"dataset": dataset, "image_size": image_size, "mean": mean, "std": std}
    changes = {name: value for name, value in changes.items() if value is not None}
    if told is None and dataset is None and len(changes) < 3:
        raise InputError(
            f"{str(path)!r} does not tell how its images were prepared; give a dataset "
            f"({', '.join(DATASETS)}), or image_size, mean and std"
        )
    base = told or {}
    if dataset is not None:
        base = own_preprocessing(base)
    kept = ("dataset", "flip", *PREPROCESSING)
    base = {"dataset": "folder", **{name: base[name] for name in kept if name in base}}
    transforms = from_dict(DataConfig, {**base, **changes}, repr(str(path))).transforms
    check_image_size(encoder.config.arch, transforms.size)
    runtime = Runtime.named(device, precision, batch_size=batch_size, quiet=quiet)
    about = checkpoint.about(content)
    return ImageEncoder(encoder, transforms, runtime, only_base, about, features_out)
