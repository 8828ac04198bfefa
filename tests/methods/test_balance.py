"""Classes of unequal size: what an epoch sees of them, and what they count in the loss."""

import json
import shlex
from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ancor.cli import eval as eval_command
from ancor.cli import train
from ancor.methods.ancor import Ancor
from ancor.methods.balance import balanced_order, class_shares, class_weights
from ancor.methods.base import Batch
from ancor.methods.config import AncorConfig
from ancor.methods.losses import classification_loss
from ancor.methods.queues import ClassQueues
from ancor.models.config import EncoderConfig
from ancor.training.batches import EpochBatches
from tests.data.test_division import folder
from tests.refusals import refuses, tells

SIZES = np.array([16, 278, 60, 1, 100])
LABELS = torch.from_numpy(np.random.default_rng(0).permutation(np.repeat(np.arange(5), SIZES)))


def drawn(balance: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    order, rounds = balanced_order(LABELS, balance, torch.Generator().manual_seed(seed))
    return order.numpy(), rounds.numpy()


@pytest.mark.parametrize(
    ("balance", "share"),
    [("none", SIZES / 455), ("class", np.full(5, 0.2)), ("sqrt", SIZES**0.5 / sum(SIZES**0.5))],
)
def test_an_epoch_sees_each_class_as_its_share_says(balance, share):
    assert class_shares(torch.from_numpy(SIZES), balance).numpy() == pytest.approx(share)
    order, _ = drawn(balance)
    assert len(order) == 455
    seen = np.bincount(LABELS[order], minlength=5)
    assert np.abs(seen - 455 * share).max() < 1
    for label in range(5):
        times = Counter(order[LABELS[order] == label].tolist())
        assert max(times.values()) - min(times.values()) <= 1
        fewer = SIZES[label] - len(times)
        assert fewer == 0 or max(times.values()) == 1


def test_an_image_that_comes_again_is_in_another_round():
    order, rounds = drawn("class")
    assert len(set(zip(order.tolist(), rounds.tolist(), strict=True))) == 455
    assert rounds.max() == 90  # of the class of one image
    assert (drawn("class")[0] == order).all()
    assert not (drawn("class", 1)[0] == order).all()
    places = np.flatnonzero(LABELS[order] == 1)  # of the largest class: mixed with all others
    assert abs(places.mean() / 455 - 0.5) < 0.1


def test_batches_of_an_epoch_are_balanced_and_those_of_another_pass_are_not():
    batches = EpochBatches(455, 13, 0, LABELS.numpy(), "class")
    requests = [request for batch in batches for request in batch]
    assert len(requests) == 455
    assert len(set(requests)) == 455
    assert np.bincount(LABELS[[index for _, index, *_ in requests]]).tolist() == [91] * 5
    batches.first = 20
    assert [request for batch in batches for request in batch] == requests[20 * 13 :]
    batches.first, batches.purpose = 0, "warm up"
    assert sorted(index for batch in batches for _, index, _ in batch) == list(range(455))
    plain = EpochBatches(455, 13, 0, LABELS.numpy())
    assert list(plain) == list(EpochBatches(455, 13, 0))


@pytest.mark.parametrize("balance", ["none", "class", "sqrt"])
def test_weights_give_each_class_its_share_of_the_loss(balance):
    weights = class_weights(LABELS, 7, balance)  # two classes have no image
    assert weights[LABELS].mean() == pytest.approx(1)
    assert weights[5:].tolist() == [0, 0]
    share = class_shares(torch.from_numpy(SIZES), balance)
    mass = torch.bincount(LABELS) * weights[:5] / len(LABELS)
    assert mass.numpy() == pytest.approx(share.numpy())
    if balance == "none":
        assert weights[:5].tolist() == pytest.approx([1] * 5)


def test_parts_of_a_batch_add_up_to_it():
    logits, labels = torch.randn(12, 5), torch.arange(12) % 5
    weights = class_weights(LABELS, 5, "class")
    whole = classification_loss(logits, labels, weights).value
    each = [F.cross_entropy(logits[[n]], labels[[n]]) for n in range(12)]
    expected = (weights[labels] * torch.stack(each)).mean()
    assert whole.item() == pytest.approx(expected.item(), rel=1e-5)
    halves = slice(0, 6), slice(6, 12)
    parts = [classification_loss(logits[h], labels[h], weights).value for h in halves]
    assert torch.stack(parts).mean().item() == pytest.approx(whole.item(), rel=1e-5)


def test_weights_without_the_loss_they_are_of():
    with refuses("`class_weighting`", "sqrt", "`calculators`"):
        AncorConfig(class_weighting="sqrt", calculators=("cst_by_class",)).check("seq")
    with refuses("`class_weighting`", "'some'", "class, none, sqrt"):
        AncorConfig(class_weighting="some")


QUICK = "--mode coarse --arch conv4 --image-size 32 -b 8 -j 0 --epochs 2 --precision fp32"


def test_a_queue_as_long_as_its_class():
    """Keys of small classes are forgotten after one round, those of large ones after theirs."""
    lengths = torch.tensor([2, 7, 1])
    uneven = ClassQueues(3, 4, 7, lengths=lengths)
    alone = [ClassQueues(1, 4, length) for length in lengths.tolist()]
    torch.manual_seed(0)
    for count in (3, 1, 12, 5, 40):
        keys, labels = torch.randn(count, 4), torch.randint(0, 3, (count,))
        uneven.enqueue(keys, labels)
        for label, queue in enumerate(alone):
            own = keys[labels == label]
            queue.enqueue(own, torch.zeros(len(own), dtype=torch.int64))
            held = int(queue.filled()[0])  # the others are random start values
            torch.testing.assert_close(uneven.queue[label, :, :held], queue.queue[0, :, :held])
            assert uneven.queue_ptr[label] == queue.queue_ptr[0]
            assert uneven.filled()[label] == queue.filled()[0]


def test_the_loss_sees_no_column_beyond_a_classs_own():
    labels = torch.arange(12) % 3
    sizes = torch.repeat_interleave(torch.arange(3), torch.tensor([2, 9, 5]))
    config = AncorConfig(queue_length="class")
    method = Ancor(EncoderConfig("conv4", dim=8, num_classes=3), config, sizes)
    batch = Batch((torch.randn(12, 3, 32, 32),) * 2, labels, torch.arange(12))
    method.eval()
    before = method.losses(batch)["cst_by_class"].value
    with torch.no_grad():
        for ring, length in enumerate((2, 9, 5)):
            method.queue.queue[ring, :, length:] = float("nan")
    assert torch.equal(method.losses(batch)["cst_by_class"].value, before)
    with refuses("`queue_length`", "class", "labels"):
        Ancor(EncoderConfig("conv4", dim=8, num_classes=3), config)
    with refuses("`queue_length`", "class", "`queue`", "single"):
        AncorConfig(queue="single", queue_length="class", calculators=("cst_all",)).check("none")


@pytest.mark.parametrize(
    "how", ["--balance class", "--balance sqrt", "--class-weighting class", "--queue-k class"]
)
def test_training_on_unequal_classes_resumes_exactly(tmp_path, how, capsys):
    """The queue of a class of 3 images and of one of 30 too."""
    root = folder(tmp_path / "own", {"a": 30, "b": 3, "c": 7})
    words = f"--data {root} {QUICK} --queue-k auto {how}"
    assert train.main(shlex.split(f"{words} --output-dir {tmp_path / 'whole'}")) == 0
    said = capsys.readouterr().out
    assert tells(said, "queue of 30 keys", "3 images") != (how == "--queue-k class")
    told = {"--class-weighting class": "cls by class", "--queue-k class": "3-30 a class"}
    assert tells(said, told.get(how, how))
    again = f"--precision fp32 --output-dir {tmp_path / 'parts'}"
    first = f"{words} --output-dir {tmp_path / 'parts'}"
    assert train.main(shlex.split(f"{first} --max-steps 3")) == 0
    assert train.main(shlex.split(f"{again} --resume auto")) == 0
    states = [
        torch.load(tmp_path / name / "last.pth.tar", weights_only=True)["state_dict"]
        for name in ("whole", "parts")
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_an_evaluation_of_unequal_classes_tells_both_accuracies(tmp_path, capsys):
    root = folder(tmp_path / "own", {"train/a": 8, "train/b": 8, "val/a/x": 20, "val/a/y": 3})
    folder(tmp_path / "more", {"val/b/z": 9})
    (tmp_path / "more/val/b").rename(root / "val/b")
    run, report = tmp_path / "run", tmp_path / "report.json"
    words = f"--data {root} {QUICK} --queue-k 8 --max-steps 1 --val-episodes 2 --output-dir {run}"
    assert train.main(shlex.split(words)) == 0
    capsys.readouterr()
    words = f"--model-path {run / 'model_best.pth.tar'} --n-test-runs 20 --json {report}"
    assert eval_command.main(shlex.split(words)) == 0
    said = capsys.readouterr().out
    result = json.loads(report.read_text())["results"][0]
    assert tells(said, f"{result['accuracy_over_queries']:.2f}", "2-15")
    assert 0 < result["accuracy_over_queries"] < 100
    words = f"{words} --n-queries 2"
    assert eval_command.main(shlex.split(words)) == 0
    assert "accuracy_over_queries" not in json.loads(report.read_text())["results"][0]
