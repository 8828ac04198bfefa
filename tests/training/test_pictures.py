"""t-SNE pictures of a run, in TensorBoard."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ancor.checkpoints import checkpoint
from ancor.cli.train import main
from tests.conftest import QUICK, SMALL


@pytest.fixture(autouse=True)
def of_few_images(monkeypatch):
    monkeypatch.setattr("ancor.training.pictures.MOST_IMAGES", 200)


def pictures(folder) -> dict[str, list[int]]:
    """Return the steps of each t-SNE picture."""
    events = EventAccumulator(str(folder)).Reload()
    tags = [tag for tag in events.Tags()["images"] if tag.startswith("t-SNE")]
    return {tag: [image.step for image in events.Images(tag)] for tag in tags}


def test_every_so_many_epochs_both_levels_are_drawn(tmp_path):
    flags = ["--epochs", "2", "--figure-freq", "2", "--output-dir", str(tmp_path / "run")]
    assert main([*SMALL, *flags]) == 0
    expected = {"t-SNE validation/coarse": [32], "t-SNE validation/fine": [32]}
    assert pictures(tmp_path / "run") == expected


def test_without_a_validation_the_training_images_are_drawn(tmp_path):
    flags = ["--epochs", "1", "--figure-freq", "1", "--val-episodes", "0", "--head", "fork"]
    flags += ["--metric", "norm", "--output-dir", str(tmp_path / "run")]
    assert main([*SMALL, *flags]) == 0
    assert pictures(tmp_path / "run") == {"t-SNE train/coarse": [16], "t-SNE train/fine": [16]}


@pytest.mark.slow
def test_drawing_changes_no_weight(tmp_path, quick_run):
    flags = ["--epochs", "2", "--figure-freq", "1", "--output-dir", str(tmp_path / "run")]
    assert main([*QUICK, *flags]) == 0
    ours = checkpoint.read(tmp_path / "run" / "last.pth.tar")["state_dict"]
    theirs = checkpoint.read(quick_run / "last.pth.tar")["state_dict"]
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
