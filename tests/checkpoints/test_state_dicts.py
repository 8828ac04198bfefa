"""Files of the paper, MoCo, SwAV and torchvision: recognized by names and shapes, read safely."""

import io
import json
import pickle
import re
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ancor.checkpoints import checkpoint
from ancor.checkpoints.description import describe
from ancor.checkpoints.state_dicts import encoder_state, recognize
from ancor.models.config import BARE, EncoderConfig
from ancor.models.encoder import Encoder
from ancor.safe_io import bounded, weights
from ancor.training.resolve import resolve
from tests.golden_files import FOLDER
from tests.refusals import refuses
from tests.safe_io.test_pickles import FORMS, NAME, payloads

VALUE = 0.01  # small enough for no layer of a deep network to overflow
KEYS = json.loads((FOLDER / "state_dict_keys.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def room_for_models_of_one_number(monkeypatch):
    """What `tensor` makes would be refused as larger than its file."""
    monkeypatch.setattr(bounded, "FLOOR", 2**31)


def tensor(shape) -> torch.Tensor:
    """A tensor of one stored number, so that files of large models are small."""
    return torch.full((), VALUE).expand(shape)


def paper_names(form: str, prefix: str = "module.") -> OrderedDict:
    """All tensors of a whole model as the paper's code saves it: arch/head/queue/mlp or linear."""
    shapes = {
        f"encoder_{which}.{name}": shape
        for which in "qk"
        for name, shape in KEYS["backbones"][form.partition("/")[0]].items()
    } | KEYS["rest"][form]
    return OrderedDict((prefix + name, tensor(shape)) for name, shape in shapes.items())


def paper_file(path, form: str, **options) -> str:
    """Write what the paper's code saves, with optimizer state and accuracies as NumPy floats."""
    names = paper_names(form)
    optimizer = torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=0.03, momentum=0.9)
    content = {
        "epoch": 200,
        "arch": form.partition("/")[0],
        "state_dict": names,
        "best_accs": [np.float64(41.5), np.float32(42.5)],
        "optimizer": optimizer.state_dict(),
    }
    torch.save(content, path, **options)
    return str(path)


@pytest.mark.parametrize("form", KEYS["rest"])
def test_encoder_is_read_from_names_and_shapes(form):
    arch, head, _, mlp = form.split("/")
    found = recognize(paper_names(form), "x")
    twin = {"resnet12forcifar": "resnet12"}.get(arch, arch)
    assert (found.config.arch, found.config.head) == (twin, head)
    assert found.config.mlp == (mlp == "mlp")
    assert found.config.dim == 128
    assert found.config.num_classes == (1 if head == "none" else 17)
    assert (found.missing, found.unexpected) == ((), ())


def test_backbones_without_a_golden_list_are_told_apart():
    for arch in ("conv4", "resnet18", "resnet34", "resnet101"):
        with torch.device("meta"):
            state = encoder_state(Encoder(EncoderConfig(arch, "seq", True, 64, 5)))
        assert recognize(state, "x").config == EncoderConfig(arch, "seq", True, 64, 5)


def test_what_shapes_leave_open_a_flag_decides():
    names = paper_names("resnet12/none/none/linear")
    assert recognize(names, "x").config.head == "none"
    assert recognize(names, "x", "cls").config == EncoderConfig("resnet12", "cls", False, 128, 128)
    with torch.device("meta"):
        state = encoder_state(Encoder(EncoderConfig("conv4", "fork", False, 64, 5)))
    assert recognize(state, "x", "fork").config.head == "fork"
    assert recognize(state, "x").config.head == "seq"


@pytest.mark.parametrize("new_zip", [True, False])
@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_paper_file_is_read(tmp_path, new_zip, core):
    path = tmp_path / "x.pth.tar"
    paper_file(path, "resnet12/seq/multi/mlp", _use_new_zipfile_serialization=new_zip)
    respell(path, core)
    encoder, content = checkpoint.load_encoder(path)
    assert encoder.config == EncoderConfig("resnet12", "seq", True, 128, 17)
    assert all((p == VALUE).all() for p in encoder.parameters())
    assert (content["epoch"], content["config"]["data"]) == (200, None)
    assert weights.load(path)["best_accs"] == [41.5, 42.5]
    with refuses(repr(str(path)), "config"):
        checkpoint.read(path)


def respell(path, core: str) -> None:
    """Give NumPy's core the module name of another version of NumPy."""

    def changed(content: bytes) -> bytes:
        other = {"numpy.core": b"numpy._core", "numpy._core": b"numpy.core"}[core]
        return content.replace(b"c" + other + b".", b"c" + core.encode() + b".")

    if not zipfile.is_zipfile(path):
        path.write_bytes(changed(path.read_bytes()))
        return
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, changed(content) if name.endswith("data.pkl") else content)
    assert core.encode() in b"".join(map(changed, members.values()))


