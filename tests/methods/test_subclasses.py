"""Subclasses: probabilities and their balanced assignment, against SCGM's authors and loops."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ancor.methods.subclasses import (
    Subclasses,
    class_given_subclass,
    class_probabilities,
    log_joint,
    sinkhorn,
)
from ancor.methods.whole_set_config import SubclassConfig
from tests.golden_files import assert_agrees
from tests.golden_methods import arrays
from tests.refusals import refuses

POWERS = sorted(
    {key.split("/")[1] for key in arrays("scgm") if key.startswith("sinkhorn/lmd=")}
)  # lmd=1.0, ...


def unit(name: str) -> torch.Tensor:
    return F.normalize(torch.from_numpy(arrays("scgm")[name]), dim=1)


def test_golden_probabilities():
    golden = arrays("scgm")
    x, classes, means, tau = *map(unit, ("embedding", "mu_y", "mu_z")), float(golden["tau"])
    labels = torch.from_numpy(golden["labels"])
    joint = log_joint(x, labels, classes, means, tau).exp()
    given = class_given_subclass(classes, means).exp()
    assert_agrees(joint, golden["estep/joint"], 1e-9)
    assert_agrees(given[:, labels].T, golden["estep/p_y_given_z"], 1e-9)
    assert_agrees(joint / given[:, labels].T, golden["estep/p_z_given_x"], 1e-9)
    assert_agrees(given, golden["pred/p_y_given_z"], 1e-9)
    assert_agrees(golden["pred/p_z_given_x"], golden["estep/p_z_given_x"], 1e-9)
    predicted = class_probabilities(x, classes, means, tau)
    assert_agrees(predicted, golden["pred/p_y_given_x"], 1e-9)


@pytest.mark.parametrize("power", POWERS)
def test_golden_sinkhorn(power):
    golden = arrays("scgm")
    found = sinkhorn(torch.from_numpy(golden["sinkhorn/prob"]).log(), float(power[4:]))
    wanted = {key: golden[f"sinkhorn/{power}/{key}"] for key in
              ("q", "argmax", "iterations", "error", "r", "c")}  # fmt: skip
    assert found.iterations == wanted["iterations"]
    assert found.transport.argmax(1).tolist() == wanted["argmax"].tolist()
    assert_agrees(found.transport, wanted["q"], 1e-9)
    assert_agrees(found.subclass_factors, wanted["r"], 1e-9)
    assert_agrees(found.image_factors, wanted["c"], 1e-9)
    assert abs(found.error - wanted["error"]) <= 1e-9


def drawn(images: int, subclasses: int, width: float) -> torch.Tensor:
    torch.manual_seed(images)
    return (width * torch.randn(images, subclasses, dtype=torch.float64)).log_softmax(1)


def test_sinkhorn_is_its_plain_iteration():
    """Without scaling, as the authors have it; where nothing underflows."""
    joint, power = drawn(50, 6, 0.7), 3.0
    found = sinkhorn(joint, power)
    p = (joint * power).exp().numpy()
    c = np.full(50, 1 / 50)
    for _ in range(found.iterations):
        r = 1 / 6 / (p.T @ c)
        c = 1 / 50 / (p @ r)
    assert_agrees(found.transport, c[:, None] * p * r, 1e-12)
    assert_agrees(found.image_factors, c, 1e-12)
    np.testing.assert_allclose(found.transport.sum(1), 1 / 50)
    np.testing.assert_allclose(found.transport.sum(0), 1 / 6, rtol=0.1)


def test_subclasses_are_of_one_size_where_probabilities_underflow():
    """A subclass that all images shun got none of them, as 0/0."""
    joint = drawn(60, 4, 1.0)
    joint[:, 3] -= 40  # e^-1000 at the power 25
    found = sinkhorn(joint, 25.0)
    assert found.transport.isfinite().all()
    sizes = torch.bincount(found.transport.argmax(1), minlength=4)
    assert sizes.min() >= 12


def test_sinkhorn_ends_where_it_cannot_converge(monkeypatch):
    """Images that a power makes certain cannot be spread, and the iteration has no end."""
    joint = torch.full((10, 2), -1000.0, dtype=torch.float64)
    joint[:, 0] = 0
    joint[0] = torch.tensor([-1000.0, 0.0])
    monkeypatch.setattr("ancor.methods.subclasses.MOST_ITERATIONS", 500)
    found = sinkhorn(joint, 25.0)
    assert found.iterations <= 500
    assert found.transport.argmax(1).tolist() == [1] + [0] * 9


class Noted:
    """A training set that notes for what it was passed, and drops two images."""

    def __init__(self) -> None:
        self.passes: list[tuple[str, int]] = []

    def another_pass(self, purpose: str, number: int):
        from ancor.methods.base import Batch

        self.passes.append((purpose, number))
        for start in (0, 4):
            indices = torch.arange(start, start + 4)
            yield Batch((torch.eye(10)[indices][:, :6] + 0.1,), indices % 2, indices)


def test_images_are_assigned_every_few_epochs_and_dropped_ones_to_none():
    config = SubclassConfig(num_subclasses=3, assign_every=3)
    found = Subclasses(2, 6, config, torch.zeros(10))
    batches = Noted()

    def encode(images: torch.Tensor):
        from ancor.models.encoder import EncoderOutput

        return EncoderOutput(images, images, None)

    for epoch in (1, 2, 3, 4, 6):  # the first begins late: it assigns, as none is assigned yet
        found.before_epoch(epoch, batches, encode)
        assert (found.assigned[:8] >= 0).all()
        assert (found.assigned[8:] == -1).all()
    assert batches.passes == [("E step", epoch) for epoch in (1, 3, 6)]
    assert found.of(torch.tensor([9, 0])).tolist() == [-1, found.assigned[0]]


def test_means_start_within_glorots_bound():
    found = Subclasses(4, 20, SubclassConfig(num_subclasses=50), torch.zeros(1))
    for means, rows in ((found.class_means, 4), (found.means, 50)):
        bound = (6 / (rows + 20)) ** 0.5
        assert 0.9 * bound < means.abs().max() <= bound


@pytest.mark.parametrize("value", [-2, 3])
def test_what_a_file_cannot_have_assigned_is_refused(value):
    found = Subclasses(2, 6, SubclassConfig(num_subclasses=3), torch.zeros(4))
    found.check_assigned()
    found.assigned[1] = value
    with refuses(kind=ValueError):
        found.check_assigned()


def test_fewer_subclasses_than_classes_are_refused():
    with refuses("`num_subclasses` 2", "3"):
        SubclassConfig(num_subclasses=2).resolved([5, 5, 5], 4)
