"""Whole, sealed checkpoints with a rewritten value: one line, or it does not matter."""

import copy
import random

import pytest

from ancor.checkpoints import checkpoint
from ancor.cli import eval as evaluate
from ancor.cli import export, inspect, train
from tests.robustness.harness import keep
from tests.robustness.sizes import SEED, TORTURE, Tally

VALUES = (None, True, -1, 0, 2**70, 1.5, float("nan"), "", "x\ny", b"z", [], [1, "a"], {}, {1: 2})
READERS = {
    "eval": (evaluate, "--model_path {} --n_test_runs 2 --cls Cosine --partition test --untrained"),
    "inspect": (inspect, "{} --json"),
    "export": (export, "--model_path {} --to safetensors --output out.safetensors"),
    "resume": (train, "--resume {} --output-dir run --max-steps 1 --val-episodes 0 --quiet"),
}


def places(value, path: tuple = ()) -> list[tuple]:
    """List where a value could be replaced, outside of the tensors."""
    found = [path] if path else []
    inside = value.items() if isinstance(value, dict) else ()
    return found + [place for key, part in inside for place in places(part, (*path, key))]


def rewritten(content: dict, place: tuple, value, folder):
    """Write a checkpoint with one value replaced, or removed where it is `...`."""
    changed = copy.deepcopy(content)
    changed.pop("checksum", None)
    part = changed
    for key in place[:-1]:
        part = part[key]
    if value is ...:
        del part[place[-1]]
    else:
        part[place[-1]] = value
    path = folder / "last.pth.tar"
    checkpoint.save(changed, path)
    return path


@pytest.fixture
def content(quick_run):
    return checkpoint.read(quick_run / "last.pth.tar")


def test_a_rewritten_value_is_one_line_or_does_not_matter(content, new_room, say, tmp_path):
    rng = random.Random(SEED if TORTURE else 5)
    sections = {
        k: v for k, v in content.items() if k not in ("state_dict", "optimizer", "checksum")
    }
    where, tally = places(sections), Tally()
    for number in range(1000 if TORTURE else 40):
        place, value = rng.choice(where), rng.choice([*VALUES, ...])
        path = rewritten(content, place, value, tmp_path)
        command, flags = list(READERS.values())[number % len(READERS)]
        argv = flags.format(path).split()
        with new_room() as room:
            tally.add(keep(command.main, argv, room, ["run", "out.safetensors"]))
    assert tally.statuses.keys() >= {0, 2}
    say(tally.line("rewritten checkpoints"))
