"""Properties of backbones, heads and the key encoder."""

import logging

import pytest
import torch

from ancor.models.backbones import BACKBONES, build_backbone
from ancor.models.config import EncoderConfig
from ancor.models.dropblock import DropBlock
from ancor.models.encoder import Encoder
from tests.refusals import refuses

HEADS = ("seq", "fork", "cls", "none")


def ramped(block_size: int, clock: int) -> DropBlock:
    layer = DropBlock(block_size).train()
    layer.clock.fill_(clock)
    return layer


@pytest.mark.parametrize("name", BACKBONES)
def test_backbone_gives_features_of_the_size_it_tells(name):
    backbone = build_backbone(name).eval()
    with torch.no_grad():
        assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, backbone.out_features)
    assert hasattr(backbone, "avgpool")


def test_unknown_backbone_lists_the_known():
    with refuses("'resnet13'", "conv4"):
        build_backbone("resnet13")


def test_dropblock_is_the_identity_in_evaluation_and_its_clock_stands():
    layer = ramped(2, clock=40_000).eval()
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(layer(x), x)
    assert layer.clock == 40_000


@pytest.mark.parametrize("clock", [0, 20_000, 40_000, 90_000])
def test_dropblock_drops_at_the_rate_of_its_clock(clock):
    torch.manual_seed(0)
    side, block = 8, 2
    layer = ramped(block, clock)
    x = torch.ones(200, 16, side, side)
    out = layer(x)
    assert layer.clock == clock + 1
    keep = max(1 - 0.1 * (clock + 1) / 40_000, 0.9)
    gamma = (1 - keep) / block**2 * side**2 / (side - block + 1) ** 2
    # Pixels inside are covered by block x block possible starts, edges by fewer.
    inside = (out[:, :, 1:-1, 1:-1] == 0).float().mean().item()
    assert inside == pytest.approx(1 - (1 - gamma) ** (block**2), abs=0.003)
    assert out.mean().item() == pytest.approx(1, abs=1e-4)  # rescaled by elements over kept ones


def test_dropblock_zeroes_whole_blocks():
    torch.manual_seed(1)
    layer = ramped(3, clock=40_000)
    zero = (layer(torch.ones(50, 4, 10, 10)) == 0).float()
    covered = torch.nn.functional.max_pool2d(
        torch.nn.functional.pad(
            (torch.nn.functional.avg_pool2d(zero, 3, 1) > 0.999).float(), [2] * 4
        ),
        3,
        1,
    )
    assert zero.sum() > 0
    assert torch.equal(covered, zero)


def test_dropblock_larger_than_the_map_is_cut_and_says_so_once(caplog):
    layer = ramped(5, clock=40_000)
    with caplog.at_level(logging.WARNING):
        layer(torch.ones(4, 2, 2, 2))
        layer(torch.ones(4, 2, 2, 2))
    assert len(caplog.records) == 1
    assert "2 x 2" in caplog.text


def test_dropblock_stays_out_of_the_fixed_names():
    assert not ramped(5, 7).state_dict()


@pytest.mark.parametrize("mlp", [False, True])
@pytest.mark.parametrize("head", HEADS)
def test_key_encoder_starts_as_a_copy_of_what_it_shares(head, mlp):
    query = Encoder(EncoderConfig("conv4", head, mlp, dim=7, num_classes=3)).eval()
    key = query.key_encoder().eval()
    images = torch.randn(4, 3, 32, 32)
    ours, theirs = query(images), key(images)
    if head == "cls":
        assert torch.equal(ours.logits, theirs.logits)
    else:
        assert torch.equal(ours.embedding, theirs.embedding)
        assert theirs.logits is None
    assert not any(p.requires_grad for p in key.parameters())
    shapes = [[p.shape for p in e.shared_parameters()] for e in (query, key)]
    assert shapes[0] == shapes[1] == [p.shape for p in key.parameters()]


@pytest.mark.parametrize(("head", "size"), [("seq", 7), ("fork", 64), ("cls", 64)])
def test_class_weight_makes_the_logits(head, size):
    encoder = Encoder(EncoderConfig("conv4", head, dim=7, num_classes=3)).eval()
    assert encoder.class_weight.shape == (3, size)
    assert Encoder(EncoderConfig("conv4", "none")).class_weight is None


@pytest.mark.parametrize("mlp", [False, True])
@pytest.mark.parametrize("head", ["seq", "fork", "cls", "none"])
def test_class_weights_lie_among_what_the_logits_are_made_of(head, mlp):
    encoder = Encoder(EncoderConfig("conv4", head, mlp, dim=64, num_classes=3)).eval()
    output = encoder(torch.randn(2, 3, 32, 32))
    for kind in ("features", "embedding"):
        weight, vectors = encoder.class_weight_among(kind), getattr(output, kind)
        if output.logits is None or vectors is None:
            assert weight is None
            continue
        # Backbone features are positive already.
        made = torch.relu(vectors) @ encoder.class_weight.T + encoder.classifier.bias
        assert (weight is not None) == torch.allclose(made, output.logits, atol=1e-5)
