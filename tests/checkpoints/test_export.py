"""Exported files: what they give, what they say of themselves, what is refused."""

import json
import sys
from pathlib import Path

import pytest
import torch

from ancor import __main__ as toolkit
from ancor.checkpoints import checkpoint, export, hub, state_dicts
from ancor.data.config import DataConfig
from ancor.errors import RunError
from ancor.models.backbones import BACKBONES, build_backbone
from ancor.models.config import BARE, HEADS, EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime.seeding import seeded
from tests.cases import slow
from tests.pretrained import LITE0, WEIGHTS
from tests.refusals import refused, refuses, tells

for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package)

FORMS = [
    *(("conv4", head, head == "fork") for head in (*HEADS, BARE)),
    *((arch, "seq", arch == "resnet18") for arch in BACKBONES if arch != "conv4"),
]
QUICK = [("conv4", "seq")]
MARKED = [
    pytest.param(*form, to, marks=[] if quick else pytest.mark.slow, id="-".join([*form[:2], to]))
    for form in FORMS
    for to in ("onnx", "pt2")
    for quick in [form[:2] in QUICK or (form[0] == "conv4" and to == "pt2")]
]


def moved(config: EncoderConfig) -> Encoder:
    """An encoder whose batch norms have seen images, as a trained one's."""
    with seeded(0, "test"):
        encoder = Encoder(config).train()
        encoder(torch.randn(4, 3, 32, 32))
    return encoder.eval()


@pytest.fixture
def write(tmp_path):
    """Export an encoder as `to`; return the file and the outputs it should give."""

    def write(encoder: Encoder, to: str, outputs=None):
        source, path = tmp_path / "x.pth", tmp_path / "made" / f"x.{to}"
        torch.save(state_dicts.encoder_state(encoder), source)
        content = {
            "epoch": None,
            "config": {
                "encoder": vars(encoder.config),
                "data": None,
                "training": {"seed": 0},
                "selected_on": None,
            },
        }
        names = export.chosen_outputs(encoder, outputs)
        data = DataConfig("digits")
        export.export(source, encoder, content, data, path, to, names)
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        return path, names

    return write


def answers(path, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Run a file as a program without this toolkit would."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()(images)
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = session.run(None, {"images": images.numpy()})
    return dict(zip(names, map(torch.from_numpy, found), strict=True))


@pytest.mark.parametrize(("arch", "head", "mlp", "to"), MARKED)
def test_graph_gives_what_pytorch_gives(arch, head, mlp, to, write):
    encoder = moved(EncoderConfig(arch, head, mlp, 16, 3))
    path, names = write(encoder, to)
    images = torch.randn(8, 3, 32, 32)
    with torch.inference_mode():
        expected = encoder(images)
    found = answers(path, images)
    assert tuple(found) == names
    assert (found["features"] - expected.features).abs().max() < 1e-4
    for name in ("embedding", "logits"):
        right = getattr(expected, name)
        assert (right is None) == (name not in names)
        if right is not None:
            assert found[name].shape == right.shape
            assert (found[name] - right).abs().max() < 1e-4
            assert right.std() > 1e-3  # a comparison of zeros would tell nothing


def test_any_number_of_images_and_chosen_outputs(write):
    encoder = moved(EncoderConfig("conv4", "seq", False, 16, 3))
    path, _ = write(encoder, "pt2", ["logits", "features"])
    for count in (1, 3):
        found = answers(path, torch.randn(count, 3, 32, 32))
        assert {name: tuple(t.shape) for name, t in found.items()} == {
            "logits": (count, 3),
            "features": (count, 64),
        }


@pytest.mark.parametrize("form", [("seq", 16), ("fork", 64), ("none", 64), ("cls", 128)])
def test_own_reader_knows_what_shapes_leave_open(form, write):
    """A fork of F outputs, or a lone layer, cannot be told from another head by its shapes."""
    head, dim = form
    encoder = moved(EncoderConfig("conv4", head, False, dim, 128))
    path, _ = write(encoder, "safetensors")
    read, content = checkpoint.load_encoder(path)
    assert read.config == encoder.config
    assert content["config"]["data"] is None
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor), name
    assert path.stat().st_mode & 0o044  # others may read it


