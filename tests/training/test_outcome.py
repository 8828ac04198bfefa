"""What a run tells at its end: the commands that go on and that score it."""

import shlex

import pytest

from ancor.cli import eval as eval_command
from ancor.cli import train
from ancor.data.config import DataConfig
from ancor.training import outcome
from tests.data.test_division import QUICK, UNEQUAL, folder
from tests.refusals import tells

LOUD = QUICK.replace("--quiet", "")


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The partitions that are read, in order."""
    seen, read = [], DataConfig.read

    def counted(self, partition, skip_bad_images=False):
        seen.append(partition)
        return read(self, partition, skip_bad_images)

    monkeypatch.setattr(DataConfig, "read", counted)
    return seen


@pytest.mark.parametrize(
    ("flags", "expected", "scored"),
    [
        ("--val-fraction 0.4 --val-episodes 2", ["train", "validation", "test"], "validation"),
        ("--val-fraction 0.4 --val-episodes 0", ["train", "test", "validation"], "validation"),
        ("--val-episodes 2", ["train", "validation", "test", "validation"], "train"),
    ],
)
def test_no_partition_is_read_again_at_the_end(tmp_path, reads, flags, expected, scored, capsys):
    """A folder of a million files was listed up to six times more."""
    root, run = folder(tmp_path / "own", UNEQUAL), tmp_path / "run"
    assert train.main(shlex.split(f"--data {root} {flags} {LOUD} --output-dir {run}")) == 0
    assert reads == expected
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if tells(line, "Next:", "--partition")]
    words = shlex.split(line.partition("Next: ")[2])
    assert words[words.index("--partition") + 1] == scored
    words = words[words.index("--model-path") :]
    assert eval_command.main([*words, "--n-test-runs", "2", "--support-views", "5"]) == 0


@pytest.mark.parametrize(
    ("processes", "here", "words"),
    [
        (4, 4, "torchrun --nproc-per-node 4 train.py"),
        (8, 4, "--nproc-per-node 4 --nnodes 2 --rdzv-backend c10d --rdzv-endpoint first:29500"),
    ],
)
def test_going_on_under_torchrun_starts_as_many_processes(monkeypatch, processes, here, words):
    monkeypatch.setenv("MASTER_ADDR", "first")
    monkeypatch.setattr("sys.argv", ["train.py"])
    for name, value in {
        "world_size": processes,
        "local_world_size": here,
        "nodes": processes // here,
    }.items():
        monkeypatch.setattr(outcome, name, lambda value=value: value)
    line = outcome.going_on("runs/a b", ["--device", "cpu"])
    assert words in line
    assert line.endswith("train.py --output-dir 'runs/a b' --resume auto --device cpu")
    own = outcome.going_on("x", ["--multiprocessing-distributed", "--nproc", "4"])
    assert "torchrun" not in own
