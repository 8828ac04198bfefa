"""Features in the plane: what is near stays near, however few or alike the points are."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from ancor.cli import board, tsne
from ancor.plots import projections
from ancor.plots.projections import project
from tests.refusals import refused

NEEDS_UMAP = pytest.mark.skipif(find_spec("umap") is None, reason="needs umap-learn")
KINDS = ["tsne", pytest.param("umap", marks=[NEEDS_UMAP, pytest.mark.slow])]  # which compiles first


@pytest.mark.parametrize("kind", KINDS)
def test_groups_and_their_weights_are_told_apart_and_a_seed_says_where(kind):
    rng = np.random.default_rng(0)
    weights = np.eye(3, 16, dtype=np.float32)
    labels = np.repeat(np.arange(3), 20)
    features = weights[labels] + rng.normal(scale=0.05, size=(60, 16)).astype(np.float32)
    points, stars = project(features, weights, seed=3, projection=kind)
    assert (points.shape, stars.shape) == ((60, 2), (3, 2))
    centers = np.stack([points[labels == label].mean(0) for label in range(3)])
    for placed, of in ((points, labels), (stars, np.arange(3))):
        distances = np.linalg.norm(placed[:, None] - centers, axis=2)
        np.testing.assert_array_equal(distances.argmin(1), of)
    again, _ = project(features, weights, seed=3, projection=kind)
    np.testing.assert_array_equal(again, points)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 8), (12, 8), (12, 1)])
def test_features_at_one_place_are_laid_out(shape, kind):
    """Principal components of equal features are no numbers, which ended the process."""
    features, weights = np.ones(shape, np.float32), np.ones((1, shape[1]), np.float32)
    points, stars = project(features, weights, projection=kind)
    assert points.shape == (shape[0], 2)
    assert stars.shape == (1, 2)
    assert np.isfinite(points).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2])
def test_one_point_or_two_are_laid_out(count, kind):
    """As of a coarse class of one image: neither algorithm takes so few."""
    points, stars = project(np.eye(count, 4, dtype=np.float32), None, projection=kind)
    assert (points.shape, stars.shape) == ((count, 2), (0, 2))
    assert len(np.unique(points, axis=0)) == count
    points, stars = project(np.ones((1, 4)), np.ones((count - 1, 4)), projection=kind)
    assert (points.shape, stars.shape) == ((1, 2), (count - 1, 2))


THREADS = """
import numpy, torch
from ancor.plots.projections import project
threads = torch.get_num_threads()
groups = numpy.repeat(numpy.eye(3, 16), 20, axis=0) + numpy.random.rand(60, 16) / 20
project(groups, None, projection="umap")
print(threads, torch.get_num_threads())
"""


@NEEDS_UMAP
@pytest.mark.slow
def test_umap_leaves_torch_its_threads():
    """Numba takes all of a process's cores when it first compiles: another sum, other roundings."""
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True)
    assert done.stdout == "1 1\n", done.stderr


def test_features_of_no_length_are_laid_out():
    """They were no numbers once divided by it."""
    features = np.random.default_rng(0).normal(size=(12, 8))
    features[3] = 0
    points, _ = project(features, None)
    assert np.isfinite(points).all()


@pytest.mark.parametrize("command", [tsne, board])
def test_without_umap_one_line_says_what_to_install(command, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(projections, "find_spec", lambda name: None)
    flags = ["--model-path", str(tmp_path / "none.pth"), "--projection", "umap"]
    refused(command.main, flags, capsys, "--projection", "pip install 'ancor-toolkit[umap]'")
    refused(command.main, [*flags[:-1], "pca"], capsys, "--projection", "'pca'", "tsne", "umap")


@pytest.mark.parametrize("command", [tsne, board])
def test_what_umap_has_not_is_refused(command, capsys, tmp_path):
    flags = ["--model-path", str(tmp_path / "none.pth"), "--projection", "umap"]
    refused(command.main, [*flags, "--perplexity", "5"], capsys, "--perplexity", "5", "tsne")
