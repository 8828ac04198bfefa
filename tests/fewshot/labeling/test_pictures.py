"""Which pictures a session takes: files inside the folder, and nothing else."""

import pytest

from ancor.data.config import DataConfig
from ancor.evaluation.models import Model
from ancor.fewshot.labeling import pictures
from tests.refusals import refuses


def test_links_that_lead_outside_are_refused_unless_they_are_meant(photos, read, tmp_path):
    outside = next(iter(photos.rglob("*.png")))
    moved = tmp_path / "elsewhere.png"
    outside.rename(moved)
    outside.symlink_to(moved)
    with refuses("1", repr(str(outside.relative_to(photos))), "--allow-outside-root"):
        read(photos)
    assert len(read(photos, allow_outside_root=True)) == 120


def test_a_folder_that_is_a_link_and_links_inside_are_fine(photos, read, tmp_path):
    (tmp_path / "link").symlink_to(photos)
    first = sorted(photos.rglob("*.png"))[0]
    (first.parent / "again.png").symlink_to(first)
    assert len(read(tmp_path / "link")) == 121


def test_images_that_are_in_no_files_are_refused(encoder):
    partition = DataConfig("digits").load("train")
    model = Model(encoder.network, encoder.transforms, encoder.runtime)
    with refuses("digits", "--root"):
        pictures.read(model, partition)


def test_features_are_those_that_predict_computes(pictures):
    files = [pictures.partition.images.name(n) for n in range(len(pictures))]
    vectors = pictures.encoder.features(files).vectors
    assert (vectors - pictures.features.vectors).abs().max() < 1e-5
    assert pytest.approx(1) == float(pictures.features.vectors[0].norm())
