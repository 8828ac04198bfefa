"""Backbones of timm and torchvision: networks, preprocessing, names."""

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from ancor.data.config import DataConfig
from ancor.data.transforms import query_transform, support_transform
from ancor.errors import InputError
from ancor.models.backbones import BACKBONES, build_backbone
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.models.libraries import check_image_size, library, saw_imagenet
from ancor.models.names import RESNETS, library_name, same_weights
from ancor.models.own import named_module
from tests.made import picture
from tests.refusals import refuses

FAMILIES = (
    *("resnet18", "convnext_atto", "tf_efficientnet_lite0", "mobilenetv3_small_050", "regnety_002"),
    *("vit_tiny_patch16_224", "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224"),
    *("vit_small_patch14_dinov2", "vit_xsmall_patch16_clip_224", "mixer_s32_224"),
    "eva02_tiny_patch14_224",
)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_timm_backbone_has_its_own_preprocessing_and_width(name):
    """Its numbers are those of timm's own pooled features, and of its configuration."""
    backbone = f"timm:{name}"
    with torch.device("meta"):
        ours, theirs = build_backbone(backbone), timm.create_model(name, num_classes=0)
    assert {n: t.shape for n, t in ours.state_dict().items()} == {
        n: t.shape for n, t in theirs.state_dict().items()
    }
    told = timm.data.resolve_data_config({}, model=theirs)
    spec = DataConfig("digits", **library(backbone).preprocessing()).transforms
    assert spec.size == told["input_size"][-1]
    assert (spec.mean, spec.std) == (told["mean"], told["std"])
    assert spec.interpolation == told["interpolation"]
    assert spec.resize == int(spec.size / told["crop_pct"])
    size = 2 * (14 if "14" in name else 16)
    if "mixer" not in name and "swin" not in name:
        check_image_size(backbone, size)
        assert ours.eval()(torch.empty(2, 3, size, size, device="meta")).shape[1] == (
            ours.out_features
        )


def test_the_size_that_a_timm_backbone_is_built_for_needs_no_pass(monkeypatch):
    def refused(images):
        raise RuntimeError("a pass")

    monkeypatch.setattr(library("timm:vit_tiny_patch16_224"), "on_meta", refused)
    check_image_size("timm:vit_tiny_patch16_224", 224)
    with refuses("`image_size` 192", "a pass", "224"):
        check_image_size("timm:vit_tiny_patch16_224", 192)


def published() -> dict[tuple, tuple[str, dict]]:
    """Each way of preprocessing among timm's published weights, and one backbone that has it."""
    found = {}
    for arch in timm.list_models():
        for tag, config in timm.models.get_arch_pretrained_cfgs(arch).items():
            told = timm.data.resolve_data_config({}, pretrained_cfg=config.to_dict())
            key = told["input_size"], told["crop_pct"], told["crop_mode"], told["interpolation"]
            found.setdefault(key, (f"{arch}.{tag}", told))
    return found


def test_every_way_of_preprocessing_in_timm_is_timms_to_the_byte():
    """Crops of a resized side, squares, borders of the mean color, and crops beyond the image."""
    shapes = ((301, 203), (150, 411), (97, 97))
    photographs = [picture(n, (9, 7)).resize(shape) for n, shape in enumerate(shapes)]
    modes = set()
    for (size, share, mode, _), (name, told) in published().items():
        usual = mode != "border" and share <= 1
        if size[1] != size[2] or (usual and size[1] > 320):
            continue
        modes.add((mode, share > 1))
        settings = {name: told[name] for name in ("mean", "std", "interpolation", "crop_pct")}
        spec = DataConfig("folder", image_size=size[1], crop_mode=mode, **settings).transforms
        theirs = timm.data.create_transform(**told, normalize=False)
        for image in photographs:
            assert torch.equal(query_transform(spec)(image), theirs(image)), name
            assert support_transform(spec)(image).shape == size
    assert modes == {("center", False), ("center", True), ("squash", False), ("border", False)}


def test_a_backbone_of_images_that_are_not_square_is_refused():
    """It was built for squares of its width, which its weights have never seen."""
    with refuses("timm:vit_base_patch16_sapiens2", "1024 x 768", "square"):
        library("timm:vit_base_patch16_sapiens2")


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_features_are_timms(name):
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(f"timm:{name}", "seq", dim=4, num_classes=3)).eval()
    plain = timm.create_model(name, num_classes=0).eval()
    plain.load_state_dict(encoder.backbone.state_dict())
    images = torch.randn(2, 3, 160, 160)
    assert torch.equal(encoder(images).features, plain(images))


