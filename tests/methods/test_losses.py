"""Losses against a naive oracle that forms everything the algebra avoids."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from ancor.methods import losses
from ancor.methods.losses import Contrast, contrastive_logits, contrastive_loss

RINGS, DIM, LENGTH, BATCH = 4, 12, 33, 9


def make_contrast(dtype=torch.float64, metric="angular", seed=0) -> Contrast:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return Contrast(
        query=normal(BATCH, DIM).requires_grad_(),
        key=normal(BATCH, DIM),
        columns=F.normalize(normal(RINGS, DIM, LENGTH), dim=1),
        labels=torch.randint(0, RINGS - 1, (BATCH,), generator=generator),
        class_weight=normal(RINGS, DIM) if metric == "angular" else None,
        temperature=0.2,
    )


def naive_logits(calculator: str, c: Contrast) -> torch.Tensor:
    """Form each logit by the paper's definition, one vector at a time."""

    def metric(v, label):
        v = F.normalize(v, dim=0)
        if c.class_weight is None or calculator == "cst_all":
            return v
        return F.normalize(v - F.normalize(c.class_weight[label], dim=0), dim=0)

    rows = []
    for i, label in enumerate(c.labels.tolist()):
        rings = {
            "cst_by_class": [label],
            "cst_all_by_class": range(RINGS),
            "cst_all": [RINGS - 1],
        }[calculator]
        query = metric(c.query[i], label)
        others = [metric(c.key[i], label)]
        others += [metric(c.columns[r, :, k], r) for r in rings for k in range(LENGTH)]
        rows.append(torch.stack([query @ other for other in others]) / c.temperature)
    return torch.stack(rows)


@pytest.mark.parametrize("block", [1, 40, 1 << 20])
@pytest.mark.parametrize("metric", ["angular", "norm"])
@pytest.mark.parametrize("calculator", losses.CONTRASTIVE)
def test_contrastive_equals_the_naive_form(calculator, metric, block, monkeypatch):
    monkeypatch.setattr(losses, "BLOCK_ELEMENTS", block)
    contrast = make_contrast(metric=metric)
    expected = naive_logits(calculator, contrast)
    torch.testing.assert_close(contrastive_logits(calculator, contrast), expected)
    value = F.cross_entropy(expected, torch.zeros(BATCH, dtype=torch.int64))
    (gradient,) = torch.autograd.grad(value, contrast.query)
    term = contrastive_loss(calculator, contrast)
    (3 * term.value).backward()
    torch.testing.assert_close(term.value, value)
    torch.testing.assert_close(contrast.query.grad, 3 * gradient)
    rank = (expected > expected[:, :1]).sum(1)
    assert term.top1 == (rank < 1).float().mean()
    assert term.top5 == (rank < 5).float().mean()


@pytest.mark.parametrize("distance", [0.2, 0.1, 1e-2, 1e-3, 1e-4, 1e-6])
def test_keys_close_to_their_class_weight_keep_their_angle(distance):
    contrast = make_contrast(torch.float32)
    weight = F.normalize(contrast.class_weight, dim=1)
    near = F.normalize(weight[:, :, None] + distance * contrast.columns[:, :, :11], dim=1)
    columns = contrast.columns.clone()
    columns[:, :, :11] = near
    contrast = contrast._replace(columns=columns)
    ours = contrastive_logits("cst_by_class", contrast)
    # The very numbers that are stored, but in fp64: a naive form in fp32 is no oracle.
    wide = contrast._replace(
        query=contrast.query.double(),
        key=contrast.key.double(),
        columns=columns.double(),
        class_weight=weight.double(),
    )
    expected = naive_logits("cst_by_class", wide)
    # The weight is put on the sphere in fp32, to 1e-7: from this near, that much over distance.
    assert (ours - expected).abs().max() * contrast.temperature < 3e-5 + 3e-7 / distance


def test_keys_equal_to_their_class_weight_leave_everything_finite():
    contrast = make_contrast(torch.float32)
    weight = F.normalize(contrast.class_weight, dim=1)
    contrast = contrast._replace(columns=weight[:, :, None].expand(-1, -1, LENGTH).clone())
    term = contrastive_loss("cst_by_class", contrast)
    term.value.backward()
    assert term.value.isfinite()
    assert contrast.query.grad.isfinite().all()


class Elsewhere(torch.Tensor):
    """A tensor that says that it lies on a GPU."""

    device = torch.device("cuda")


def test_accelerators_recompute_close_keys_without_counting_them():
    contrast = make_contrast(torch.float32)
    weight = F.normalize(contrast.class_weight, dim=1)
    columns = contrast.columns.clone()
    columns[:, :, 3:8] = F.normalize(weight[:, :, None] + 1e-4 * columns[:, :, 3:8], dim=1)
    plain = contrast._replace(columns=columns)
    there = contrast._replace(columns=columns.as_subclass(Elsewhere))
    here, fixed = (contrastive_logits("cst_by_class", each) for each in (plain, there))
    torch.testing.assert_close(fixed.as_subclass(torch.Tensor), here)


def test_unfilled_columns_count_for_nothing():
    contrast = make_contrast()
    filled = torch.tensor([0, 5, LENGTH, 1])
    loss = contrastive_loss("cst_by_class", contrast._replace(filled=filled))
    logits = naive_logits("cst_by_class", contrast)
    kept = [row[: 1 + filled[label]] for row, label in zip(logits, contrast.labels, strict=True)]
    expected = torch.stack([torch.logsumexp(row, 0) - row[0] for row in kept]).mean()
    torch.testing.assert_close(loss.value, expected)
    loss.value.backward()
    assert contrast.query.grad.isfinite().all()


def test_no_gradient_reaches_keys_or_class_weights():
    contrast = make_contrast()
    contrast.key.requires_grad_()
    contrast.class_weight.requires_grad_()
    contrastive_loss("cst_all_by_class", contrast).value.backward()
    assert contrast.key.grad is None
    assert contrast.class_weight.grad is None


def test_no_tensor_of_the_queues_size_is_made(monkeypatch):
    """Neither a copy of the queue nor all logits at once."""
    made = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and not function.is_view:
                made.append(result.numel())
            return result

    monkeypatch.setattr(losses, "BLOCK_ELEMENTS", 2 * (LENGTH + 1))
    contrast = make_contrast(torch.float32)
    with Sizes():
        contrastive_loss("cst_by_class", contrast).value.backward()
    assert len(made) > 20
    assert max(made) < DIM * LENGTH  # one ring alone has as many elements


def test_cosine_loss_is_minus_one_for_parallel_vectors():
    vectors = torch.randn(5, 3)
    assert losses.cosine(vectors, 2 * vectors).item() == pytest.approx(-1)
