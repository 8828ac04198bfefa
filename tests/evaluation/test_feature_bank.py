"""The bank, the store and the cache: each picture once, in bounded memory, never a wrong one."""

import errno
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from ancor.data.episodes import EpisodeSampler, Protocol
from ancor.data.images import ColorImages
from ancor.data.transform_spec import TransformSpec
from ancor.data.transforms import query_transform, support_transform
from ancor.data.views import EvaluationViews, distinct_views
from ancor.evaluation import feature_cache as cache_module
from ancor.evaluation import feature_store
from ancor.evaluation.feature_bank import FeatureBank
from ancor.evaluation.feature_cache import FeatureCache
from ancor.evaluation.plan import plan_evaluations
from ancor.evaluation.predictors import single
from ancor.evaluation.scoring import score
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime.devices import Runtime
from tests.refusals import refuses, tells

FLIPS = TransformSpec(16, (0.5,) * 3, (0.25,) * 3, native_size=16)
CROPS = TransformSpec(16, (0.5,) * 3, (0.25,) * 3, native_size=16, support_padding=3)
LABELS = np.arange(120) % 6
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return Encoder(EncoderConfig("conv4", "cls", num_classes=3)).eval()


class CountedImages(ColorImages):
    """Images that count how often one is read."""

    def __init__(self, pixels: np.ndarray) -> None:
        super().__init__(pixels)
        self.read = 0

    def __getitem__(self, index: int):
        self.read += 1
        return super().__getitem__(index)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return CountedImages(rng.integers(0, 256, (120, 3, 16, 16), dtype=np.uint8))


def bank_of(encoder, images, spec=CROPS, **options) -> FeatureBank:
    given = {name: options.pop(name) for name in ("kind", "cache") if name in options}
    return FeatureBank(encoder, images, spec, Runtime(CPU, **options), seed=3, **given)


def plan_of(views=10, spec=CROPS, ways=(3, 6)):
    protocols = [Protocol(way, n_queries=4) for way in ways]
    return plan_evaluations(EpisodeSampler(LABELS), protocols, 7, views, seed=3, transforms=spec)


def predictions(plan, bank) -> list[np.ndarray]:
    return [p for outcome in score(plan, [bank], single("LR")) for p in outcome.predictions]


def test_views_that_only_flip_are_named_by_what_they_show(images):
    pairs = np.stack([np.repeat(np.arange(20), 9), np.tile(np.arange(-1, 8), 20)], axis=1)
    named = distinct_views(pairs, FLIPS, seed=3)
    transforms = query_transform(FLIPS), support_transform(FLIPS)
    shown = EvaluationViews(images, pairs, *transforms, seed=3)
    again = EvaluationViews(images, named, *transforms, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(shown, again, strict=True))
    assert 0.3 < np.mean(named[pairs[:, 1] >= 0, 1] == -2) < 0.7
    assert distinct_views(pairs, CROPS, seed=3) is pairs


def test_views_that_do_not_even_flip_are_one():
    """Every support view of square images that are not mirrored was passed anew."""
    pairs = np.stack([np.repeat(np.arange(3), 4), np.tile([-2, -1, 0, 7], 3)], axis=1)
    named = distinct_views(pairs, replace(FLIPS, flip=False), seed=3)
    assert named[:, 0].tolist() == pairs[:, 0].tolist()
    assert named[:, 1].tolist() == [-2, -1, -1, -1] * 3
    assert len(plan_of(0, replace(FLIPS, flip=False)).pairs) <= 120


@pytest.mark.parametrize("views", [0, 10])
def test_no_picture_is_passed_twice(views, encoder, images):
    plan = plan_of(views, FLIPS)
    assert len(np.unique(plan.pairs, axis=0)) == len(plan.pairs) <= 240
    predictions(plan, bank_of(encoder, images, FLIPS))
    assert images.read == len(plan.pairs)


@pytest.mark.parametrize("views", [0, 10])
def test_merged_views_change_no_prediction(views, encoder, images):
    results = []
    for spec in (FLIPS, None):
        plan = plan_evaluations(
            EpisodeSampler(LABELS), [Protocol(3, n_queries=4)], 7, views, seed=3, transforms=spec
        )
        results.append(predictions(plan, bank_of(encoder, images, FLIPS)))
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("kept", [0, 4096, 2**14])
@pytest.mark.parametrize("views", [0, 10])
def test_bounded_memory_changes_no_prediction(kept, views, encoder, images, monkeypatch):
    plan = plan_of(views)
    expected = predictions(plan, bank_of(encoder, images))
    monkeypatch.setattr(feature_store, "KEPT_BYTES", kept)
    monkeypatch.setattr(feature_store, "CHUNK_BYTES", 2**15)
    found = predictions(plan, bank_of(encoder, images))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    held = feature_store.FeatureStore(plan, [bank_of(encoder, images)], CPU).features[0]
    assert held.numel() * 4 <= kept + 2**15


