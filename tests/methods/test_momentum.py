"""What methods with a key encoder and a queue share."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ancor.methods.base import Batch
from ancor.methods.momentum import Momentum
from ancor.methods.registry import METHODS, build_method
from ancor.models.backbones import BACKBONES
from ancor.models.config import EncoderConfig
from tests.methods.test_supcon import Flat
from tests.refusals import one_line, refuses

IMAGES, DIM, LENGTH = 4, 64, 512
KEYED = ("moco", "maskcon", "grafit", "coins-maskcon", "coins")


@pytest.fixture(autouse=True)
def flat(monkeypatch):
    monkeypatch.setitem(BACKBONES, "flat", Flat)


def keyed(name: str, arch: str = "flat") -> Momentum:
    spec = METHODS[name]
    known = {k: v for k, v in spec.training_defaults.items() if k in ("queue", "calculators")}
    config = spec.config(name=name, queue_length=LENGTH, **known)
    return build_method(EncoderConfig(arch, "none", dim=DIM, num_classes=3), config)


def batch(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    views = tuple(torch.randn(2, IMAGES, 3, 2, 2, generator=generator))
    return Batch(views, torch.arange(IMAGES) % 3, torch.arange(IMAGES))


def total(method: Momentum, of: Batch) -> torch.Tensor:
    return sum(term.value for term in method.losses(of).values())


@pytest.mark.parametrize("name", KEYED)
def test_nothing_of_the_key_pass_is_kept_for_the_backward_pass(name):
    method, saved, grown = keyed(name, "conv4"), [], []
    encode = method.key_encoder.forward

    def watched(images):
        before = len(saved)
        output = encode(images)
        grown.append(len(saved) - before)
        return output

    method.key_encoder.forward = watched
    views = tuple(torch.randn(2, IMAGES, 3, 16, 16))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        total(method, batch()._replace(views=views))
    assert grown == [0]
    assert len(saved) > 20  # of the queries' pass


@pytest.mark.parametrize("name", KEYED)
def test_a_step_makes_nothing_of_the_queues_size(name):
    method, made = keyed(name), []
    place = method.queue.queue.untyped_storage().data_ptr()

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            new = isinstance(result, torch.Tensor) and not function.is_view
            if new and result.untyped_storage().data_ptr() != place:  # else written in place
                made.append(result.numel())
            return result

    with Sizes():
        total(method, batch()).backward()
        method.after_step(torch.tensor(True))
    assert len(made) > 20
    assert max(made) < DIM * LENGTH


@pytest.mark.parametrize("name", KEYED)
def test_a_step_that_is_undone_leaves_the_queue(name):
    method = keyed(name)
    kept = {k: t.clone() for k, t in method.queue.state_dict().items()}
    total(method, batch()).backward()
    method.after_step(torch.tensor(False))
    assert all(torch.equal(kept[k], t) for k, t in method.queue.state_dict().items())
    assert method.queue.enqueued.tolist() == [0]
    total(method, batch(1)).backward()
    method.after_step(torch.tensor(True))
    assert method.queue.enqueued.tolist() == [IMAGES]
    expected = method.key_encoder(batch(1).views[1]).embedding
    column = torch.nn.functional.normalize(expected, dim=1)[0]
    torch.testing.assert_close(method.queue.queue[:, 0], column)


@pytest.mark.parametrize("name", KEYED)
def test_only_the_key_encoder_is_not_trained(name):
    """Of the encoder's and what is beside it, each parameter gets a gradient."""
    method = keyed(name)
    total(method, batch()).backward()
    assert all(each.grad is None for each in method.key_encoder.parameters())
    trained = method.parameters_to_train()
    assert trained
    assert all(each.grad is not None and each.grad.any() for each in trained)


def test_a_queue_that_does_not_fit_is_refused():
    with refuses("`queue_length` 512", "cpu"):
        keyed("maskcon").check_memory(1000, torch.device("cpu"))


def test_a_queue_longer_than_the_set_is_told():
    told = list(keyed("grafit").notices([100, 20]))
    one_line("\n".join(told), "512", "120", "`queue_length` auto")
    assert list(keyed("grafit").notices([400, 400])) == []
