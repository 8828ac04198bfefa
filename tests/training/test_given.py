"""--config beside flags: what of a file is not meant where another method or backbone is."""

import json

import pytest

from ancor.methods.registry import METHODS
from ancor.models.libraries import library
from ancor.training.given import run_config
from ancor.training.resolve import mode_of, resolve
from tests.refusals import refuses, tells

DRAWN = {"dataset": "digits", "batch_size": 32, "seed": 5, "image_size": 16}
TUNED = {"dataset": "living17", "arch": "timm:test_resnet", "pretrained": "x.pth"}


@pytest.fixture
def beside(tmp_path):
    """The configuration and the lines of flags beside the config.json of a run."""

    def beside(run: dict, **flags):
        path = tmp_path / "config.json"
        config, _ = resolve({"mode": mode_of(run.get("name", "ancor")), **run})
        path.write_text(json.dumps(config.plain()))
        return run_config({"config": str(path), **flags}, None)

    return beside


@pytest.mark.parametrize("run", [DRAWN, TUNED], ids=["drawn", "pretrained"])
@pytest.mark.parametrize("before", ["ancor", "maskcon", "snca"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_method_beside_config_is_that_method(run, before, method, beside):
    """All of it is as if the run's other flags had been given with this method."""
    config, lines = beside({**run, "name": before}, name=method)
    assert config == resolve({**run, "mode": mode_of(method), "name": method})[0]
    METHODS[method].load().check(config.encoder.head, config.method)
    if method == before:
        assert not [line for line in lines if "`config`" in line]


def test_what_is_not_taken_is_told_and_what_is_given_stays(beside):
    config, lines = beside({**DRAWN, "name": "ancor", "lr": 0.3}, name="maskcon", dim=16)
    assert (config.encoder.dim, config.training.lr) == (16, 0.02)
    (line,) = [line for line in lines if tells(line, "`config`")]
    assert tells(line, "`head` seq", "`lr` 0.3", "`temperature` 0.5")
    assert not tells(line, "`dim`")
    config, _ = beside({**DRAWN, "name": "maskcon"}, name="ancor", lr=0.3)
    assert (config.encoder.head, config.encoder.mlp, config.training.lr) == ("seq", False, 0.3)


def test_labels_of_a_method_go_with_it(beside):
    assert beside(DRAWN, name="fine")[0].training.mode == "fine"
    with refuses("`mode`", "coarse"):
        beside({**DRAWN, "name": "fine"}, name="ce")
    assert beside({**DRAWN, "name": "fine"}, name="ce", mode="coarse")[0].training.mode == "coarse"
    with refuses("'maskon'", "maskcon"):
        beside(DRAWN, name="maskon")


OTHERS = {
    "own to timm's": ({"dataset": "digits"}, {"arch": "timm:test_resnet", "pretrained": "x.pth"}),
    "timm's to own": ({**TUNED, "pretrained": None}, {"arch": "conv4"}),
    "timm's to timm's": (TUNED, {"arch": "timm:test_vit"}),
    "own to torchvision's": ({"dataset": "digits", "arch": "resnet50"}, {"pretrained": "default"}),
}


@pytest.mark.parametrize(("run", "flags"), OTHERS.values(), ids=OTHERS)
def test_images_are_prepared_as_the_backbone_beside_config_asks(run, flags, beside):
    run = {**run, "name": "ancor"}
    config, _ = beside(run, **flags)
    named, before = (resolve({"mode": "coarse", **run, **more})[0].data for more in (flags, {}))
    assert config.data == before.__class__(**{**vars(named), "augment": before.augment})
    assert named.transforms != before.transforms
    assert beside(run)[0].data == before


def test_an_image_size_of_ones_own_stays(beside):
    flags = {"arch": "timm:test_resnet", "pretrained": "x.pth"}
    config, _ = beside({"dataset": "digits", "image_size": 64}, **flags)
    theirs = library(flags["arch"]).preprocessing()
    assert (config.data.image_size, config.data.interpolation) == (64, theirs["interpolation"])
