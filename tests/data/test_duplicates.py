"""Equal pictures: exact and altered copies share a group, everything else has its own."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter

from ancor.data.duplicates import groups_of_near_duplicates, near_duplicates
from ancor.data.images import ColorImages, GrayImages
from tests.shared import needs_shared, shared


def scene(number: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """Draw a picture with soft shapes, as photographs have; others by other numbers."""
    rng = np.random.default_rng(number)
    noise = gaussian_filter(rng.normal(size=(size[1], size[0], 3)), (6, 6, 0))
    scaled = (noise - noise.min()) / (noise.max() - noise.min())
    return Image.fromarray((255 * scaled).astype(np.uint8))


COPIES = {
    "recompressed": (lambda image: image, {"quality": 40}),
    "smaller": (lambda image: image.resize((67, 56), Image.Resampling.LANCZOS), {"quality": 90}),
    "larger": (lambda image: image.resize((192, 160)), {"quality": 90}),
    "lighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.15), {"quality": 90}),
    "flatter": (lambda image: ImageEnhance.Contrast(image).enhance(0.8), {"quality": 90}),
}


@pytest.mark.parametrize("name", COPIES)
def test_altered_copies_are_one_group_with_their_original(tmp_path, name):
    change, options = COPIES[name]
    paths = []
    for number in range(12):
        paths += [tmp_path / f"{number}.png", tmp_path / f"{number} copy.jpg"]
        scene(number).save(paths[-2])
        change(scene(number)).save(paths[-1], **options)
    groups = groups_of_near_duplicates(paths)
    assert groups.tolist() == np.repeat(np.arange(12), 2).tolist()


def test_other_pictures_are_alone_and_numbered_as_they_appear(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(60)]
    for number, path in enumerate(paths):
        scene(number).save(path)
    scene(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(paths[30])
    assert groups_of_near_duplicates(paths).tolist() == list(range(60))
    assert groups_of_near_duplicates(paths[:1]).tolist() == [0]
    assert groups_of_near_duplicates([]).tolist() == []


def test_a_chain_of_copies_is_one_group():
    """Each is like the next; the first and the last need not be."""
    first, last = (np.asarray(scene(number), dtype=float) for number in (1, 2))
    shares = np.linspace(0, 1, 40)
    steps = np.stack([((1 - s) * first + s * last).astype(np.uint8) for s in shares])
    pixels = np.ascontiguousarray(steps.transpose(0, 3, 1, 2))
    assert near_duplicates(ColorImages(pixels)).tolist() == [0] * 40
    assert near_duplicates(ColorImages(pixels[[0, -1]])).tolist() == [0, 1]


def test_files_that_cannot_be_read_are_alone(tmp_path):
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png", "d.png")]
    for path in (paths[0], paths[3]):
        scene(3).save(path)
    for path in paths[1:3]:
        path.write_bytes(b"nothing")
    assert groups_of_near_duplicates(paths).tolist() == [0, 1, 2, 0]


def test_thousands_of_flat_pictures_are_quick_and_told_apart_by_their_gray():
    """Their signs are all equal, and correlation says nothing of them."""
    pixels = np.zeros((6000, 8, 8), dtype=np.uint8)
    pixels += (np.arange(6000) % 200).astype(np.uint8)[:, None, None]
    groups = near_duplicates(GrayImages(pixels))
    assert np.array_equal(groups, np.arange(6000) % 200)


@needs_shared("grocery")
def test_real_photographs_have_few():
    """Looked at by eye: bursts of one scene; every pair found is one, and none is large."""
    paths = sorted(Path(shared("grocery/dataset/test")).rglob("*.jpg"))
    sizes = np.bincount(groups_of_near_duplicates(paths))
    assert 5 <= sizes[sizes > 1].sum() <= 60
    assert sizes.max() <= 4
