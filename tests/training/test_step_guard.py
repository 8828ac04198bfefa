"""A step in which something is not finite leaves no trace."""

import copy
import math
from itertools import product

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ancor.cli.train import main
from ancor.methods.ancor import Ancor
from ancor.methods.base import Batch
from ancor.methods.config import AncorConfig
from ancor.models.config import EncoderConfig
from ancor.training import trainer
from ancor.training.config import TrainConfig
from ancor.training.metrics import Meter
from ancor.training.state import restore, trainer_state
from ancor.training.step_guard import StepGuard
from ancor.training.trainer import Trainer
from tests.cases import slow
from tests.conftest import SMALL
from tests.refusals import refused
from tests.training.steps import at_each_step


class Batches:
    batch_size, device = 8, torch.device("cpu")


def batch(seed: int, value: float | None = None) -> Batch:
    """Make a batch; with a value, one pixel of one view has it."""
    views = torch.randn(2, 8, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    if value is not None:
        views[seed % 2, 3, 0, 0, 0] = value
    return Batch(tuple(views), torch.arange(8) % 3, torch.arange(8))


def everything(trainer: Trainer) -> dict[str, torch.Tensor]:
    state = {f"module {n}": t for n, t in trainer.method.state_dict().items()}
    state |= {f"buffer {n}": t for n, t in trainer.method.named_buffers()}
    for number, own in enumerate(trainer.optimizer.state.values()):
        state |= {f"optimizer {number} {n}": t for n, t in own.items() if torch.is_tensor(t)}
    return copy.deepcopy(state)


# By a small network all pairs; by the large one, whose DropBlock counts, each value once.
CASES = [("conv4", *case) for case in product((math.nan, math.inf), (0, 1), (1, 2))]
CASES += [slow("resnet12forcifar", math.nan, 0, 1), ("resnet12forcifar", math.inf, 1, 2)]


@pytest.mark.parametrize(("arch", "value", "seed", "accumulate"), CASES)
def test_a_step_that_is_not_finite_changes_nothing(arch, value, seed, accumulate):
    torch.manual_seed(0)
    config = AncorConfig(queue_length=16, encoder_momentum=0.5)
    method = Ancor(EncoderConfig(arch, "seq", True, 6, 3), config)
    method.to(memory_format=torch.channels_last).train()
    method.prepare(torch.device("cpu"))
    trainer = Trainer(method, Batches(), TrainConfig(accumulate=accumulate), None, None, None)
    meter = Meter()
    for step in (10, 12):
        trainer.step(batch(step), meter)
    before = everything(trainer)
    trainer.step(batch(seed, value), meter)
    after = everything(trainer)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name
    trainer.step(batch(14), meter)
    assert not torch.equal(everything(trainer)["module queue.queue"], before["module queue.queue"])
    figures, (failure,) = meter.read()
    assert failure.place == 2
    assert failure.name in ("loss cls", "loss cst_by_class")
    assert all(torch.tensor(value).isfinite() for value in figures.values())


def small_trainer(**settings) -> Trainer:
    torch.manual_seed(0)
    config = AncorConfig(queue_length=16, encoder_momentum=0.5)
    method = Ancor(EncoderConfig("conv4", "seq", True, 6, 3), config).train()
    method.prepare(torch.device("cpu"))
    return Trainer(method, Batches(), TrainConfig(**settings), None, None, None)


@pytest.fixture
def unset_is_nan():
    """Memory that nothing has written is filled with NaN, as torch does where it is asked to."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_first_step_that_is_undone_is_as_if_it_had_not_been(optimizer, scaled, unset_is_nan):
    """SGD's momentum was what happened to be in memory: the fused kernel had not set it."""
    tried, untried = (small_trainer(optimizer=optimizer, lr=0.01) for _ in range(2))
    for each in (tried, untried) if scaled else ():
        each.scaler = torch.GradScaler("cpu", init_scale=1024.0)
    tried.step(batch(0, math.nan), Meter())
    for state in tried.optimizer.state.values():
        assert not any(torch.count_nonzero(tensor) for tensor in state.values())
    for number in (10, 12):
        for each in (tried, untried):
            each.step(batch(number), Meter())
    ours, theirs = everything(tried), everything(untried)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_momenta_that_a_file_does_not_tell_begin_with_zeros():
    """A file of a run without momentum, whose next part has some."""
    content = {**trainer_state(small_trainer(momentum=0.0)), "epoch": 0, "best_accs": [0.0]}
    assert content["optimizer"]["state"] == {}
    resumed = small_trainer(momentum=0.9)
    restore(resumed, content)
    momenta = [state["momentum_buffer"] for state in resumed.optimizer.state.values()]
    assert len(momenta) == len(resumed.method.parameters_to_train())
    assert not any(torch.count_nonzero(momentum) for momentum in momenta)


def test_a_guard_puts_back_without_looking_too():
    layout = torch.channels_last
    tensors = [torch.randn(4, 3, 2, 2).to(memory_format=layout), torch.arange(5), torch.randn(2)]
    before = [tensor.clone() for tensor in tensors]
    for device_cannot_look in (False, True):
        for good in (True, False):
            guard = StepGuard(tensors)
            guard.remember()
            for tensor in tensors:
                tensor.mul_(3).add_(1)
            tensors[0][0, 0] = float("nan")
            verdict = torch.tensor(good)
            if device_cannot_look:  # as on a GPU
                verdict = Elsewhere(verdict)
            guard.settle(verdict)
            for tensor, kept in zip(tensors, before, strict=True):
                assert torch.equal(tensor, kept) != good
                tensor.copy_(kept)


class Elsewhere:
    """A truth value that says that it lies on a GPU, and cannot be asked."""

    device = torch.device("cuda")

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    def __bool__(self) -> bool:
        raise AssertionError("the device was asked")

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        plain = [a.value if isinstance(a, cls) else a for a in args]
        return function(*plain, **(kwargs or {}))


def poisoned(monkeypatch, steps: set[int]) -> None:
    """Have some steps of every run see an image that is not a number."""

    def poison(step: int, given: Batch) -> Batch | None:
        views = tuple(view * float("nan") for view in given.views)
        return given._replace(views=views) if step in steps else None

    at_each_step(monkeypatch, poison)


def test_a_run_ends_at_such_a_step_by_name(tmp_path, monkeypatch, capsys):
    poisoned(monkeypatch, {6})
    folder = tmp_path / "run"
    flags = [*SMALL, "--max-steps", "10", "-p", "4", "--output-dir", str(folder)]
    refused(main, flags, capsys, "cls", "nan", "step 7", "--skip-nonfinite", status=1)


def test_so_many_of_them_may_pass(tmp_path, monkeypatch):
    poisoned(monkeypatch, {2, 3, 6})
    flags = [*SMALL, "--max-steps", "8", "-p", "4", "--val-episodes", "0"]
    folder = tmp_path / "run"
    assert main([*flags, "--skip-nonfinite", "3", "--output-dir", str(folder)]) == 0
    last = torch.load(folder / "last.pth.tar", weights_only=True)
    assert last["progress"]["undone"] == 3
    assert sum(last["progress"]["enqueued"]) == 5 * 64
    assert all(t.isfinite().all() for t in last["state_dict"].values())
    assert main([*flags, "--skip-nonfinite", "2", "--output-dir", str(tmp_path / "other")]) == 1


def test_a_gradient_alone_can_fail(tmp_path, monkeypatch, capsys):
    real, norms = trainer.finish_gradients, iter([1.0, 1.0, math.inf, 1.0])
    monkeypatch.setattr(trainer, "finish_gradients", lambda *g: next(norms) * real(*g))
    flags = [*SMALL, "--max-steps", "4", "-p", "2", "--output-dir", str(tmp_path / "run")]
    refused(main, flags, capsys, "gradient", "inf", "step 3", status=1)


def test_a_later_step_reuses_what_the_one_before_remembered_in():
    state, places = torch.arange(6.0), []

    class Places(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                places.append(result.untyped_storage().data_ptr())
            return result

    guard = StepGuard([state])
    for value in (1.0, 2.0):
        state.fill_(value)
        with Places():
            guard.remember()
    assert len({*places}) == 1
    state.fill_(3.0)
    guard.settle(torch.tensor(False))
    assert state.eq(2).all()