def test_admitted_types_stay_within_the_reading(tmp_path):
    path = paper_file(tmp_path / "x.pth", "resnet12/cls/none/linear")
    weights.load(path)
    with pytest.raises(pickle.UnpicklingError, match=r"numpy.*scalar"):
        torch.load(path, weights_only=True)


def torchvision_state(arch: str) -> dict[str, torch.Tensor]:
    from torchvision import models

    with torch.device("meta"):
        names = getattr(models, arch)().state_dict()
    return {name: tensor(t.shape) for name, t in names.items()}


SWAV = {
    "module.projection_head.0.weight": (2048, 2048),
    "module.projection_head.3.bias": (128,),
    "module.prototypes.weight": (3000, 128),
}


def foreign_files() -> dict[str, tuple[dict, EncoderConfig]]:
    """Contents of other projects' files, and the encoder that each holds."""
    body = {n: t for n, t in torchvision_state("resnet50").items() if not n.startswith("fc.")}
    swav = {"module." + name: t for name, t in body.items()}
    swav |= {name: tensor(shape) for name, shape in SWAV.items()}
    moco = paper_names("resnet50/none/single/mlp")
    bare = EncoderConfig("resnet50", BARE)
    classes = EncoderConfig("resnet18", "cls", False, 128, 1000)
    embedding = EncoderConfig("resnet50", "none", True, 128, 1)
    return {
        "SwAV": (swav, bare),
        "SwAV, training": ({"epoch": 400, "state_dict": swav, "amp": {}}, bare),
        "MoCo v2": ({"epoch": 200, "arch": "resnet50", "state_dict": moco}, embedding),
        "torchvision": (torchvision_state("resnet18"), classes),
        "torchvision, training": ({"model": torchvision_state("resnet18")}, classes),
        "backbone alone": (body, bare),
        "no module.": (paper_names("resnet50/none/single/mlp", ""), embedding),
    }


@pytest.mark.parametrize("kind", list(foreign_files()))
def test_foreign_file_is_read(tmp_path, kind):
    content, config = foreign_files()[kind]
    path = tmp_path / "x.pth"
    torch.save(content, path)
    encoder, read = checkpoint.load_encoder(path)
    assert encoder.config == config
    assert (encoder.backbone.conv1.weight == VALUE).all()
    assert read["config"]["selected_on"] is None


def test_counters_that_old_files_lack_are_not_missed(tmp_path):
    state = {n: t for n, t in torchvision_state("resnet18").items() if "tracked" not in n}
    torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    encoder, _ = checkpoint.load_encoder(tmp_path / "x.pth")
    assert (encoder.backbone.bn1.running_var == VALUE).all()


