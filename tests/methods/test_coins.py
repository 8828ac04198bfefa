"""CoIns against its own authors' numbers."""

import pytest
import torch
from torch.nn import functional as F

from ancor.methods.base import Batch
from ancor.methods.coins import Coins
from ancor.methods.contrastive_config import CoinsConfig
from ancor.methods.losses import Contrast, contrastive_logits
from ancor.models.backbones import BACKBONES
from ancor.models.config import EncoderConfig
from ancor.models.encoder import EncoderOutput
from tests.golden_methods import agrees, arrays, drawn, fill_, tensor
from tests.methods.test_supcon import Flat


def cases() -> list[str]:
    return [name.removesuffix("/loss") for name in arrays("coins") if name.endswith("/loss")]


def settings_of(case: str) -> tuple[float, float]:
    return tuple(float(part.partition("=")[2]) for part in case.split("_"))


@pytest.mark.parametrize("case", cases())
def test_golden_loss(case, monkeypatch):
    monkeypatch.setitem(BACKBONES, "flat", Flat)
    temperature, weight = settings_of(case)
    (dim, length), classes = arrays("coins")["queue"].shape, arrays("coins")["centres"].shape[1]
    config = CoinsConfig(temperature=temperature, coarse_weight=weight, queue_length=length)
    method = Coins(EncoderConfig("flat", "none", dim=dim, num_classes=classes), config).double()
    method.queue.queue.copy_(tensor("coins", "queue"))
    method.centers.data.copy_(tensor("coins", "centres"))
    query, key = tensor("coins", "q_raw").requires_grad_(), tensor("coins", "k_raw")
    method.encoder.forward = lambda images: EncoderOutput(query, query, None)
    method.key_encoder.forward = lambda images: EncoderOutput(key, key, None)
    labels = tensor("coins", "labels")
    terms = method.losses(Batch((torch.empty(0),) * 2, labels, labels))
    sum(term.value for term in terms.values()).backward()
    agrees(terms["moco"].value, "coins", f"{case}/moco")
    agrees(terms["coarse"].value / weight, "coins", f"{case}/coarse")
    agrees(sum(term.value for term in terms.values()), "coins", f"{case}/loss")
    agrees(query.grad, "coins", f"{case}/grad_q_raw")
    agrees(method.centers.grad, "coins", f"{case}/grad_centres")
    columns = method.queue.rings()
    contrast = Contrast(query, key, columns, labels, None, temperature)
    agrees(contrastive_logits("cst_all", contrast), "coins", f"{case}/moco_logits")
    cosines = F.normalize(query, dim=1) @ F.normalize(method.centers, dim=0)
    agrees(cosines / temperature, "coins", f"{case}/coarse_logits")
    method.after_step()
    agrees(method.queue.queue, "coins", f"{case}/queue_after")
    assert method.queue.queue_ptr.tolist() == arrays("coins")[f"{case}/ptr"].tolist()


def test_golden_trace():
    steps, images, dim, length, classes, pixels = arrays("coins")["trace/config"].tolist()
    momentum, temperature, weight, lr, of_sgd, decay = arrays("coins")["trace/hyper"].tolist()
    config = CoinsConfig(
        temperature=temperature,
        coarse_weight=weight,
        encoder_momentum=momentum,
        queue_length=length,
    )
    method = Coins(EncoderConfig("resnet18", "none", True, dim, classes), config)
    fill_("coins", named(method.encoder))
    method.key_encoder.load_state_dict(method.encoder.state_dict())
    method.double().train()
    method.queue.queue.copy_(tensor("coins", "trace/queue0"))
    method.centers.data.copy_(tensor("coins", "trace/centres0"))
    optimizer = torch.optim.SGD(method.parameters_to_train(), lr, of_sgd, weight_decay=decay)
    losses = []
    for step in range(steps):
        shape = (images, 3, pixels, pixels)
        views = tuple(drawn("coins", f"x{which}{step}", shape) for which in "qk")
        labels = tensor("coins", f"trace/y{step}")
        terms = method.losses(Batch(views, labels, labels))
        total = sum(term.value for term in terms.values())
        rows = [total, terms["moco"].value, terms["coarse"].value / weight]
        losses.append(torch.stack(rows).detach())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        method.after_step()
        agrees(method.queue.queue, "coins", f"trace/queue{step + 1}")
    agrees(torch.stack(losses), "coins", "trace/losses")
    agrees(method.centers, "coins", "trace/centres_after")
    encoders = {"encoder_q": method.encoder, "encoder_k": method.key_encoder}
    slices = [name for name in arrays("coins") if name.startswith("trace/encoder_")]
    assert slices
    for name in slices:
        encoder, _, inside = name.removeprefix("trace/").partition(".")
        ours = named(encoders[encoder])[inside.removesuffix("[:8]")].flatten()[:8]
        agrees(ours, "coins", name)


def named(encoder) -> dict[str, torch.Tensor]:
    """Return an encoder's tensors by the names of the published code."""
    head = {f"fc.{name}": t for name, t in encoder.head.state_dict().items()}
    return {**encoder.backbone.state_dict(), **head}
