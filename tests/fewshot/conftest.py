"""What several files of this folder start from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ancor
from ancor.data.config import DataConfig
from ancor.evaluation.models import read_models
from ancor.fewshot.labeling import pictures as pictures_
from ancor.fewshot.labeling.pictures import Pictures
from ancor.runtime.devices import Runtime
from tests.fewshot.digits import write_digits


@pytest.fixture(scope="module")
def encoder(quick_run):
    """The encoder of a short run on digits, on the CPU."""
    return ancor.load_encoder(quick_run / "model_best.pth.tar", device="cpu")


@pytest.fixture(scope="module")
def queries():
    """The first test images of digits."""
    return list(DataConfig("digits").load("test").subset(np.arange(60)).images)


@pytest.fixture
def photos(tmp_path) -> Path:
    """The folder, without fine classes, to be changed."""
    write_digits(tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def read(quick_run) -> Callable[..., Pictures]:
    """Read a folder's pictures with the encoder."""

    def read(root: Path, **options) -> Pictures:
        data = {"dataset": "folder", "root": str(root), "image_size": 32}
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