def safetensors(state: dict[str, torch.Tensor]) -> bytes:
    """The format, from its description."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.int64: "I64"}
    for name, t in state.items():
        raw = t.contiguous().numpy().tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": kinds[t.dtype], "shape": list(t.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_safetensors_is_read(tmp_path):
    encoder = Encoder(EncoderConfig("conv4", "cls", False, 128, 5))
    path = tmp_path / "model.safetensors"
    state = encoder_state(encoder)
    path.write_bytes(safetensors(state))
    read = weights.load(path)
    assert all(
        torch.equal(read[name], t) and read[name].dtype == t.dtype for name, t in state.items()
    )
    assert checkpoint.load_encoder(path)[0].config == encoder.config
    path.write_bytes(safetensors({"half": torch.ones(3, 1).half(), "none": torch.ones(0, 2)}))
    assert [tuple(t.shape) for t in weights.load(path).values()] == [(3, 1), (0, 2)]


def test_safetensors_as_its_own_package_writes_it(tmp_path):
    state = {"a": torch.randn(3, 4), "b": torch.arange(5), "c": torch.randn(2).bfloat16()}
    save_file(state, tmp_path / "x.safetensors")
    read = weights.load(tmp_path / "x.safetensors")
    assert all(torch.equal(read[name], t) for name, t in state.items())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"12345678",
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{",
        safetensors({"a": torch.ones(4)})[:-3],
        safetensors({"a": torch.ones(4)}).replace(b"[4]", b"[9]"),
        safetensors({"a": torch.ones(4)}).replace(b"F32", b"Q32"),
    ],
)
def test_broken_safetensors_is_one_line(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with refuses(repr(str(path))):
        checkpoint.load_encoder(path)


def in_zip(content: bytes) -> bytes:
    """A pickle inside what torch.save writes."""
    buffer = io.BytesIO()
    torch.save({}, buffer)
    out = io.BytesIO()
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            target.writestr(name, content if name.endswith("data.pkl") else source.read(name))
    return out.getvalue()


@pytest.mark.parametrize("wrap", [bytes, in_zip], ids=["bare", "zip"])
@pytest.mark.parametrize("form", FORMS)
def test_crafted_pickle_is_refused_and_not_run(form, wrap, tmp_path):
    path = tmp_path / "model_best.pth.tar"
    path.write_bytes(wrap(payloads(tmp_path / "written")[form]))
    for read in (checkpoint.load_encoder, checkpoint.read, describe):
        with refuses(repr(str(path)), NAME):
            read(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_refusal_names_what_was_asked_for(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(in_zip(payloads(tmp_path / "written")["value of a dict"]))
    with refuses(repr(str(path)), "'posix.system'"):
        checkpoint.load_encoder(path)


@pytest.mark.parametrize("value", [np.datetime64("2020-01-01"), np.int64(3), np.float64(1)])
def test_of_numpy_only_floats_are_admitted(tmp_path, value):
    torch.save({"best_accs": [value]}, tmp_path / "x.pth")
    if isinstance(value, np.floating):
        assert weights.load(tmp_path / "x.pth") == {"best_accs": [1.0]}
    else:
        with refuses("x.pth'", re.compile(r"'[Mi]8'")):
            weights.load(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"config": {"format": 99, "encoder": {}}, "state_dict": {}}, ["format 99", "(1, 2)"]),
        ({"epoch": 3}, ["no weights"]),
        ([1, 2], ["no weights"]),
        ({"some.weight": torch.ones(2)}, ["1 tensors", "'some.weight'", "conv4"]),
        ({n: t for n, t in paper_names("resnet12/cls/none/linear").items() if "layer4" not in n},
         ["resnet12", "20 tensors", "'layer4.0.conv1.weight'"]),
    ],
)  # fmt: skip
def test_other_files_are_refused_in_one_line(tmp_path, content, words):
    torch.save(content, tmp_path / "x.pth")
    with refuses("x.pth'", *words):
        checkpoint.load_encoder(tmp_path / "x.pth")
    with refuses("nowhere.pth'"):
        checkpoint.load_encoder(tmp_path / "nowhere.pth")


def test_description(tmp_path):
    state = paper_names("resnet12/fork/multi/mlp")
    del state["module.encoder_q.layer1.0.conv1.weight"]
    state["module.encoder_q.extra"] = tensor((3,))
    torch.save({"epoch": 7, "state_dict": state}, tmp_path / "x.pth")
    report = describe(tmp_path / "x.pth")
    assert (report["arch"], report["head"], report["mlp"]) == ("resnet12", "fork", True)
    assert (report["dim"], report["num_classes"], report["epoch"]) == (128, 17, 7)
    assert report["missing"] == ["layer1.0.conv1.weight"]
    assert report["unexpected"] == ["extra"]
    assert report["parts"]["queue"] == {"tensors": 1, "bytes": 17 * 128 * 32 * 4}
    assert report["ours"] is False


def test_training_accepts_no_missing_head():
    with refuses("`head` 'absent'", "cls, fork, none, seq"):
        resolve({"dataset": "digits", "mode": "coarse", "head": BARE})