@pytest.mark.parametrize("arch", ["conv4", "resnet12"])
def test_exported_weights_are_sealed_however_they_lay_in_memory(arch, write):
    """1x1 kernels have strides of their own where channels lie last."""
    encoder = moved(EncoderConfig(arch, "seq", False, 16, 3)).to(memory_format=torch.channels_last)
    path, _ = write(encoder, "safetensors")
    checkpoint.load_encoder(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with refuses(repr(str(path)), "checksum"):
        checkpoint.load_encoder(path)


def test_a_file_of_other_outputs_is_not_left_behind(write, tmp_path, monkeypatch):
    def wrong(graph, images, about, path):
        path.write_bytes(b"x")
        return lambda images: {name: t + 2e-4 for name, t in graph(images).items()}

    encoder = moved(EncoderConfig("conv4", "seq", False, 16, 3))
    monkeypatch.setitem(export.WRITERS, "onnx", wrong)
    with refuses("x.onnx'", "0.0002", "0.0001", kind=RunError):
        write(encoder, "onnx")
    assert not list((tmp_path / "made").iterdir())


def values(metadata: dict[str, str]) -> dict:
    return {name: json.loads(text) for name, text in metadata.items()}


def read_metadata(path) -> dict:
    if path.suffix == ".onnx":
        import onnx

        return values({p.key: p.value for p in onnx.load(path).metadata_props})
    if path.suffix == ".pt2":
        files = {"metadata.json": ""}
        torch.export.load(path, extra_files=files)
        return values(json.loads(files["metadata.json"]))
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return values(file.metadata())


@pytest.mark.parametrize("to", ["onnx", "safetensors", slow("pt2")])
def test_command_and_metadata(to, quick_run, tmp_path, capsys):
    source, path = quick_run / "model_best.pth.tar", tmp_path / f"out.{to}"
    command = ["export", "--model_path", str(source), "--output", str(path)]
    assert toolkit.main(command) == 0
    assert tells(capsys.readouterr().out, str(path), "features, embedding, logits")
    about = read_metadata(path)
    assert about["checkpoint_sha256"] == checkpoint.sha256(source)
    assert (about["arch"], about["head"], about["classes"]) == ("conv4", "seq", 3)
    assert (about["embedding"], about["features"], about["dataset"]) == (128, 64, "digits")
    assert (about["image_size"], about["crop"], about["mean"]) == (32, None, [0.3054] * 3)
    assert about["resize"] == "both sides to 32"
    assert about["trained_on"] == "coarse"


def test_exported_weights_are_inspected_evaluated_and_exported_again(quick_run, tmp_path, capsys):
    source, path = quick_run / "model_best.pth.tar", tmp_path / "w.safetensors"
    command = ["export", "--model_path", str(source), "--output", str(path)]
    assert toolkit.main([*command, "--image-size", "16"]) == 0
    capsys.readouterr()
    assert toolkit.main(["inspect", str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["dataset"], report["selected_on"]) == ("digits", "validation")
    assert report["ours"]
    scores = []
    for file in (source, path):
        report = tmp_path / "r.json"
        flags = ["--n_test_runs", "3", "--partition", "test", "--image-size", "32"]
        assert toolkit.main(["eval", "--model_path", str(file), "--json", str(report), *flags]) == 0
        scores.append([r["accuracy"] for r in json.loads(report.read_text())["results"]])
    assert scores[0] == scores[1]
    command = ["export", "--model_path", str(path), "--to"]
    refused(toolkit.main, [*command, "safetensors"], capsys, f"--output {str(path)!r}")
    assert toolkit.main([*command, "pt2"]) == 0
    assert read_metadata(tmp_path / "w.pt2")["image_size"] == 16


def test_an_export_tells_what_its_training_started_from_or_eval_asks(tmp_path, monkeypatch, capsys):
    """Without, `--untrained` would be a gain over random weights."""
    monkeypatch.setattr(hub, "fetched", lambda weights: Path(WEIGHTS))
    path, report = tmp_path / "x.safetensors", tmp_path / "r.json"
    export_to = ["--output", str(path), "--dataset", "digits", "--image-size", "32"]
    few = ["--n-shots", "1", "--n-queries", "3", "--n-augmentations", "0", "--n-test-runs", "2"]
    words = ["eval", "--model-path", str(path), "--partition", "test", "--untrained", *few]
    assert toolkit.main(["export", "--model-path", LITE0, *export_to]) == 0
    assert toolkit.main([*words, "--json", str(report)]) == 0
    for result in json.loads(report.read_text())["results"]:
        assert result["untrained"]["gain"] == 0  # its own weights are those it started from
    assert toolkit.main(["export", "--model-path", f"{LITE0}={WEIGHTS}", *export_to]) == 0
    refused(toolkit.main, words, capsys, "--untrained", Path(WEIGHTS).name, "--baseline", LITE0)


def test_a_librarys_backbone_that_cannot_be_exported_so_is_one_line(tmp_path, capsys):
    """Its patches do not divide the image; it has no weights, and the output is there already."""
    torch.save(build_backbone("timm:test_vit").state_dict(), tmp_path / "x.pth")
    vit, output = f"timm:test_vit={tmp_path / 'x.pth'}", str(tmp_path / "x.pt2")
    command = ["export", "--output", output, "--dataset", "digits", "--model-path"]
    refused(toolkit.main, [*command, vit, "--image-size", "100"], capsys, "--image-size 100", "160")
    (tmp_path / "x.pt2").touch()
    refused(toolkit.main, [*command, "timm:mnasnet_050"], capsys, "timm:mnasnet_050", "published")


BAD = {
    "no format": ([], ["--to", "onnx, pt2, safetensors"]),
    "unknown format": (["--to", "tflite"], ["'tflite'", "onnx"]),
    "suffix of another": (["--to", "onnx", "--output", "x.pt2"], ["'x.pt2'", ".onnx"]),
    "suffix of none": (["--output", "x.bin"], ["'x.bin'", "onnx, pt2"]),
    "unknown output": (["--to", "pt2", "--output-layer", "keys"], ["'keys'", "embedding"]),
    "weights of one": (
        ["--to", "safetensors", "--output-layer", "logits"],
        ["--output-layer", "pt2"],
    ),
    "too small": (["--to", "pt2", "--output", "x.pt2", "--image-size", "8"], ["--image-size 8"]),
    "unwritable": (["--output", "/proc/none/x.pt2"], ["/proc/none/x.pt2", "--output"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, quick_run, capsys, monkeypatch, tmp_path):
    flags, words = BAD[name]
    monkeypatch.chdir(tmp_path)
    command = ["export", "--model-path", str(quick_run / "model_best.pth.tar"), *flags]
    refused(toolkit.main, command, capsys, *words)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_one_line(quick_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    command = ["export", "--model-path", str(quick_run / "last.pth.tar"), "--to", "onnx"]
    command += ["--output", str(tmp_path / "x.onnx")]
    words = ["'onnxruntime'", "pip install 'ancor-toolkit[export]'"]
    refused(toolkit.main, command, capsys, *words)
    assert not list(tmp_path.iterdir())


def test_an_output_that_the_head_does_not_give_is_one_line(tmp_path, capsys):
    encoder = moved(EncoderConfig("conv4", BARE))
    torch.save(state_dicts.encoder_state(encoder), tmp_path / "x.pth")
    command = ["export", "--model_path", str(tmp_path / "x.pth"), "--to", "pt2"]
    flags = ["--output-layer", "embedding", "--dataset", "digits"]
    words = ["--output-layer embedding", "'absent'", "features"]
    refused(toolkit.main, [*command, *flags], capsys, *words)
    refused(toolkit.main, command, capsys, "--dataset", "digits")