def test_loading_processes_change_nothing(encoder, images):
    plan = plan_of()
    alone = bank_of(encoder, images).features(plan.pairs)
    for workers in (1, 2):
        assert torch.equal(alone, bank_of(encoder, images, workers=workers).features(plan.pairs))


def test_batches_change_nearly_nothing(encoder, images):
    plan = plan_of()
    one = bank_of(encoder, images, batch_size=512).features(plan.pairs)
    for size in (1, 64):
        other = bank_of(encoder, images, batch_size=size).features(plan.pairs)
        assert (other - one).abs().max() / one.abs().max() < 1e-5


def cached(encoder, images, folder, key="a") -> FeatureBank:
    bank = bank_of(encoder, images)
    bank.cache = FeatureCache(folder, {"key": key}, bank.width)
    return bank


@pytest.fixture
def small_files(monkeypatch):
    monkeypatch.setattr(cache_module, "BLOCK", 64)


@pytest.mark.usefixtures("small_files")
def test_a_warm_cache_reads_and_passes_nothing(encoder, images, tmp_path, monkeypatch):
    plan = plan_of()
    cold = cached(encoder, images, tmp_path).features(plan.pairs)
    assert images.read == len(plan.pairs)
    assert torch.equal(cold, bank_of(encoder, images).features(plan.pairs))
    images.read = 0
    monkeypatch.setattr(Encoder, "forward", None)
    order = np.random.default_rng(0).permutation(len(plan.pairs))
    warm = cached(encoder, images, tmp_path).features(plan.pairs[order])
    assert torch.equal(warm, cold[order])
    assert images.read == 0


@pytest.mark.usefixtures("small_files")
def test_only_what_is_missing_is_computed(encoder, images, tmp_path):
    plan = plan_of()
    cached(encoder, images, tmp_path).features(plan.pairs[::3])
    before, images.read = images.read, 0
    found = cached(encoder, images, tmp_path).features(plan.pairs)
    assert images.read == len(plan.pairs) - before
    assert (found - bank_of(encoder, images).features(plan.pairs)).abs().max() < 1e-6
    assert len(list(tmp_path.iterdir())) == 1
    cached(encoder, images, tmp_path, key="b").features(plan.pairs[:5])
    assert len(list(tmp_path.iterdir())) == 2


def flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


BREAKS = {
    "features": lambda path: flip(path, -5),
    "pairs": lambda path: flip(path, path.read_bytes().index(b"\n") + 3),
    "header": lambda path: flip(path, 5),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: path.write_bytes(b'{"key": 3}\n'),
    "of another key": lambda path: path.write_bytes(
        path.read_bytes().replace(b'"key": "', b'"key": "0', 1)
    ),
}


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("name", BREAKS)
def test_broken_files_are_computed_again(name, encoder, images, tmp_path, caplog):
    plan = plan_of()
    expected = cached(encoder, images, tmp_path).features(plan.pairs)
    paths = sorted(tmp_path.rglob("*.features"))
    BREAKS[name](paths[1])
    images.read = 0
    found = cached(encoder, images, tmp_path).features(plan.pairs)
    assert (found - expected).abs().max() < 1e-6
    assert 0 < images.read <= 64
    assert tells(caplog.text, repr(paths[1].name))
    images.read = 0
    cached(encoder, images, tmp_path).features(plan.pairs)
    assert images.read == 0


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_stops_nothing(encoder, images, tmp_path, caplog, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    plan = plan_of()
    monkeypatch.setattr("os.fsync", full)
    found = cached(encoder, images, tmp_path).features(plan.pairs)
    assert torch.equal(found, bank_of(encoder, images).features(plan.pairs))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert caplog.text.count(os.strerror(errno.ENOSPC)) == 1


def test_a_cache_that_cannot_be_is_refused(encoder, images, tmp_path):
    (tmp_path / "file").touch()
    with refuses("--feature-cache", "file'"):
        cached(encoder, images, tmp_path / "file")


@pytest.mark.usefixtures("small_files")
def test_what_was_cut_off_is_removed_later(encoder, images, tmp_path):
    bank = cached(encoder, images, tmp_path)
    old, new = bank.cache.folder / "old.part", bank.cache.folder / "new.part"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    (bank.cache.folder / "gone.tmp").symlink_to("nowhere")  # as one that another run removes now
    cached(encoder, images, tmp_path)
    assert not old.exists()
    assert new.exists()
