"""Weights of others in backbones of libraries, exact to the bit."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import timm
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision import models

import ancor
from ancor.checkpoints.checkpoint import load_encoder as read_file
from ancor.checkpoints.pretrained import load_encoder, read_backbone, seen_labels
from ancor.checkpoints.state_dicts import encoder_state
from ancor.errors import InputError
from ancor.models.backbones import build_backbone
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.models.libraries import library
from tests.cases import slow
from tests.pretrained import LITE0, WEIGHTS
from tests.refusals import tells


def assert_same(one, other) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def timm_of(found) -> torch.nn.Module:
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    network.load_state_dict(found.state_dict())
    return network


def test_efficientnet_lite_is_its_authors_network():
    """Logits with the file's own classifier are equal to the bit."""
    state = torch.load(WEIGHTS, weights_only=True)
    theirs = EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(state)
    found = read_backbone(LITE0, WEIGHTS)
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = found.backbone.eval()(images)
        logits = theirs._fc(features)
        assert torch.equal(logits, theirs(images))
    assert WEIGHTS in found.line
    assert "classifier" in found.line  # is told to be left


def test_features_are_those_of_a_plain_timm_loop(tmp_path):
    """eval's, predict's and a loop's with `resolve_data_config`: Pillow resizes, to the byte."""
    rng = np.random.default_rng(0)
    paths = []
    for number, size in enumerate([(300, 400), (231, 225), (97, 640)]):
        smooth = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        smooth.resize(size).save(tmp_path / f"{number}.png")
        paths.append(str(tmp_path / f"{number}.png"))
    encoder = ancor.load_encoder(LITE0, pretrained=WEIGHTS)
    network = timm_of(encoder.network.backbone)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
    images = torch.stack([transform(Image.open(path)) for path in paths])
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(network(images))
    np.testing.assert_allclose(np.asarray(encoder.features(paths)), expected, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.encoder_q."])
def test_files_of_others_by_the_names_they_use(prefix, tmp_path):
    torch.manual_seed(0)
    for arch in ("timm:test_resnet", "timm:test_vit", "torchvision:resnet18", "resnet18", "conv4"):
        state = build_backbone(arch).state_dict()
        torch.save({"state_dict": {prefix + n: t for n, t in state.items()}}, tmp_path / "x.pth")
        if prefix != "backbone." or ":" in arch:
            assert_same(read_backbone(arch, str(tmp_path / "x.pth")).backbone.state_dict(), state)


def test_dinos_teacher_is_the_backbone_that_is_taken(tmp_path):
    torch.manual_seed(0)
    student, teacher = (build_backbone("timm:test_vit").state_dict() for _ in range(2))
    named = [{f"module.backbone.{n}": t for n, t in each.items()} for each in (student, teacher)]
    torch.save({"student": named[0], "teacher": named[1], "epoch": 100}, tmp_path / "x.pth")
    found = read_backbone("timm:test_vit", str(tmp_path / "x.pth"))
    assert_same(found.backbone.state_dict(), teacher)


def test_a_checkpoint_of_ours_and_its_backbone(tmp_path):
    source = Encoder(EncoderConfig("conv4", "cls", False, 128, 5))
    path = str(tmp_path / "x.pth")
    torch.save(encoder_state(source, "module.encoder_q."), path)
    assert_same(read_backbone("conv4", path).backbone.state_dict(), source.backbone.state_dict())
    with pytest.raises(InputError) as refusal:
        read_backbone("resnet18", path)
    assert "resnet18" in str(refusal.value)
    assert "conv4" in str(refusal.value)


def test_a_resnet_for_small_images_takes_all_but_its_first_layer(tmp_path):
    torch.manual_seed(0)
    state = models.resnet18().state_dict()
    torch.save(state, tmp_path / "x.pth")
    found = read_backbone("resnet18forcifar", str(tmp_path / "x.pth"))
    own = found.backbone.state_dict()
    assert "conv1.weight" in found.line
    assert own["conv1.weight"].shape == (64, 3, 3, 3)
    assert all(torch.equal(t, state[n]) for n, t in own.items() if n != "conv1.weight")
    torch.save(own, tmp_path / "own.pth")
    again = read_backbone("resnet18forcifar", str(tmp_path / "own.pth"))
    assert_same(again.backbone.state_dict(), own)


@pytest.mark.parametrize(
    ("arch", "change", "told"),
    [
        ("timm:efficientnet_lite0", None, "tf_efficientnet_lite0"),  # every shape fits there
        ("timm:tf_efficientnet_lite1", None, "tf_efficientnet_lite1"),
        (LITE0, "_conv_head.weight", "conv_head.weight"),
        ("timm:test_resnet", None, "tf_efficientnet_lite0"),
    ],
)
def test_weights_that_do_not_fit_are_refused(arch, change, told, tmp_path):
    state = torch.load(WEIGHTS, weights_only=True)
    state.pop(change, None)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(InputError) as refusal:
        read_backbone(arch, str(tmp_path / "x.pth"))
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_a_file_holds_beside_is_told_once(tmp_path, caplog):
    """timm logs a warning of all names, which a script without handlers shows."""
    state = build_backbone("timm:test_resnet").state_dict()
    torch.save({**state, "projector.weight": torch.zeros(3)}, tmp_path / "x.pth")
    found = read_backbone("timm:test_resnet", str(tmp_path / "x.pth"))
    assert found.line.endswith("without projector.weight")
    assert caplog.records == []


def test_weights_of_another_backbone_name_what_lacks(tmp_path):
    torch.save(build_backbone("timm:test_vit").state_dict(), tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"x\.pth"):
        read_backbone("timm:test_resnet", str(tmp_path / "x.pth"))
    with pytest.raises(InputError, match="conv4"):
        read_backbone("conv4", "default")


@pytest.mark.parametrize(
    ("arch", "own", "tag"),
    [
        ("timm:vit_tiny_patch16_224", None, None),
        ("timm:resnet18", "resnet18.a1_in1k", "tv_in1k"),
        ("torchvision:resnet50", "IMAGENET1K_V2", "IMAGENET1K_V1"),
    ],
)
def test_a_file_tells_no_tag_and_so_no_preprocessing(arch, own, tag, tmp_path):
    """DINO's and MAE's weights fit a ViT whose default wants another mean: nothing was said.

    Every tag of the first wants the same.
    """
    path = tmp_path / "x.pth"
    torch.save(build_backbone(arch).state_dict(), path)
    line = read_backbone(arch, str(path)).line
    assert tells(line, own or arch, tag or "", f"`arch` {arch}.") == (tag is not None)
    if tag is not None:
        assert "`arch`" not in read_backbone(f"{arch}.{tag}", str(path)).line
        found = library(f"{arch}.{tag}").preprocessing()
        assert found != library(arch).preprocessing()
        assert tag in library(arch).other_tags()


def test_a_name_stands_for_an_encoder_and_tells_its_preprocessing():
    encoder, content = load_encoder(f"{LITE0}={WEIGHTS}")
    assert (encoder.config.arch, encoder.config.head) == (LITE0, "absent")
    told = content["config"]
    assert told["data"]["image_size"] == 224
    assert told["data"]["interpolation"] == "bicubic"
    assert told["pretrained_on"] == WEIGHTS


def test_notices_of_labels_that_weights_have_seen():
    (line,) = seen_labels("timm:resnet50.a1_in1k", "living17")
    assert "living17" in line
    (line,) = seen_labels("some.pth", "tiered")
    assert "some.pth" in line
    assert seen_labels("timm:resnet50.a1_in1k", "folder") == []


COMMAND = """
import sys
from ancor.cli.eval import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arch", "file"),
    [
        ("timm:test_resnet.r160_in1k", "model.safetensors"),
        slow("torchvision:resnet18", "resnet18-f37072fd.pth"),
        slow("resnet18", "resnet18-f37072fd.pth"),
    ],
)
def test_without_a_network_it_is_one_line_at_once(arch, file, tmp_path):
    """It names the file that is wanted; neither library's retries are waited for."""
    nowhere = "http://127.0.0.1:9"
    places = {"HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path), "HF_ENDPOINT": nowhere}
    proxies = {f"{kind}_proxy": nowhere for kind in ("http", "https")}
    flags = ["--arch", arch, "--pretrained", "--dataset", "digits"]
    begin = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND, *flags],
        env={**os.environ, **places, **proxies},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert file in line
    assert "--pretrained" in line
    assert time.monotonic() - begin < 60  # imports take most of it on a busy machine


def test_weights_in_a_cache_need_no_network(tmp_path, monkeypatch):
    torch.manual_seed(0)
    state = models.resnet18().state_dict()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(state, tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found = read_backbone("resnet18", "default")
    assert found.name == "ResNet18_Weights.IMAGENET1K_V1"
    assert all(torch.equal(t, state[n]) for n, t in found.backbone.state_dict().items())


def test_a_saved_classifier_brings_the_backbone_along(tmp_path):
    encoder = ancor.load_encoder(LITE0, pretrained=WEIGHTS, image_size=32)
    images = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
    model = ancor.FewShotClassifier(encoder).fit(images, ["red", "blue"])
    model.save(tmp_path / "c.safetensors")
    again = ancor.FewShotClassifier.load(tmp_path / "c.safetensors")
    assert again.encoder.transforms == encoder.transforms
    assert again.predict(images).tolist() == ["red", "blue"]


def test_training_starts_from_the_weights_and_keeps_the_preprocessing(tmp_path):
    from ancor.cli import train

    flags = "--dataset digits --mode coarse --val-episodes 0 --max-steps 1 -b 4 --queue-k 8"
    size = ["--image-size", "32", "--quiet", "--lr", "1e-12"]
    folder = tmp_path / "run"
    line = [*flags.split(), *size, "--arch", LITE0, "--pretrained", WEIGHTS]
    assert train.main([*line, "--output-dir", str(folder)]) == 0
    encoder, content = read_file(folder / "last.pth.tar")
    start = read_backbone(LITE0, WEIGHTS).backbone.state_dict()
    for name, tensor in encoder.backbone.named_parameters():
        torch.testing.assert_close(tensor, start[name], atol=1e-6, rtol=0)
    config = json.loads((folder / "config.json").read_text())
    assert content["config"]["pretrained_on"] == WEIGHTS
    assert config["data"]["image_size"] == 32
    assert (config["data"]["interpolation"], config["data"]["mean"]) == ("bicubic", [0.5] * 3)
    assert train.main(["--output-dir", str(folder), "--resume", "auto", "--max-steps", "2"]) == 0
