"""Names, shapes and outputs of the models against the paper's own code."""

import json

import pytest
import torch

from ancor.checkpoints.state_dicts import encoder_state
from ancor.methods.ancor import Ancor
from ancor.methods.config import AncorConfig
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime.devices import shapes_only
from ancor.training.state import method_state
from tests.golden_files import FOLDER, array, arrays, assert_agrees, fill_

KEYS = json.loads((FOLDER / "state_dict_keys.json").read_text())
INPUTS = {
    "resnet12": ("x84", (2, 3, 84, 84)),
    "resnet12forcifar": ("x32", (2, 3, 32, 32)),
    "resnet50": ("x224", (2, 3, 224, 224)),
}


def our_state(arch: str, head: str, queue: str, mlp: bool) -> dict:
    """Build the model of a golden entry, by the calculator that its parts allow."""
    encoder = EncoderConfig(arch, head, mlp, dim=128, num_classes=17)
    if head == "none" and queue == "none":  # no loss can be computed, so ours has no such method
        query = Encoder(encoder)
        return encoder_state(query, "module.encoder_q.") | encoder_state(
            query.key_encoder(), "module.encoder_k."
        )
    calculator = "cls" if head == "cls" or queue == "none" else "cst_all"
    return method_state(Ancor(encoder, AncorConfig(queue, 32, "norm", (calculator,))))


@pytest.mark.parametrize("entry", KEYS["rest"])
def test_golden_names_and_shapes(entry):
    arch, head, queue, hidden = entry.split("/")
    with shapes_only():
        state = our_state(arch, head, queue, hidden == "mlp")
    expected = {f"module.{name}": shape for name, shape in KEYS["rest"][entry].items()}
    for encoder in ("encoder_q", "encoder_k"):
        for name, shape in KEYS["backbones"][arch].items():
            expected[f"module.{encoder}.{name}"] = shape
    if head == "cls":  # no loss reads a queue there, and ours holds none
        expected.pop("module.queue", None)
        expected.pop("module.queue_ptr", None)
    assert {name: list(tensor.shape) for name, tensor in state.items()} == expected


@pytest.mark.parametrize("head", ["seq", "fork", "cls", "none"])
@pytest.mark.parametrize("arch", INPUTS)
def test_golden_features(arch, head):
    golden = arrays("features")
    encoder = Encoder(EncoderConfig(arch, head, mlp=True, dim=128, num_classes=17)).eval()
    fill_(encoder_state(encoder))
    with torch.no_grad():
        output = encoder(torch.from_numpy(array(*INPUTS[arch])))
    assert_agrees(output.features, golden[f"{arch}/features"], 1e-5)
    if head in ("seq", "fork"):
        assert_agrees(output.embedding, golden[f"{arch}/{head}/embedding"], 1e-5)
        assert_agrees(output.logits, golden[f"{arch}/{head}/class_logits"], 1e-5)
    else:
        only = output.logits if head == "cls" else output.embedding
        assert_agrees(only, golden[f"{arch}/{head}/out"], 1e-5)
