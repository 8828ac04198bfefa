"""A folder of digits as files, seen by a small encoder: what sessions are tried on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ancor.data.config import DataConfig
from ancor.evaluation.models import read_models
from ancor.fewshot.labeling import pictures as pictures_
from ancor.fewshot.labeling.pictures import Pictures
from ancor.runtime.devices import Runtime

EACH = 12  # pictures of a digit


def write_digits(root: Path, fine: bool = False) -> None:
    """Write <coarse>/<digit>-<n>.png of each digit; with `fine`, <coarse>/<digit>/<n>.png."""
    partition = DataConfig("digits").load("train")
    names = partition.hierarchy
    for digit in range(10):
        for n, index in enumerate(np.flatnonzero(partition.fine_labels == digit)[:EACH].tolist()):
            coarse = names.coarse_names[partition.coarse_labels[index]]
            place = f"{digit}/{n:02}.png" if fine else f"{digit}-{n:02}.png"
            path = root / coarse / place
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(partition.images[index].numpy().transpose(1, 2, 0)).save(path)


@pytest.fixture
def photos(tmp_path) -> Path:
    """The folder, without fine classes, to be changed."""
    write_digits(tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def read(quick_run) -> Callable[..., Pictures]:
    """Read a folder's pictures with the encoder."""

    def read(root: Path, **options) -> Pictures:
        data = {"dataset": "folder", "root": str(root)}
        paths = [str(quick_run / "model_best.pth.tar")]
        (model,), partition = read_models(paths, data, "train", Runtime.named("cpu"))
        return pictures_.read(model, partition, **options)

    return read


@pytest.fixture(scope="session")
def pictures(tmp_path_factory, read) -> Pictures:
    """The pictures of such a folder, which stays as it is."""
    root = tmp_path_factory.mktemp("photos")
    write_digits(root)
    return read(root)
