"""The last map of a backbone, by the strides that papers give; and what training says of it."""

import pytest
import torch

from ancor.cli import train
from ancor.models.backbones import build_backbone
from ancor.models.maps import map_side
from tests.refusals import tells


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
