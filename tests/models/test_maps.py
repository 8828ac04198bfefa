"""The last map of a backbone, by the strides that papers give; and what training says of it."""

from types import SimpleNamespace

import pytest
import torch

from ancor.cli import train
from ancor.methods.registry import METHODS
from ancor.models.backbones import build_backbone
from ancor.models.groups import batch_norms
from ancor.models.maps import fewest_values, map_side
from ancor.training import batches
from ancor.training.resolve import resolve
from tests.refusals import refused, refuses, tells


@pytest.mark.parametrize(
    ("arch", "size", "side"),
    [
        ("conv4", 32, 32 // 16),
        ("resnet12", 84, 84 // 16),
        ("resnet50", 32, 32 // 32),
        ("resnet50", 84, -(-84 // 32)),
        ("resnet50forcifar", 32, 32 // 8),
        ("torchvision:densenet121", 32, 32 // 32),
        ("torchvision:mobilenet_v3_small", 64, 64 // 32),  # its squeezed maps of 1 x 1 are none
        ("timm:tf_efficientnet_lite0", 64, 64 // 32),
        ("timm:vit_tiny_patch16_224", 32, 32 // 16),
        ("resnet12", 8, None),
    ],
)
def test_the_side_of_the_last_map(arch, size, side):
    with torch.device("meta"):
        backbone = build_backbone(arch)
    assert map_side(backbone, size) == side


def test_a_backbone_stays_as_it_was():
    backbone = build_backbone("resnet18").train()
    backbone.layer1.eval()
    state = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    assert map_side(backbone, 32) == 1
    assert all(torch.equal(tensor, state[n]) for n, tensor in backbone.state_dict().items())
    assert backbone.training
    assert backbone.layer2.training
    assert not backbone.layer1[0].bn1.training
    assert not any(module._forward_hooks for module in backbone.modules())


@pytest.mark.parametrize(
    ("arch", "size", "words"),
    [
        (
            "resnet18",
            "32",
            ("--arch resnet18", "1 x 1", "resnet12forcifar", "resnet18forcifar"),
        ),
        ("resnet18", "84", ("--arch resnet18", "3 x 3", "84", "resnet12")),
        ("torchvision:mobilenet_v3_small", "32", ("1 x 1", "resnet12forcifar", "--image-size")),
        ("resnet18forcifar", "32", ()),
        ("conv4", "32", ()),
    ],
)
def test_training_tells_what_leaves_next_to_nothing_of_small_images(
    arch, size, words, tmp_path, capsys
):
    flags = f"--dataset digits --mode coarse --arch {arch} --image-size {size} -b 4 --queue-k 8"
    flags += " --val-episodes 0 --max-steps 1 --precision fp32 --output-dir"
    assert train.main([*flags.split(), str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert tells(out, "--arch", "photographs", *words) == bool(words)


@pytest.mark.parametrize(
    ("arch", "size", "values"),
    [
        ("resnet18", 32, 1),
        ("resnet18", 33, 2 * 2),
        ("conv4", 16, 2 * 2),  # a map of 1 x 1, which is pooled behind the last batch norm
        ("resnet12", 16, 2 * 2),
        ("torchvision:densenet121", 32, 1),
        ("timm:vit_tiny_patch16_224", 32, None),
    ],
)
def test_what_batch_norm_sees_of_one_image(arch, size, values):
    backbone = build_backbone(arch).train()
    assert fewest_values(backbone, size, batch_norms(backbone)) == values
    one = torch.zeros(1, 3, size, size)
    if values == 1:
        with pytest.raises(ValueError, match="more than 1 value"):
            backbone(one)
    else:
        backbone(one)


@pytest.mark.parametrize(
    ("given", "processes", "accepted"),
    [
        ({"batch_size": 16, "accumulate": 16}, 1, False),
        ({"batch_size": 31, "accumulate": 16}, 1, False),
        ({"batch_size": 32, "accumulate": 16}, 1, True),
        ({"batch_size": 1}, 1, False),
        ({"batch_size": 3}, 2, False),
        ({"batch_size": 4}, 2, True),
        ({"batch_size": 3, "sync_bn": True}, 2, True),
        ({"batch_size": 1, "image_size": 64}, 1, True),
        ({"batch_size": 1, "arch": "conv4", "image_size": 16}, 1, True),
        ({"batch_size": 1, "freeze_bn": True}, 1, True),
        ({"batch_size": 1, "freeze": "all"}, 1, True),
        ({"batch_size": 1, "freeze": 2}, 1, False),
        ({"batch_size": 1, "freeze": "all", "freeze_epochs": 1}, 1, False),
        ({"batch_size": 1, "name": "simclr"}, 1, True),  # both views in one pass
    ],
    ids=str,
)
def test_passes_of_one_image_are_refused_where_batch_norm_needs_more(
    given, processes, accepted, monkeypatch
):
    config, _ = resolve({"dataset": "digits", "mode": "coarse", "arch": "resnet18", **given})
    accumulates = METHODS[given.get("name", "ancor")].load().accumulates
    with torch.device("meta"):
        encoder = SimpleNamespace(backbone=build_backbone(config.encoder.arch))
    method = SimpleNamespace(encoder=encoder, accumulates=accumulates)
    monkeypatch.setattr(batches, "world_size", lambda: processes)
    if accepted:
        batches.check_parts(config, method, given["batch_size"])
        return
    words = ["2 processes"] if processes == 2 else []
    words += [f"`batch_size` {given['batch_size']}", "`accumulate`", "resnet18", "`image_size`"]
    with refuses(*words):
        batches.check_parts(config, method, given["batch_size"])


def test_training_by_passes_of_one_image_is_one_line_or_works(tmp_path, capsys):
    flags = ["--dataset", "digits", "--mode", "coarse", "--queue-k", "8", "--precision", "fp32"]
    flags += ["--max-steps", "1", "--val-episodes", "0", "-b", "2", "--accumulate", "2"]
    flags += ["--output-dir", str(tmp_path / "run")]
    refused(train.main, [*flags, "--arch", "resnet18"], capsys, "--accumulate 2", "resnet18")
    assert not (tmp_path / "run").exists()
    assert train.main([*flags, "--arch", "conv4", "--image-size", "16"]) == 0
