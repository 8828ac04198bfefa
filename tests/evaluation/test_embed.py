"""Features written once are those that evaluation, training and other programs compute."""

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from ancor.data import features
from ancor.data.config import DataConfig
from ancor.data.transforms import normalize
from ancor.data.views import QUERY_VIEW, TrainingViews
from ancor.evaluation import embed
from ancor.evaluation.config import EvaluationConfig
from ancor.evaluation.feature_bank import kind_of, unit_vectors
from ancor.evaluation.models import read_one
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder, EncoderOutput
from ancor.runtime.devices import Runtime
from ancor.runtime.settings import settings_of
from tests.pretrained import LITE0, WEIGHTS
from tests.refusals import refuses

RUNTIME = Runtime.named("cpu", quiet=True, batch_size=7)
DIGITS = {"dataset": "digits", "image_size": 32}


@pytest.fixture(scope="module")
def made():
    """A model, its data, the first images of digits' test partition, and three views of each."""
    model, data = read_one(f"{LITE0}={WEIGHTS}", DIGITS, RUNTIME)
    partition = data.load("test").subset(np.arange(9))
    return model, data, partition, embed.embedded(model, partition, views=3, seed=5)


def test_the_first_row_is_what_evaluation_computes(made):
    model, _, partition, found = made
    pairs = np.array([(image, QUERY_VIEW) for image in range(9)])
    expected = torch.cat([output.features for output in model.bank(partition).outputs(pairs)])
    assert torch.equal(found.images.rows[:, 0], expected)


def test_the_others_are_what_training_would_see(made):
    """The views of its first epoch, passed in another batch."""
    model, _, partition, found = made
    items = TrainingViews(partition.images, np.arange(9), model.transforms, ("strong",) * 3, 5)
    views = torch.stack([view for index in range(9) for view in items[0, index][0]])
    with torch.no_grad():
        expected = model.network.eval()(normalize(views, model.transforms)).features
    torch.testing.assert_close(
        found.images.rows[:, 1:], expected.unflatten(0, (9, 3)), rtol=1e-4, atol=1e-4
    )


def test_a_file_holds_them_and_what_made_them(made, tmp_path):
    model, data, _, found = made
    about = embed.facts(model, data, f"{LITE0}={WEIGHTS}", views=3, seed=5)
    embed.write(tmp_path / "f.npz", about, {"test": found})
    read = features.load("test", str(tmp_path / "f.npz"))
    assert torch.equal(read.images.rows, found.images.rows)
    assert read.fingerprint("fine") == found.fingerprint("fine")
    settings = features.settings_of_run(str(tmp_path / "f.npz"))
    assert (settings["arch"], settings["pretrained"], settings["freeze"]) == (LITE0, WEIGHTS, "all")
    known = {name: value for name, value in settings.items() if name in settings_of(DataConfig)}
    assert DataConfig(**known).transforms == data.transforms


def test_a_table_for_other_programs(made, tmp_path):
    *_, found = made
    embed.write(tmp_path / "f.csv", {}, {"test": found})
    with open(tmp_path / "f.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 9 * 4
    assert [line["view"] for line in lines[:5]] == ["test", "1", "2", "3", "test"]
    second = lines[6]
    assert (second["partition"], second["image"]) == ("test", found.images.name(1))
    assert second["fine"] == found.hierarchy.fine_names[found.fine_labels[1]]
    values = [float(second[f"f{number}"]) for number in range(found.images.rows.shape[2])]
    assert np.array_equal(np.array(values, np.float32), found.images.rows[1, 2].numpy())


@pytest.mark.parametrize("fine", [True, False])
def test_a_parquet_table_holds_the_same(made, tmp_path, fine):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'ancor-toolkit[parquet]'")
    found = made[-1] if fine else replace(made[-1], fine_labels=None)
    names = ["a/\udcff.png", *map(str, range(1, len(found)))]  # the first is no UTF-8
    images = features.FeatureRows(found.images.rows, names)
    parts = {"test": replace(found, images=images), "train": found}
    embed.write(tmp_path / "f.parquet", {"arch": "x"}, parts)
    table = parquet.read_table(tmp_path / "f.parquet")
    assert json.loads(table.schema.metadata[b"ancor"]) == {"arch": "x"}
    rows = table.to_pylist()
    assert len(rows) == 2 * 9 * 4
    assert [row["view"] for row in rows[:5]] == ["test", "1", "2", "3", "test"]
    assert rows[0]["image"] == "a/\\udcff.png"
    second = rows[6]
    assert (second["partition"], second["image"]) == ("test", "1")
    assert second["coarse"] == found.hierarchy.coarse_names[found.coarse_labels[1]]
    expected = found.hierarchy.fine_names[found.fine_labels[1]] if fine else None
    assert second["fine"] == expected
    assert np.array_equal(np.array(second["features"], np.float32), found.images.rows[1, 2])


def test_without_pyarrow_it_is_one_line_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with refuses(".parquet", "pip install 'ancor-toolkit[parquet]'"):
        embed.check_suffix(tmp_path / "f.parquet")


def test_another_suffix_is_refused(tmp_path):
    with refuses("f.txt", ".npz", ".csv", ".parquet"):
        embed.check_suffix(tmp_path / "f.txt")


def test_both_are_side_by_side():
    """The cosine of two such vectors is the mean of the two cosines."""
    features, embedding = torch.randn(2, 6), torch.randn(2, 3)
    both = unit_vectors(EncoderOutput(features, embedding, None), "both")
    one, other = (torch.cosine_similarity(*part, dim=0) for part in (features, embedding))
    torch.testing.assert_close(both[0] @ both[1], (one + other) / 2)


@pytest.mark.parametrize(
    ("head", "told", "only_base", "features_out", "expected"),
    [
        ("seq", None, None, None, "features"),
        ("seq", None, True, None, "features"),
        ("seq", None, False, None, "embedding"),
        ("seq", "f.npz", None, None, "both"),
        ("seq", "f.npz", True, None, "features"),
        ("seq", "f.npz", False, None, "embedding"),
        ("cls", "f.npz", None, None, "features"),
        ("seq", "f.npz", True, "frozen", "features"),
        ("seq", None, None, "both", "both"),
        ("seq", None, False, "head", "embedding"),
    ],
)
def test_what_is_scored_by_default(head, told, only_base, features_out, expected):
    encoder = Encoder(EncoderConfig("conv4", head, num_classes=2))
    content = {"config": {"data": {"features": told}}}
    assert kind_of(encoder, content, only_base, features_out) == expected


def test_features_that_are_asked_for_twice_have_to_be_the_same():
    """The second went before the first without a word."""
    assert EvaluationConfig(only_base=False, features_out="head").features_out == "head"
    encoder = Encoder(EncoderConfig("conv4", "seq", num_classes=2))
    for only_base, words in ((True, "`only_base`"), (False, "`no_only_base`")):
        with refuses(words, "`features_out` both"):
            EvaluationConfig(only_base=only_base, features_out="both")
        with refuses(words, "`features_out` both"):  # as `discover`, `app` and Python ask
            kind_of(encoder, {}, only_base, "both")
    with refuses("`features_out` 'bad'", "both, frozen, head"):
        kind_of(encoder, {}, None, "bad")