@pytest.mark.parametrize(
    "name", ["alexnet", "squeezenet1_1", "googlenet", "regnet_y_400mf", "mnasnet0_5", "swin_t"]
)
def test_a_torchvision_classifier_loses_its_last_layer(name):
    backbone = f"torchvision:{name}"
    with torch.device("meta"):
        network = build_backbone(backbone).eval()
        images = torch.empty(2, 3, *[library(backbone).preprocessing()["image_size"]] * 2)
    assert network(images).shape == (2, network.out_features)


def test_every_classifier_of_torchvision_is_known_and_others_are_not():
    assert library("torchvision:vit_b_16").preprocessing()["image_size"] == 224
    assert library("torchvision:resnet50.IMAGENET1K_V1").preprocessing()["crop_pct"] == 0.875
    for name in ("torchvision:resnet", "timm:resnet1", "timm:resnet18.nothing"):
        with pytest.raises(InputError) as refusal:
            build_backbone(name)
        assert name.partition(":")[2].partition(".")[2] or "did you mean" in str(refusal.value)
    with pytest.raises(InputError, match="torchvision:resnet50"):
        library("torchvision:resnet50.IMAGENET1K_V9")


def test_the_side_before_the_crop_is_torchvisions():
    for name in ("resnet18", "resnet50", "convnext_small", "swin_s", "efficientnet_b1"):
        told = models.get_model_weights(name).DEFAULT.transforms()
        own = library(f"torchvision:{name}").preprocessing()
        assert DataConfig("folder", **own).transforms.resize == told.resize_size[0]


@pytest.mark.parametrize("name", RESNETS[:2])
def test_a_resnet_for_small_images_keeps_their_size_to_the_first_stage(name):
    network = build_backbone(f"{name}forcifar").eval()
    seen = []
    network.layer1.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, network.out_features)
    assert seen[0][-2:] == (32, 32)
    large = build_backbone(name)
    shapes = {n: t.shape for n, t in large.state_dict().items() if n != "conv1.weight"}
    assert shapes == {n: t.shape for n, t in network.state_dict().items() if n != "conv1.weight"}


def test_sizes_that_a_backbone_cannot_pass_are_refused_before_any_work():
    check_image_size("timm:vit_small_patch14_dinov2", 70)
    check_image_size("conv4", 7)  # ours find out in their first pass
    for name, size in (("timm:vit_small_patch14_dinov2", 71), ("timm:mixer_s32_224", 96)):
        with pytest.raises(InputError) as refusal:
            check_image_size(name, size)
        assert "`image_size`" in str(refusal.value)
        assert str(size) in str(refusal.value)


def test_which_preprocessing_goes_with_a_backbone():
    assert library_name("resnet50", None) == ""
    assert library_name("resnet50", "default") == "torchvision:resnet50"
    assert library_name("resnet18forcifar", "default") == "torchvision:resnet18"
    assert library_name("resnet50", "a.pth") == ""
    assert library_name("timm:resnet50", None) == "timm:resnet50"
    assert library_name("conv4", "default") == ""
    assert same_weights("torchvision:resnet18", "resnet18")
    assert not same_weights("timm:resnet18", "resnet18")


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("timm:resnet50.a1_in1k", True),
        ("timm:vit_base_patch16_224.augreg_in21k", True),
        ("ResNet18_Weights.IMAGENET1K_V1", True),
        ("timm:vit_small_patch14_dinov2.lvd142m", False),
    ],
)
def test_weights_that_saw_imagenets_labels(name, seen):
    assert saw_imagenet(name) is seen


def test_a_network_of_ones_own(monkeypatch):
    own = dict(BACKBONES)
    for module in ("own", "backbones"):
        monkeypatch.setattr(f"ancor.models.{module}.BACKBONES", own)
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    name = named_module(network)
    copied = build_backbone(name)
    assert copied.out_features == 5
    assert torch.equal(copied[0].weight, network[0].weight)
    with pytest.raises(InputError, match=r"\(2, 5, 62, 62\)"):
        named_module(nn.Conv2d(3, 5, 3))
