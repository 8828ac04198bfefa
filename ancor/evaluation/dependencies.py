"""What features depend on: the key under which they are kept on disk."""

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import PIL
import torch

from ancor.checkpoints.checksum import weights_hash
from ancor.data.files import heif_version
from ancor.data.partition import Partition
from ancor.evaluation.feature_bank import FeatureBank
from ancor.models.names import library_of


def dependencies(bank: FeatureBank, partition: Partition) -> dict[str, Any]:
    """List all that a bank's features of a partition depend on, as JSON can hold it.

    Images are decoded by Pillow, HEIC by pillow-heif, and resized by torchvision; a library's
    backbone is its code. The batch size is not among it: it moves features by less than 1e-5.
    """
    library, _ = library_of(bank.encoder.config.arch)
    return {
        "weights": weights_hash(bank.encoder),
        "encoder": asdict(bank.encoder.config),
        "kind": bank.kind,
        "dataset": partition.dataset,
        "partition": partition.name,
        "images": partition.images.fingerprint(),
        "transforms": asdict(bank.transforms),
        "seed": bank.seed,
        "precision": str(bank.runtime.dtype),
        "device": bank.device.type,
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "pillow": PIL.__version__,
        "pillow-heif": heif_version(),
        **({library: version(library)} if library else {}),
    }
