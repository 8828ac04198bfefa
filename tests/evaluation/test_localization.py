"""Where an encoder looks, and what is near to what."""

import numpy as np
import pytest
import torch

from ancor.data.images import ColorImages
from ancor.data.transform_spec import TransformSpec
from ancor.data.transforms import normalize
from ancor.evaluation.feature_bank import FeatureBank
from ancor.evaluation.localization import position_norms
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime.devices import Runtime
from tests.refusals import refuses

CPU = torch.device("cpu")


def bank(size: int, **config) -> FeatureBank:
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(dim=5, num_classes=3, **config)).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, size, size), dtype=np.uint8)
    spec = TransformSpec(size, (0.5,) * 3, (0.2,) * 3, native_size=size)
    return FeatureBank(encoder, ColorImages(pixels), spec, Runtime(CPU, batch_size=2))


def outputs(made: FeatureBank):
    pixels = torch.from_numpy(made.images.pixels)
    with torch.inference_mode():
        return made.encoder(normalize(pixels, made.transforms))


@pytest.mark.parametrize("arch", ["conv4", "resnet12", "resnet18"])
@pytest.mark.parametrize("mlp", [False, True])
@pytest.mark.parametrize("head", ["seq", "fork", "none", "cls"])
def test_a_map_of_one_position_has_the_norm_of_the_encoders_own_output(head, mlp, arch):
    made = bank(16, arch=arch, head=head, mlp=mlp)
    found = position_norms(made, np.arange(3))
    expected = outputs(made)
    vectors = expected.features if head == "cls" else expected.embedding
    assert found.shape == (3, 1, 1)
    np.testing.assert_allclose(found[:, 0, 0], vectors.norm(dim=1), rtol=1e-4)


def test_a_resnet_of_timms_has_a_map_and_what_has_none_is_told():
    found = position_norms(bank(64, arch="timm:test_resnet", head="seq"), np.arange(2))
    assert found.shape == (2, 2, 2)
    for arch in ("timm:test_vit", "timm:mobilenetv3_small_050"):
        with refuses(arch, "resnet12"):
            position_norms(bank(64, arch=arch, head="seq"), np.arange(1))


def test_a_larger_image_gives_a_map_and_later_passes_are_as_before():
    made = bank(64, arch="conv4", head="seq", mlp=True)
    before = outputs(made)
    found = position_norms(made, np.array([2, 0]))
    assert found.shape == (2, 4, 4)
    encoder = made.encoder
    x = normalize(torch.from_numpy(made.images.pixels), made.transforms)
    for stage in (encoder.backbone.layer1, encoder.backbone.layer2):
        x = stage(x)
    maps = encoder.backbone.layer4(encoder.backbone.layer3(x))
    position = maps[2, :, 1, 3]
    expected = encoder.head[2].fc1(torch.relu(encoder.head[0](position))).norm()
    assert found[0, 1, 3] == pytest.approx(expected.item(), rel=1e-4)
    assert not encoder.backbone.avgpool._forward_pre_hooks
    torch.testing.assert_close(outputs(made).embedding, before.embedding)
