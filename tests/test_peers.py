"""What is timed beside other projects is the same work, and what is left out is told."""

import math
import sys
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import peer_work
import peers
import turns

from ancor.evaluation.retrieval import RECALL_AT, retrieve
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from tests.refusals import one_line

SIZES = Namespace(
    arch="conv4",
    pixels=32,
    precision="fp32",
    workers=0,
    alike=False,
    pool=2000,
    gallery=600,
    episodes=4,
)


def test_easyfsl_finds_our_accuracy_of_our_episodes():
    pytest.importorskip("easyfsl")
    torch.manual_seed(0)
    encoder, given = Encoder(EncoderConfig("conv4")).eval(), peer_work.pool(SIZES)
    images, labels, spec = given
    # Noise that is brighter from class to class.
    images.pixels[:] = images.pixels // 4 + labels.astype("uint8")[:, None, None, None]
    episodes, ours = peer_work.our_accuracy(encoder, 5, 4, given, SIZES)
    dataset = peer_work.Labeled(images, labels, spec)
    theirs = peer_work.easyfsl_accuracy(encoder.backbone, dataset, 5, episodes)
    assert 0.2 < theirs < 1
    assert theirs == pytest.approx(ours.mean())


def test_pytorch_metric_learning_finds_our_recall():
    pytest.importorskip("pytorch_metric_learning")
    features, labels = peer_work.gallery(SIZES)
    ours, found = retrieve(features, labels), peer_work.calculator(False, 100)(features, labels)
    assert found["recall"] == pytest.approx({k: ours.recall[k] for k in RECALL_AT})
    assert found["mean_average_precision_at_r"] == pytest.approx(ours.map_at_r)


def test_a_missing_peer_is_named_in_one_line_with_its_commands(capsys):
    missing = peers.Peer("no_such_project", ("no-such",), ("no-such 'one<2'", "--no-deps other"))
    here = peers.Peer("torchvision", ("torchvision",), ("torchvision",), "Pillow")
    found = peers.installed(["gone", "here"], {"gone": missing, "here": here})
    told = one_line(capsys.readouterr().out, "gone", "no_such_project")
    assert "pip install no-such 'one<2' && pip install --no-deps other" in told
    assert list(found) == ["here"]
    assert found["here"].startswith("torchvision ")
    assert found["here"].endswith(", Pillow")


class Inside(nullcontext):
    """Takes the place of a worker, without a process; `make` gives seconds, or fails."""

    def __init__(self, make, keeps=True):
        super().__init__(self)
        self.make, self.seconds, self.worked = make, [], []
        make()

    def step(self):
        self.seconds.append(self.make())
        self.worked.append(math.nan if self.make() == 1 else 3 * self.seconds[-1])


def failing():
    raise EOFError


def test_rows_hold_ratios_and_leave_empty_what_a_peer_does_not_do(monkeypatch, capsys):
    monkeypatch.setattr(peers, "Worker", Inside)
    theirs = {"slow": lambda: 2.0, "part": lambda: 1.0, "idle": None, "broken": failing}
    theirs["missing"] = lambda: 1.0
    case = peers.Case("work", lambda: 0.5, theirs, {"slow": "twice"})
    args = Namespace(rounds=2, alike=False, profile=False)
    titles = {"slow": "slow 1.0", "part": "part 1.5", "idle": "idle 2.0", "broken": "broken 3.0"}
    assert list(peers.rows(case, titles, args)) == [
        ["work", "slow 1.0: twice", "2", "0.5", "4.00", "4.00"],
        ["work", "part 1.5", "1", "0.5", "2.00", "-"],
        ["work", "idle 2.0", "-", "0.5", "-", "-"],
        ["work", "broken 3.0", "-", "0.5", "-", "-"],
    ]
    one_line(capsys.readouterr().err, "broken", "work")


def test_a_profile_tells_what_each_kind_of_operation_takes():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 5), torch.nn.BatchNorm2d(32))
    images = torch.ones(8, 3, 32, 32)
    found = turns.profiled(lambda: network(images).mean().backward())
    assert list(found) == [*turns.KINDS, "the rest"]
    assert found["pooling"] == found["matrix products"] == 0
    assert found["convolutions"] > found["the rest"] > 0 < found["batch norm"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--batch-size", "6", "--queue-k", "64"], ("--batch-size 6", "--queue-k 64")),
        (["--pool", "1999"], ("--pool 1999", "2000")),
        (["--arch", "resnet19"], ("--arch resnet19",)),
    ],
)
def test_sizes_that_fit_nobody_are_refused(flags, words, capsys):
    parser = peers.build_parser()
    with pytest.raises(SystemExit):
        peers.check(parser, parser.parse_args(["step", *flags]))
    one_line(capsys.readouterr().err.splitlines()[-1], *words)
