"""Damaged checkpoints: every damage is found or changes nothing."""

import io
import random
import shutil
import zipfile

import numpy as np
import pytest
import torch

from ancor.checkpoints import checkpoint
from ancor.cli.eval import main as evaluate
from ancor.cli.train import main
from ancor.errors import InputError
from ancor.evaluation.feature_cache import FeatureCache
from tests.refusals import refused, refuses, tells
from tests.robustness.runs import BASE, NATIVE, content
from tests.robustness.sizes import SEED, TORTURE


def flip(data: bytearray, rng: random.Random) -> None:
    place = rng.randrange(len(data))
    data[place] ^= 1 << rng.randrange(8)


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def zero(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    length = min(rng.choice([1, 512, 4096]), len(data) - start)
    data[start : start + length] = bytes(length)


def exchange(data: bytearray, rng: random.Random) -> None:
    """Exchange the contents of two records of one size, with their checksums in the archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    sizes: dict[int, list[str]] = {}
    for name, record in records.items():
        if "/data/" in name:
            sizes.setdefault(len(record), []).append(name)
    different = [names for names in sizes.values() if len({records[n] for n in names}) > 1]
    names = rng.choice(different)
    one = rng.choice(names)
    other = rng.choice([name for name in names if records[name] != records[one]])
    records[one], records[other] = records[other], records[one]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, record in records.items():
            archive.writestr(name, record)
    data[:] = out.getvalue()


DAMAGES = (flip, cut, zero, exchange)


def equal(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and one.equal(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def test_damage_is_found_or_harmless(quick_run, tmp_path):
    rng = random.Random(SEED if TORTURE else 2)
    counts = {"found": 0, "harmless": 0}
    names = ("last.pth.tar", "model_best.pth.tar")
    whole = {name: checkpoint.read(quick_run / name) for name in names}
    for number in range(1000 if TORTURE else 60):
        name = names[number % 2]
        data = bytearray((quick_run / name).read_bytes())
        rng.choice(DAMAGES)(data, rng)
        path = tmp_path / name
        path.write_bytes(data)
        for read in (checkpoint.read, lambda p: checkpoint.load_encoder(p)[1]):
            try:
                found = read(path)
            except InputError as error:
                counts["found" if "\n" not in str(error) else "several lines"] += 1
            else:
                counts["harmless"] += 1
                assert equal(found, whole[name]), (number, SEED)
    assert counts["found"] > counts["harmless"] > 0 or not TORTURE
    print(f"damaged files: {counts}, seed {SEED}")


@pytest.fixture
def run(tmp_path):
    """A run of three saves, to be damaged."""
    folder = tmp_path / "run"
    assert main([*BASE, "-s", "1", "--epochs", "2", "--output-dir", str(folder)]) == 0
    return folder


def test_resume_takes_the_newest_whole_file_and_says_what_it_passed_over(run, capsys):
    data = bytearray((run / "last.pth.tar").read_bytes())
    data[len(data) // 2] ^= 1
    (run / "last.pth.tar").write_bytes(data)
    assert content_of(run / "previous.pth.tar")["epoch"] == 1
    flags = ["--output-dir", str(run), "--epochs", "3"]
    assert main([*[flag for flag in BASE if flag != "--quiet"], *flags]) == 0
    out = capsys.readouterr().out
    assert sum(tells(line, "Passed over", "last.pth.tar'") for line in out.splitlines()) == 1
    assert content(run)["epoch"] == 3
    for name in ("last.pth.tar", "previous.pth.tar"):
        (run / name).write_bytes(b"nothing")
    words = [repr(str(run)), "--overwrite", "--resume auto"]
    refused(main, [*BASE, *flags], capsys, *words)


def content_of(path) -> dict:
    return torch.load(path, weights_only=True)


def test_a_damaged_file_is_one_line_in_evaluation(quick_run, tmp_path, capsys):
    path = shutil.copy(quick_run / "model_best.pth.tar", tmp_path)
    data = bytearray((tmp_path / "model_best.pth.tar").read_bytes())
    exchange(data, random.Random(0))
    (tmp_path / "model_best.pth.tar").write_bytes(data)
    flags = ["--model_path", str(path), "--n_test_runs", "2"]
    refused(evaluate, flags, capsys, repr(str(path)), "checksum")


def test_a_format_of_old_still_reads(quick_run, tmp_path):
    state = content_of(quick_run / "last.pth.tar")
    del state["checksum"]
    state["config"]["format"] = 1
    for name in ("position", "undone", "meter", "scaler"):
        del state["progress"][name]
    (tmp_path / "run").mkdir()
    torch.save(state, tmp_path / "run" / "last.pth.tar")
    flags = ["--output-dir", str(tmp_path / "run"), "--epochs", "3", "--val-episodes", "4"]
    assert main([*NATIVE, *flags]) == 0
    state["config"]["format"] = 2
    torch.save(state, tmp_path / "unsealed.pth.tar")
    with refuses("unsealed.pth.tar'", "format 2", "unsealed"):
        checkpoint.read(tmp_path / "unsealed.pth.tar")


def test_damage_to_a_feature_cache_changes_no_feature(tmp_path):
    rng = random.Random(SEED if TORTURE else 3)
    pairs = np.stack([np.arange(400), np.zeros(400, int)], axis=1)
    asked = []

    def compute(wanted):
        asked.append(len(wanted))
        yield torch.from_numpy(wanted[:, :1] * np.ones((1, 6))).float()

    def features() -> torch.Tensor:
        cache = FeatureCache(tmp_path, {"of": "a test"}, 6)
        return torch.cat(list(cache.stream(pairs, compute)))

    expected = features()
    (path,) = tmp_path.rglob("*.features")
    written = path.read_bytes()
    again = 0
    for _ in range(500 if TORTURE else 40):
        data = bytearray(written)
        rng.choice((flip, cut, zero))(data, rng)
        path.write_bytes(data)
        asked.clear()
        assert torch.equal(features(), expected), SEED
        again += sum(asked) > 0
        for other in tmp_path.rglob("*.features"):
            other.unlink()
    assert again > 10  # damage was found, and the features computed again
    print(f"damaged caches: {again} found, seed {SEED}")
