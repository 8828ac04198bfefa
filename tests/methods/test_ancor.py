"""The method's parts, and which combinations of them have a meaning."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from ancor.methods.ancor import Ancor
from ancor.methods.base import Batch
from ancor.methods.config import AncorConfig
from ancor.methods.queues import ClassQueues, LabeledQueue, SingleQueue
from ancor.models.config import EncoderConfig
from tests.refusals import refuses

ENCODER = EncoderConfig("conv4", "seq", mlp=True, dim=6, num_classes=3)
CONFIG = AncorConfig(queue_length=10, encoder_momentum=0.5)


def make_batch(size: int = 5, views: int = 2) -> Batch:
    torch.manual_seed(0)
    images = tuple(torch.randn(size, 3, 16, 16) for _ in range(views))
    return Batch(images, torch.arange(size) % 3, torch.arange(size))


MEANINGLESS = {
    "by_class + angular + fork": ("fork", {}, ["cst_by_class", "angular", "fork", "`metric`"]),
    "all_by_class + angular + none": (
        "none",
        {"calculators": ("cst_all_by_class",)},
        ["cst_all_by_class", "`head` none", "`metric` norm"],
    ),
    "contrast + head cls": ("cls", {"calculators": ("cst_all",)}, ["cst_all", "`head` cls"]),
    "cls + head none": ("none", {"metric": "norm"}, ["cls", "`head` none"]),
    "contrast + no queue": ("seq", {"queue": "none"}, ["`queue` none", "cst_by_class"]),
    "by_class + single": ("seq", {"queue": "single"}, ["cst_by_class", "`queue` multi"]),
    "unequal weights": ("seq", {"loss_weights": (1.0,)}, ["`loss_weights` 1.0"]),
    "no weight": ("seq", {"loss_weights": (1.0, 0.0)}, ["`loss_weights` 1.0 0.0"]),
    "twice": ("seq", {"calculators": ("cls", "cls")}, ["`calculators` cls cls"]),
    "none at all": ("seq", {"calculators": ()}, ["`calculators`"]),
    "unknown": ("seq", {"metric": "cosine"}, ["'cosine'", "angular, norm"]),
}


@pytest.mark.parametrize("name", MEANINGLESS)
def test_meaningless_combinations_are_refused_by_name(name):
    head, changes, words = MEANINGLESS[name]
    with refuses(*words):
        replace(CONFIG, **changes).check(head)


@pytest.mark.parametrize("head", ["fork", "none"])
def test_cst_all_never_uses_the_metric_so_angular_is_no_error(head):
    calculators = ("cst_all",) if head == "none" else ("cls", "cst_all")
    replace(CONFIG, calculators=calculators).check(head)


def test_without_keys_there_is_no_key_encoder_and_no_queue():
    config = AncorConfig(calculators=("cls",))
    method = Ancor(replace(ENCODER, head="cls"), config)
    assert method.key_encoder is None
    assert method.queue is None
    assert len(method.views) == 1
    assert set(method.losses(make_batch(views=1))) == {"cls"}


def test_key_encoder_moves_once_a_step_before_the_keys_by_the_weights_before_the_step():
    method = Ancor(ENCODER, CONFIG)
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in method.key_encoder.shared_parameters()]
    query = [p.clone() for p in method.encoder.shared_parameters()]
    method.losses(make_batch())
    method.losses(make_batch())  # a second part of the same step
    for old, new, target in zip(before, method.key_encoder.shared_parameters(), query, strict=True):
        torch.testing.assert_close(new, (old + target) / 2)
    method.after_step()
    assert method.queue.enqueued.tolist() == [4, 4, 2]
    method.losses(make_batch())
    torch.testing.assert_close(
        method.key_encoder.shared_parameters()[0], before[0] / 4 + 3 * query[0] / 4
    )


def test_key_encoder_runs_on_its_own_batch_statistics():
    method = Ancor(ENCODER, CONFIG).train()
    method.losses(make_batch())
    ours, theirs = (
        dict(encoder.named_buffers()) for encoder in (method.encoder, method.key_encoder)
    )
    name = "backbone.layer1.1.running_mean"
    assert not torch.equal(ours[name], theirs[name])
    assert not torch.equal(theirs[name], torch.zeros_like(theirs[name]))


def test_keys_enter_the_queue_after_the_step_only():
    method = Ancor(ENCODER, CONFIG)
    before = method.queue.queue.clone()
    method.losses(make_batch())
    assert torch.equal(method.queue.queue, before)
    method.after_step()
    assert not torch.equal(method.queue.queue, before)


def test_losses_train_the_query_encoder_only():
    method = Ancor(ENCODER, CONFIG)
    sum(term.value for term in method.losses(make_batch()).values()).backward()
    assert all(p.grad is not None for p in method.encoder.parameters())
    assert all(p.grad is None for p in method.key_encoder.parameters())


@pytest.mark.parametrize("count", [3, 7, 23])
def test_queues_hold_the_last_keys_even_of_one_overfull_batch(count):
    length, dim = 7, 4
    torch.manual_seed(count)
    single, multi = SingleQueue(dim, length), ClassQueues(2, dim, length)
    history: dict[int, list] = {0: [], 1: []}
    everything = []
    for _ in range(5):
        keys, labels = torch.randn(count, dim), torch.randint(0, 2, (count,))
        single.enqueue(keys, labels)
        multi.enqueue(keys, labels)
        for key, label in zip(F.normalize(keys, dim=1), labels.tolist(), strict=True):
            everything.append(key)
            history[label].append(key)
    for ring, pointer, keys in (
        (single.queue, single.queue_ptr[0], everything),
        *((multi.queue[c], multi.queue_ptr[c], history[c]) for c in (0, 1)),
    ):
        assert pointer == len(keys) % length
        for age in range(min(length, len(keys))):
            column = (len(keys) - 1 - age) % length
            torch.testing.assert_close(ring[:, column], keys[-1 - age])


def test_queue_starts_with_unit_directions():
    norms = ClassQueues(3, 5, 8).queue.norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(3, 8))


@pytest.mark.parametrize("make", [SingleQueue, LabeledQueue, partial(ClassQueues, 3)])
def test_keys_of_a_narrow_precision_are_stored_at_unit_length(make):
    """As autocast gives them; nothing that reads fp32 columns normalizes them again."""
    queue = make(64, 8)
    keys = 7 * torch.randn(24, 64).bfloat16()
    queue.enqueue(keys, torch.arange(24) % 3)
    norms = queue.rings().norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-6, atol=0)


def test_each_loss_counts_with_its_weight():
    torch.manual_seed(0)
    method = Ancor(ENCODER, CONFIG)
    state, batch = method.state_dict(), make_batch()
    plain = method.losses(batch)
    weighted = Ancor(ENCODER, replace(CONFIG, loss_weights=(2.0, 0.25)))
    weighted.load_state_dict(state)
    found = weighted.losses(batch)
    for name, weight in (("cls", 2.0), ("cst_by_class", 0.25)):
        assert torch.equal(found[name].value, weight * plain[name].value)
        assert torch.equal(found[name].top1, plain[name].top1)
    assert "cls x 2, cst_by_class x 0.25;" in dict(weighted.describe())["Losses"]
