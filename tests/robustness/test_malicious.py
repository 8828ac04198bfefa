"""Files from strangers: every reader refuses them in one line, or reads past, and runs nothing."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ancor.cli.check_data import main as check_data
from ancor.cli.eval import main as evaluate
from ancor.cli.inspect import main as inspect
from ancor.cli.predict import main as predict
from ancor.cli.train import main as train
from ancor.fewshot import saved
from tests.made import cifar100, tiered
from tests.robustness import malicious_files as crafted
from tests.robustness.fixtures import QUICK
from tests.robustness.harness import keep
from tests.robustness.sizes import SEED, TORTURE, Tally

SHORT = 40  # files of a short draw


def all_files(target: Path) -> list[tuple[str, str, bytes]]:
    """(kind of file, name, content) of all crafted files."""
    files = []
    for number, (name, content) in enumerate(crafted.pickles(target)):
        wrap = crafted.WRAPPED[number % 3]
        files.append(("pickle", f"{name} ({wrap.__name__})", wrap(content)))
    files += [("archive", name, content) for name, content in crafted.archives(target).items()]
    files += [("tensors", name, content) for name, content in crafted.tensor_files().items()]
    files += [("arrays", name, content) for name, content in crafted.array_files(target).items()]
    files += [("config", name, content) for name, content in crafted.configs(target).items()]
    return files


def readers(kind: str, content: bytes, room) -> list[tuple]:
    """Write a file where readers look for it; return the command lines of those, and what differs.

    Returns:
        (command, arguments, statuses that are right) of each.
    """
    suffix = {"tensors": ".safetensors", "config": ".json"}.get(kind, ".pth.tar")
    path = room.root / f"file{suffix}"
    path.write_bytes(content)
    start = ["--dataset", "digits", *QUICK, "--output-dir", "out"]
    refused = (1, 2)
    if kind == "config":
        settings = [flag for flag in QUICK if flag not in ("--mode", "coarse")]
        return [(train, ["--config", str(path), *settings, "--output-dir", "out"], (0, 1, 2))]
    if kind == "arrays":
        folder = room.root / "tiered"
        tiered(folder, images=2)
        (folder / "train_images_png.pkl").unlink()
        (folder / "train_images.npz").write_bytes(content)
        return [(check_data, ["--dataset", "tiered", "--data", str(folder)], refused)]
    lines = [
        (inspect, [str(path)], refused),
        (evaluate, ["--model-path", str(path), "--n-test-runs", "2"], refused),
        (train, [*start, "--init-from", str(path)], refused),
        (train, [*start, "--resume", str(path)], refused),
    ]
    query = str(room.shelf / "data/folder/train/birds")
    lines.append((predict, ["--classifier", str(path), "--query", query], refused))
    lines.append(
        (predict, ["--model-path", str(path), "--support", query, "--query", query], refused)
    )
    if kind == "pickle":
        lines += _data_readers(content, room)
    return lines


def _data_readers(content: bytes, room) -> list[tuple]:
    cifar, pickled = room.root / "cifar", room.root / "tiered"
    cifar100(cifar, images=1)
    (cifar / "cifar-100-python" / "train").write_bytes(content)
    tiered(pickled, images=2)
    (pickled / "train_labels.pkl").write_bytes(content)
    (pickled / "val_images_png.pkl").write_bytes(content)
    return [
        (check_data, ["--dataset", "cifar100", "--data", str(cifar)], (1,)),
        (check_data, ["--dataset", "tiered", "--data", str(pickled)], (1,)),
    ]


def leaves(value: object, place: tuple = ()):
    """Yield the places of all values in nested dicts and lists, the outer ones included."""
    yield place
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from leaves(inner, (*place, key))


def changed(value: object, place: tuple, other: object) -> object:
    """Return a copy with another value at a place; with nothing there where it is `...`."""
    if not place:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(place) == 1 and other is ...:
        del copy[place[0]]
    else:
        copy[place[0]] = changed(value[place[0]], place[1:], other)
    return copy


VALUES = (..., None, -1, 10**15, 1.5, float("nan"), "x", [], {}, [[1], 2], "os.system", True)


def test_saved_classifiers_with_other_values_and_a_right_checksum(shelf, new_room, say):
    about, arrays = saved.read(shelf / "models/classes.ancor")
    cases = [(place, value) for place in leaves(about) for value in VALUES if place or value != ...]
    rng = random.Random(SEED if TORTURE else 0)
    cases = cases if TORTURE else rng.sample(cases, 12)
    query = str(shelf / "data/folder/train/birds")
    tally = Tally()
    with new_room() as room:
        path = room.root / "changed.ancor"
        for place, value in cases:
            saved.write(path, changed(about, place, value), arrays)
            tally.add(keep(predict, ["--classifier", str(path), "--query", query], room, []))
        for name in arrays if TORTURE else rng.sample(sorted(arrays), 4):
            empty = np.atleast_1d(arrays[name])[:0]
            for other in (empty, arrays[name].astype("U"), np.float64(np.nan)):
                saved.write(path, about, {**arrays, name: np.asarray(other)})
                tally.add(keep(predict, ["--classifier", str(path), "--query", query], room, []))
    say(tally.line("readings of changed classifiers"))


def untouched(target: Path) -> bool:
    """Tell that no call was made: no file of that name, nothing in the environment."""
    return not list(target.parent.glob(target.name + "*")) and "CANARY" not in os.environ


def test_crafted_files_are_refused_and_run_nothing(tmp_path, new_room, say):
    (tmp_path / "hit").mkdir()
    target = tmp_path / "hit" / "canary"
    files = all_files(target)
    assert len(files) >= 200
    if not TORTURE:  # the same ones each time, of every kind
        files = random.Random(0).sample(files, SHORT)
    tally = Tally()
    for kind, name, content in files:
        with new_room() as room:
            for main, line, right in readers(kind, content, room):
                ended = keep(main, line, room, ["out"])
                tally.add(ended)
                assert ended.status in right, (kind, name, line, ended)
        assert untouched(target), (kind, name)
    time.sleep(0.2)  # a process that was started may take a while
    assert untouched(target)
    say(f"{len(files)} crafted files, 0 executions: {tally.line('readings')}")


@pytest.mark.parametrize("kind", ["pickle", "arrays"])
def test_feature_cache_takes_no_crafted_file(kind, shelf, new_room, tmp_path):
    target = tmp_path / "canary"
    made = dict(crafted.pickles(target)) if kind == "pickle" else crafted.array_files(target)
    contents = list(made.values())
    if not TORTURE:
        contents = contents[::20]
    model = str(shelf / "models/digits/model_best.pth.tar")
    line = ["--model-path", model, "--n-test-runs", "2", "--n-queries", "2"]
    with new_room() as room:
        cache = room.root / "cache"
        line += ["--feature-cache", str(cache), "--support-views", "5", "--cls", "NN"]
        before = keep(evaluate, line, room, [cache])
        assert evaluate(line) == 0
        (file,) = cache.glob("*/*.features")
        header = file.read_bytes().partition(b"\n")[0]
        for number, content in enumerate(contents):
            file.write_bytes(content if number % 2 else header + b"\n" + content)
            ended = keep(evaluate, line, room, [cache])
            assert ended.status == 0
            assert "is broken" in ended.out
            assert scores(ended.out) == scores(before.out)
            assert untouched(target)


def scores(text: str) -> list[str]:
    return [line.partition(", Time")[0] for line in text.splitlines() if "Accuracy" in line]


PLAIN = """
import os, pickle, signal, sys
for path in sys.argv[1:]:
    if os.fork() == 0:
        signal.alarm(10)  # some calls wait for what never comes
        sys.stdin.close()
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        try:
            pickle.load(open(path, "rb"))
        finally:
            os._exit(0)
    os.wait()
"""


def test_crafted_calls_are_live(tmp_path):
    """Read by Python's own unpickler, most of the calls do what they are refused for."""
    names = list(crafted.calls(tmp_path / "x"))
    chosen = names if TORTURE else [n for n in names if "torch" not in n][:24]
    paths = []
    for number, name in enumerate(chosen):
        folder = tmp_path / str(number)
        folder.mkdir()
        target = folder / "canary"
        crafted.prepare(target)
        content = crafted.call(*crafted.calls(target)[name])
        (folder / "file").write_bytes(content)
        paths.append(folder)
    files = [str(folder / "file") for folder in paths]
    subprocess.run([sys.executable, "-c", PLAIN, *files], cwd=tmp_path, timeout=300, check=True)
    time.sleep(0.5)
    fired = [
        name
        for name, folder in zip(chosen, paths, strict=True)
        if any(p.suffix not in (".py", ".pth", ".pkl", ".npy") for p in folder.glob("canary*"))
    ]
    print(f"{len(fired)} of {len(chosen)} calls write when read plainly")
    # The others write nothing: they import, end the process, or lack what they call here.
    assert len(fired) >= len(chosen) / 2
