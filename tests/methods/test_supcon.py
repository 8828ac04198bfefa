"""SupCon and SimCLR: against their authors' numbers, and what no number of theirs shows."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ancor.methods.base import Batch
from ancor.methods.contrastive_config import SimCLRConfig, SupConConfig
from ancor.methods.supcon import SimCLR, SupCon, supervised_contrast
from ancor.models.backbones import BACKBONES
from ancor.models.config import EncoderConfig
from ancor.training.config import TrainConfig
from ancor.training.schedules import supcontrast_rate
from tests.golden_files import assert_agrees
from tests.golden_methods import agrees, arrays, tensor
from tests.refusals import refuses

# case: (input, labels or mask, T, base, anchors)
CASES = {
    "all_T0.07": ("raw", "labels", 0.07, 0.07, "all"),
    "all_T0.1": ("raw", "labels", 0.1, 0.07, "all"),
    "all_T0.5": ("raw", "labels", 0.5, 0.07, "all"),
    "all_T0.1_base0.1": ("raw", "labels", 0.1, 0.1, "all"),
    "one_T0.1": ("raw", "labels", 0.1, 0.07, "one"),
    "simclr_T0.5": ("raw", None, 0.5, 0.07, "all"),
    "simclr_one_T0.5": ("raw", None, 0.5, 0.07, "one"),
    "views3_T0.1": ("raw3", "labels", 0.1, 0.07, "all"),
    "mask_T0.1": ("raw", "mask", 0.1, 0.07, "all"),
    "lone_T0.1": ("raw", "labels_lone", 0.1, 0.07, "all"),
    "views1_lone_T0.1": ("raw1", "labels_lone", 0.1, 0.07, "all"),
}


def positives(name: str | None) -> torch.Tensor:
    if name is None:
        return torch.eye(len(arrays("supcon")["labels"]))
    given = tensor("supcon", name)
    return given if given.ndim == 2 else given[:, None] == given


def test_the_cases_are_all_that_the_file_has():
    found = {name.split("/")[0] for name in arrays("supcon") if name.endswith("/loss")}
    assert found == {*CASES, "unnormalised_T2"}


@pytest.mark.parametrize("case", CASES)
def test_golden_loss(case):
    source, named, temperature, base, anchors = CASES[case]
    raw = tensor("supcon", source).requires_grad_()
    features = raw / raw.norm(dim=2, keepdim=True)
    features.retain_grad()
    value = supervised_contrast(features, positives(named), temperature, base, anchors=anchors)
    value.backward()
    agrees(value, "supcon", f"{case}/loss")
    agrees(features.grad, "supcon", f"{case}/grad_features")
    agrees(raw.grad, "supcon", f"{case}/grad_raw")


def test_golden_loss_of_what_is_not_normalized():
    raw = tensor("supcon", "raw").requires_grad_()
    value = supervised_contrast(raw, positives("labels"), 2.0, 0.07)
    value.backward()
    agrees(value, "supcon", "unnormalised_T2/loss")
    agrees(raw.grad, "supcon", "unnormalised_T2/grad_raw")


def test_golden_rates():
    lr, gamma, epochs, warmup, start, batches = arrays("supcon")["lr/config"].tolist()
    epochs, warmup, batches = int(epochs), int(warmup), int(batches)
    milestones = (14, 16, 18)
    forms = {"step": (milestones, 0), "cosine": (None, 0), "cosine_warm": (None, warmup)}
    for name, (schedule, warm) in forms.items():
        rates = [
            supcontrast_rate(lr, step, batches, epochs, schedule, gamma, warm, start)
            for step in range(epochs * batches)
        ]
        assert_agrees(rates, arrays("supcon")[f"lr/{name}"], 1e-12)
        config = TrainConfig(
            lr=lr, gamma=gamma, epochs=epochs, schedule=milestones, cos=schedule is None,
            warmup_epochs=float(warm), rates="supcontrast",
        )  # fmt: skip
        of_loop = [
            config.rate(epoch, batch, batches)
            for epoch in range(epochs)
            for batch in range(batches)
        ]
        if start == 0.01 or not warm:
            assert of_loop == rates


def test_alike_features_give_the_log_of_the_other_views():
    """Each of 2N - 1 others is as likely; the factor T / base is beside it."""
    features = torch.ones(5, 2, 3, dtype=torch.float64) / 3**0.5
    value = supervised_contrast(features, torch.ones(5, 5), 0.3, 0.3)
    assert value.item() == pytest.approx(torch.tensor(9.0).log().item(), rel=1e-6)
    halved = supervised_contrast(features, torch.ones(5, 5), 0.3, 0.6)
    assert halved.item() == pytest.approx(value.item() / 2)


@pytest.mark.parametrize("anchors", ["all", "one"])
def test_rows_of_a_batch_make_up_its_loss(anchors):
    """What a process computes of its own images, averaged, is the loss of one that has all."""
    generator = torch.Generator().manual_seed(1)
    features = F.normalize(torch.randn(7, 3, 5, generator=generator, dtype=torch.float64), dim=2)
    same = torch.tensor([0, 1, 0, 2, 1, 0, 3])
    same = same[:, None] == same
    whole = supervised_contrast(features, same, 0.2, 0.07, anchors=anchors)
    parts = [
        len(range(7)[rows]) / 7 * supervised_contrast(features, same, 0.2, 0.07, rows, anchors)
        for rows in (slice(0, 3), slice(3, 7))
    ]
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-12)


class Flat(nn.Module):
    out_features = 12

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


@pytest.mark.parametrize("kind", [SupCon, SimCLR])
def test_a_method_passes_both_views_at_once_and_knows_whose_they_are(kind, monkeypatch):
    """View by view: in the order of the images a view's partner would be another image's."""
    monkeypatch.setitem(BACKBONES, "flat", Flat)
    config = {SupCon: SupConConfig(name="supcon"), SimCLR: SimCLRConfig(name="simclr")}[kind]
    method = kind(EncoderConfig("flat", "none", dim=4), config).double()
    generator = torch.Generator().manual_seed(2)
    views = tuple(torch.randn(2, 6, 3, 2, 2, generator=generator).double())
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    ((name, term),) = method.losses(Batch(views, labels, torch.arange(6))).items()
    vectors = [F.normalize(method.encode(view).embedding, dim=1) for view in views]
    expected, of_label = 0.0, kind is SupCon
    for image in range(6):
        for view in range(2):
            anchor = vectors[view][image]
            others = [(i, v) for v in range(2) for i in range(6) if (i, v) != (image, view)]
            scores = torch.stack([anchor @ vectors[v][i] for i, v in others]) / config.temperature
            logs = scores.log_softmax(0)
            same = [labels[i] == labels[image] if of_label else i == image for i, _ in others]
            expected += logs[torch.tensor(same)].mean() / 12
    expected *= -config.temperature / config.base_temperature
    assert name == config.name
    torch.testing.assert_close(term.value, expected)
    assert (term.top1, term.top5) == (None, None)


def test_a_head_with_a_classifier_is_refused():
    with refuses("supcon", "`head` seq", "`head` none"):
        SupConConfig(name="supcon").check("seq")
