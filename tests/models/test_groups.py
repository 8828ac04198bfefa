"""Issue 17, 4: groups of a backbone, and what of it is fixed."""

from copy import deepcopy

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn
from torchvision import models

from ancor.errors import InputError
from ancor.methods.ancor import Ancor
from ancor.methods.config import AncorConfig
from ancor.models.backbones import BACKBONES, build_backbone
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.models.groups import (
    backbone_groups,
    batch_norms,
    fixed_modules,
    frozen_groups,
    synchronized,
)
from ancor.training.config import TrainConfig
from ancor.training.optimizer import build_optimizer, set_rate

TIMM = ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"]
TIMM += ["swin_tiny_patch4_window7_224"]


@pytest.fixture
def arch(request, monkeypatch):
    """A network of timm among the backbones."""

    def build() -> nn.Module:
        network = timm.create_model(request.param, num_classes=0)
        network.out_features = network.num_features
        return network

    monkeypatch.setitem(BACKBONES, request.param, build)
    return request.param


@pytest.mark.parametrize("arch", TIMM, indirect=True)
def test_rates_and_decays_are_those_that_timm_gives(arch):
    """Each parameter's, with a classifier of timm's own in place of our head."""
    settings = TrainConfig(lr=0.1, layer_decay=0.7, weight_decay=0.05, optimizer="adamw")
    with torch.device("meta"):
        method = Ancor(EncoderConfig(arch, "cls", num_classes=5), AncorConfig(calculators=("cls",)))
        theirs = timm.create_model(arch, num_classes=5)
    optimizer = build_optimizer(method, settings, fused=False)
    set_rate(optimizer, 0.05)
    ours = {
        parameter: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    excepted = theirs.no_weight_decay() if hasattr(theirs, "no_weight_decay") else ()
    names = {parameter: name for name, parameter in theirs.named_parameters()}
    mine = dict(method.encoder.backbone.named_parameters())
    found = set()
    for group in param_groups_layer_decay(theirs, 0.05, excepted, layer_decay=0.7):
        for parameter in group["params"]:
            expected = (0.05 * group["lr_scale"], group["weight_decay"])
            if names[parameter] in mine:
                found.add(names[parameter])
                assert ours[mine[names[parameter]]] == pytest.approx(expected), names[parameter]
    assert found == mine.keys()
    assert ours[method.encoder.head.weight] == (0.05, 0.05)
    assert ours[method.encoder.head.bias] == (0.05, 0)


@pytest.mark.parametrize(
    ("arch", "first"),
    [
        ("conv4", ["layer1", "layer2", "layer3", "layer4"]),
        ("resnet12", ["layer1", "layer2", "layer3", "layer4"]),
        ("resnet50", ["conv1", "layer1", "layer2", "layer3", "layer4"]),
    ],
)
def test_our_backbones_are_grouped_by_stages(arch, first):
    with torch.device("meta"):
        backbone = build_backbone(arch)
    names, head = backbone_groups(backbone)
    assert [group[0].partition(".")[0] for group in names] == first
    assert [name for group in names for name in group] == [
        n for n, _ in backbone.named_parameters()
    ]
    assert head == len(first)


def test_parts_of_nearly_everything_are_looked_into():
    with torch.device("meta"):
        vit, vgg = models.vit_b_16(), models.vgg11_bn()
    vit.heads, vgg.classifier = nn.Identity(), nn.Identity()
    names, _ = backbone_groups(vit)
    assert len(names) == 1 + 12
    assert {"class_token", "conv_proj.weight", "encoder.pos_embedding"} <= set(names[0])
    assert "encoder.ln.weight" in names[-1]
    assert [len(group) for group in backbone_groups(vgg).names] == [4] * 8  # with their batch norms
    assert backbone_groups(nn.Linear(2, 3)).names == (("weight", "bias"),)
    assert backbone_groups(nn.Identity()).names == ()


def test_what_freeze_names_has_to_be_there():
    backbone = build_backbone("conv4")
    assert [frozen_groups(freeze, backbone) for freeze in (0, 3, 4, "all")] == [0, 3, 4, 4]
    with pytest.raises(InputError, match=r"`freeze` 5: the backbone has 4 groups; give 0 to 4"):
        frozen_groups(5, backbone)


def test_modules_without_parameters_belong_to_what_is_before_them():
    backbone = build_backbone("resnet12")
    first = backbone_groups(backbone).names[0]
    fixed = fixed_modules(backbone, first)
    assert set(backbone.layer1.modules()) == set(fixed)
    assert backbone.layer1[0].regulariser in fixed
    everything = [name for name, _ in backbone.named_parameters()]
    assert set(fixed_modules(backbone, everything)) == set(backbone.modules())
    net = nn.Sequential(nn.Dropout(), nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2), nn.Dropout())
    assert fixed_modules(net, ["1.weight", "1.bias"]) == [net[0], net[1], net[2]]
    assert fixed_modules(net, []) == []


@pytest.mark.parametrize("arch", ["test_resnet", "test_efficientnet"], indirect=True)
@pytest.mark.parametrize("training", [False, True])
def test_batch_norms_of_all_processes_do_what_they_did(arch, training):
    """Alone a process has the same statistics; timm's of the second activate as well."""
    encoder = Encoder(EncoderConfig(arch, "seq", dim=4, num_classes=2)).train(training)
    images = torch.randn(4, 3, 32, 32)
    before = deepcopy(encoder)(images)
    after = synchronized(encoder)(images)
    assert {isinstance(m, nn.SyncBatchNorm) for m in batch_norms(encoder.backbone)} == {True}
    assert torch.equal(after.features, before.features)
    assert after.features.any()
