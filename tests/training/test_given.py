"""Flags beside each other: what of a --config is not meant, and what has no effect."""

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


WITHOUT_EFFECT = {
    "steps of a cosine": (
        {"dataset": "fashion-mnist", "schedule": (1, 2), "gamma": 0.5},
        ["`schedule`, `gamma`", "`cos`"],
    ),
    "cycles of steps": ({"num_cycles": 3}, ["`num_cycles`", "`cos`"]),
    "cycles of one cosine": ({"name": "supcon", "num_cycles": 3}, ["`num_cycles`", "supcontrast"]),
    "keys of none": (
        {"name": "ce", "temperature": 0.5, "queue_length": 16},
        ["`queue_length`, `temperature`", "`calculators` cls"],
    ),
    "an angle of no class": (
        {"name": "moco", "metric": "angular"},
        ["`metric`", "cst_all", "norm"],
    ),
    "an embedding of none": ({"name": "ce", "dim": 64}, ["`dim`", "`head` cls"]),
    "rates of what is frozen": ({"freeze": "all", "layer_decay": 0.5}, ["`layer_decay`"]),
    "an encoder of a late epoch": (
        {"epochs": 5, "keep_epochs": (4, 5)},
        ["`keep_epochs` 5", "0 to 4"],
    ),
    "a fall in a late epoch": ({"epochs": 5, "schedule": (3, 5, 9)}, ["`schedule` 5 9", "0 to 4"]),
}


@pytest.mark.parametrize(("flags", "words"), WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_what_is_given_without_effect_is_told(flags, words):
    _, lines = run_config({"dataset": "digits", "mode": "coarse", **flags}, None)
    (line,) = [line for line in lines if "without effect" in line]
    assert tells(line, "Notice", *words)


@pytest.mark.parametrize(
    "flags",
    [
        {"schedule": (2,), "gamma": 0.5, "epochs": 3, "keep_epochs": (0, 2), "dim": 64},
        {"cos": True, "num_cycles": 2, "queue_length": 16, "temperature": 1.0, "metric": "angular"},
        {"name": "supcon", "gamma": 0.5, "temperature": 1.0},
        {"name": "supcon", "cos": False, "schedule": (2,), "epochs": 3},
        {"name": "scgm-a", "calculators": ("cls",), "metric": "angular", "queue": "none"},
        {"name": "ce"},  # its own defaults, and the dataset's of keys, are nobody's slip
        {"freeze": "all", "freeze_epochs": 1, "layer_decay": 0.5},
    ],
)
def test_what_has_an_effect_is_not_told(flags):
    _, lines = run_config({"dataset": "digits", "mode": "coarse", **flags}, None)
    assert not [line for line in lines if "without effect" in line]


def test_a_run_that_goes_on_tells_what_of_config_it_does_not_read(tmp_path):
    before, other = (resolve({"mode": "coarse", **DRAWN, "epochs": n})[0] for n in (3, 7))
    content, path = {"config": before.plain()}, tmp_path / "config.json"
    path.write_text(json.dumps(other.plain()))
    config, lines = run_config({"resume": "auto", "config": str(path)}, content)
    assert config.training.epochs == 3
    (line,) = [line for line in lines if tells(line, "`config`")]
    assert tells(line, repr(str(path)), "`epochs` 7")
    path.write_text(json.dumps(before.plain()))
    assert run_config({"config": str(path)}, content)[1] == []


@pytest.mark.parametrize("run", [DRAWN, {**TUNED, "name": "ce"}], ids=["drawn", "pretrained"])
@pytest.mark.parametrize(("before", "optimizer"), [("sgd", "adamw"), ("adamw", "sgd")])
def test_an_optimizer_beside_config_has_its_own_rates(run, before, optimizer, beside):
    """SGD's rate of 0.1 was AdamW's then."""
    config, lines = beside({**run, "optimizer": before}, optimizer=optimizer)
    assert config == resolve({"mode": "coarse", **run, "optimizer": optimizer})[0]
    assert [line for line in lines if tells(line, "`config`", "`lr`")]
    config, _ = beside({**run, "optimizer": before}, optimizer=optimizer, lr=0.5)
    assert config.training.lr == 0.5


def test_a_run_that_goes_on_keeps_what_it_started_from():
    """`--pretrained` stood in its files from then on, and `--untrained` scored that."""
    content = {"config": resolve({"mode": "coarse", **DRAWN})[0].plain()}
    config, lines = run_config({"resume": "auto", "pretrained": "x.pth"}, content)
    assert config.training.pretrained is None
    (line,) = [line for line in lines if tells(line, "`pretrained`")]
    assert tells(line, "x.pth", "without effect")
    content["config"]["training"]["pretrained"] = "x.pth"
    config, lines = run_config({"resume": "auto", "pretrained": "x.pth"}, content)
    assert (config.training.pretrained, lines) == ("x.pth", [])
