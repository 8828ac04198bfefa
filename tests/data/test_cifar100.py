"""CIFAR-100 itself: all 60,000 images in the official layout."""

import json
import shlex
import tracemalloc
from time import process_time

import numpy as np
import pytest

from ancor.cli import eval as eval_command
from ancor.cli import train
from ancor.data.config import DataConfig
from ancor.data.registry import DATASETS

# Three of the twenty superclasses as the report lists them (Krizhevsky, 2009, table 3.1).
SUPERCLASSES = {
    "aquatic_mammals": {"beaver", "dolphin", "otter", "seal", "whale"},
    "household_furniture": {"bed", "chair", "couch", "table", "wardrobe"},
    "vehicles_2": {"lawn_mower", "rocket", "streetcar", "tank", "tractor"},
}


def load(root, partition: str):
    return DataConfig("cifar100", root=str(root)).load(partition)


def test_counts_and_names(real_cifar100):
    train, test = load(real_cifar100, "train"), load(real_cifar100, "test")
    assert train.images.pixels.shape == (50_000, 3, 32, 32)
    assert test.images.pixels.shape == (10_000, 3, 32, 32)
    for part, each in ((train, 500), (test, 100)):
        assert np.bincount(part.fine_labels).tolist() == [each] * 100
        assert np.bincount(part.coarse_labels).tolist() == [5 * each] * 20
    hierarchy = train.hierarchy
    assert hierarchy == test.hierarchy
    assert list(hierarchy.fine_names) == sorted(hierarchy.fine_names)
    assert list(hierarchy.coarse_names) == sorted(hierarchy.coarse_names)
    for coarse, fine in SUPERCLASSES.items():
        own = np.flatnonzero(
            np.array(hierarchy.coarse_of_fine) == hierarchy.coarse_names.index(coarse)
        )
        assert {hierarchy.fine_names[label] for label in own} == fine


def test_mean_and_deviation_are_the_transforms(real_cifar100):
    pixels, spec = load(real_cifar100, "train").images.pixels, DATASETS["cifar100"].transforms
    scaled = pixels.transpose(1, 0, 2, 3).reshape(3, -1)
    # The paper's, which are a little beside those of all pixels.
    assert scaled.mean(axis=1) / 255 == pytest.approx(spec.mean, abs=2e-4)
    assert scaled.std(axis=1) / 255 == pytest.approx(spec.std, abs=5e-4)


def test_the_papers_validation_is_its_test(real_cifar100):
    validation, test = load(real_cifar100, "validation"), load(real_cifar100, "test")
    assert np.array_equal(validation.images.pixels, test.images.pixels)
    assert np.array_equal(validation.fine_labels, test.fine_labels)


def test_reading_is_quick_and_holds_the_pixels_once(real_cifar100):
    seconds = []
    for _ in range(3):
        started = process_time()
        part = load(real_cifar100, "train")
        seconds.append(process_time() - started)
    assert min(seconds) < 1.5
    data = part.images.pixels.nbytes
    del part
    tracemalloc.start()
    load(real_cifar100, "train")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data <= peak < 1.2 * data


@pytest.mark.slow
def test_a_network_is_scored_untrained_and_after_a_short_training(real_cifar100, tmp_path):
    """15 steps are too few for a gain that 30 episodes tell; both are far from chance."""
    folder, report = tmp_path / "run", tmp_path / "report.json"
    words = (
        f"--dataset cifar100 --data {real_cifar100} --mode coarse --arch conv4 "
        "-b 64 --queue-k 256 --max-steps 15 --lr 0.1 --val-episodes 0 --quiet "
        f"--output-dir {folder}"
    )
    assert train.main(shlex.split(words)) == 0
    words = (
        f"--model-path {folder / 'model_best.pth.tar'} --partition test --untrained "
        f"--n-test-runs 30 --n-queries 4 --support-views 5 --json {report}"
    )
    assert eval_command.main(shlex.split(words)) == 0
    five, every = json.loads(report.read_text())["results"]
    assert (five["n_ways"], every["n_ways"]) == (5, 100)
    for result, chance in ((five, 20), (every, 1)):
        assert result["untrained"]["accuracy"] > 1.2 * chance
        assert result["accuracy"] > 1.2 * chance
        gain = result["accuracy"] - result["untrained"]["accuracy"]
        assert result["untrained"]["gain"] == pytest.approx(gain)
