"""Training views: their distribution is that of the paper's pipeline, wherever colors change."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision import transforms as v1
from torchvision.transforms import v2

from ancor.data import transforms
from ancor.data.color import COLUMNS, DEVIATION, GRAYED, ORDER, draw, recolor
from ancor.data.config import DataConfig
from ancor.data.images import ColorImages
from ancor.data.registry import PHOTOGRAPHS
from ancor.data.transform_spec import TransformSpec
from ancor.data.transforms import (
    draw_crop,
    normalize,
    pixels_of,
    query_transform,
    stored_form,
    support_transform,
    training_view,
)
from ancor.data.views import TrainingViews
from ancor.training.batches import TrainingBatches

COUNT = 2000
SPEC = replace(PHOTOGRAPHS, size=32)


def photographs(count: int) -> list[Image.Image]:
    """Smooth, colored, slightly noisy pictures, each with a light and a tint of its own."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        tint = rng.uniform(0, 160, 3)
        coarse = np.clip(tint + rng.uniform(0, 120, (6, 8, 3)), 0, 255).astype(np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC))
        noisy = smooth + rng.normal(0, 10, smooth.shape)
        pictures.append(Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)))
    return pictures


def papers_pipeline():
    """The paper's transforms, of Pillow images by torchvision's first interface."""

    def blur(image):
        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2)))

    return v1.Compose(
        [
            v1.RandomResizedCrop(SPEC.size, scale=(0.2, 1.0)),
            v1.RandomApply([v1.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v1.RandomGrayscale(p=0.2),
            v1.RandomApply([blur], p=0.5),
            v1.RandomHorizontalFlip(),
        ]
    )


def statistics(views: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of each view, from bytes (N, S, S, 3)."""
    gray = views.mean(3)
    edges = np.abs(np.diff(gray, axis=1)).mean((1, 2)) + np.abs(np.diff(gray, axis=2)).mean((1, 2))
    hsv = np.stack([np.asarray(Image.fromarray(view).convert("HSV")) for view in views])
    found = {"edge energy": edges, "edge energy's spread": edges**2}
    for channel in range(3):
        found[f"mean {channel}"] = views[..., channel].mean((1, 2))
        found[f"deviation {channel}"] = views[..., channel].std((1, 2))
    for number in range(8):
        found[f"hue {number}"] = (hsv[..., 0] // 32 == number).mean((1, 2))
        found[f"saturation {number}"] = (hsv[..., 1] // 32 == number).mean((1, 2))
    return found


@pytest.fixture(scope="module")
def images():
    return photographs(COUNT)


@pytest.fixture(scope="module")
def expected(images):
    random.seed(0)
    torch.manual_seed(0)
    pipeline = papers_pipeline()
    return statistics(np.stack([np.asarray(pipeline(image)) for image in images]))


def ours(images, on_device: bool) -> np.ndarray:
    made = [
        training_view(pixels_of(image), SPEC, random.Random(number), color=not on_device)
        for number, image in enumerate(images)
    ]
    views = torch.stack([view for view, _ in made])
    if on_device:
        views = recolor(views, np.stack([drawn for _, drawn in made])).round().byte()
    return views.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("on_device", [False, True])
def test_distribution_is_that_of_the_papers_pipeline(images, expected, on_device):
    """Every figure's mean over the images agrees within four deviations of the sampling error."""
    found = statistics(ours(images, on_device))
    far = {}
    for name, theirs in expected.items():
        error = np.sqrt((theirs.var() + found[name].var()) / COUNT)
        distance = abs(theirs.mean() - found[name].mean()) / max(error, 1e-12)
        if distance > 4:
            far[name] = (theirs.mean(), found[name].mean(), distance)
    assert not far


def test_device_and_workers_make_the_same_views(images):
    one, other = (ours(images[:200], on_device) for on_device in (False, True))
    assert np.abs(one.astype(int) - other).max() <= 1


def pillow(image: Image.Image, drawn: np.ndarray) -> np.ndarray:
    """What Pillow and torchvision make of one drawing."""
    from torchvision.transforms import functional as F

    changes = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    for place in drawn[ORDER:GRAYED].astype(int):
        if place >= 0:
            image = changes[place](image, float(drawn[place]))
    if drawn[GRAYED]:
        image = F.to_grayscale(image, 3)
    return np.asarray(image, dtype=np.float32)


@pytest.mark.parametrize("blur", [False, True])
def test_each_drawing_looks_as_pillow_makes_it(images, blur):
    """To some levels: Pillow rounds each step, hue to 256 levels, and blurs by three boxes."""
    for number, image in enumerate(images[:100]):
        drawn = draw(random.Random(number), replace(SPEC, blur=0.0))
        theirs = pillow(image, drawn)
        if blur:
            drawn[DEVIATION] = random.Random(number).uniform(0.3, 2)
            filtered = Image.fromarray(theirs.astype(np.uint8))
            filtered = filtered.filter(ImageFilter.GaussianBlur(float(drawn[DEVIATION])))
            theirs = np.asarray(filtered, dtype=np.float32)
        views = recolor(pixels_of(image)[None], drawn[None])[0].permute(1, 2, 0).numpy()
        difference = np.abs(views - theirs)
        assert difference.mean() < 4, (number, drawn)
        assert np.quantile(difference, 0.99) < 14, (number, drawn)


def test_drawings_come_as_often_as_the_paper_says():
    drawn = np.stack([draw(random.Random(n), SPEC) for n in range(4000)])
    assert drawn.shape == (4000, COLUMNS)
    assert np.mean(drawn[:, ORDER] >= 0) == pytest.approx(0.8, abs=0.03)
    assert np.mean(drawn[:, GRAYED]) == pytest.approx(0.2, abs=0.03)
    assert np.mean(drawn[:, DEVIATION] > 0) == pytest.approx(0.5, abs=0.03)
    assert len({tuple(row) for row in drawn[drawn[:, ORDER] >= 0, ORDER:GRAYED]}) == 24
    assert not draw(random.Random(0), SPEC.augmented("crops"))[:ORDER].any()


@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (10, 200), (200, 10), (1, 1)])
def test_crops_are_drawn_as_by_torchvision(shape):
    spec = replace(SPEC, crop_scale=(0.2, 1.0))
    ours = [draw_crop(random.Random(n), spec, *shape) for n in range(3000)]
    torch.manual_seed(0)
    draws = range(3000)
    blank = torch.empty(3, *shape)
    theirs = [v1.RandomResizedCrop.get_params(blank, (0.2, 1.0), (3 / 4, 4 / 3)) for _ in draws]
    for mine, other in zip(np.array(ours)[:, :4].T, np.array(theirs).T, strict=True):
        error = np.sqrt((mine.var() + other.var()) / 3000)
        assert abs(mine.mean() - other.mean()) <= 4 * error
    assert np.mean([crop.mirrored for crop in ours]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("on_device", [False, True])
def test_batches_do_not_depend_on_workers(images, workers, on_device):
    pixels = np.stack([np.asarray(image).transpose(2, 0, 1) for image in images[:16]])
    partition = replace(DataConfig("digits").load("test"), images=ColorImages(pixels))
    partition = replace(partition, coarse_labels=partition.coarse_labels[:16])

    def first(workers: int):
        batches = TrainingBatches(
            *(partition, partition.coarse_labels, SPEC, ("strong", "strong"), 8, 0, workers),
            torch.device("cpu"),
            on_device,
        )
        return next(iter(batches.epoch(3))), batches.preview(4)

    (alone, preview), (batch, _) = first(0), first(workers)
    assert all(torch.equal(a, b) for a, b in zip(alone.views, batch.views, strict=True))
    # Changed a batch at a time, they are what each is alone.
    items = TrainingViews(partition.images, np.zeros(16), SPEC, ("strong", "strong"), 0)
    alone_too = [items[3, index][0] for index in alone.indices.tolist()]
    for views, *made in zip(alone.views, *alone_too, strict=True):
        one_by_one = normalize(torch.stack(made), SPEC)
        assert (views - one_by_one).abs().max() < (0.02 if on_device else 1e-6)
    assert torch.equal(alone.indices, batch.indices)
    assert preview.shape == (8, 3, 32, 32)
    assert preview.dtype == torch.uint8


def test_an_image_is_read_once_for_all_its_views():
    class Counted(ColorImages):
        reads = 0

        def __getitem__(self, index):
            Counted.reads += 1
            return super().__getitem__(index)

    images = Counted(np.zeros((2, 3, 40, 30), dtype=np.uint8))
    plain = TransformSpec(size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
    views, drawings, _, _ = TrainingViews(images, np.zeros(2), plain, ("strong", "strong"), 0)[0, 1]
    assert (len(views), len(drawings), Counted.reads) == (2, 2, 1)


def test_the_size_of_crops_can_be_given():
    own = DataConfig("digits").transforms
    given = DataConfig("digits", crop_scale=(0.3, 0.4)).transforms
    assert own.crop_scale == (0.8, 1.0)
    assert given == replace(own, crop_scale=(0.3, 0.4))
    crops = [draw_crop(random.Random(n), given, 200, 200) for n in range(200)]
    areas = [crop.height * crop.width / 200**2 for crop in crops]
    assert 0.29 < min(areas) < 0.31
    assert 0.39 < max(areas) < 0.41


@pytest.mark.parametrize("size", [(300, 400), (256, 256), (90, 700), (8, 800)])
def test_photographs_are_resized_as_by_torchvision(size):
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8))
    expected = v2.Compose([v2.Resize(256), v2.CenterCrop(224)])(image)
    assert torch.equal(query_transform(PHOTOGRAPHS)(image), expected)
    expected = v2.Compose([v2.Resize(32), v2.CenterCrop(32)])(image)
    assert torch.equal(stored_form(DataConfig("digits").transforms)(image), expected)


@pytest.mark.parametrize("made", [query_transform, support_transform, stored_form])
def test_the_longest_image_takes_little_memory_at_any_size(made, monkeypatch):
    """B17: at --image-size 4096 the shorter side becomes 4681 pixels, so a ratio of 100 6 GB."""
    monkeypatch.setattr(transforms, "MOST_RESIZED", 2**27 // 64)
    image = torch.zeros((3, 6, 600), dtype=torch.uint8)
    image[:, :, 200:400] = 200
    sizes = []
    resize = v2.functional.resize

    def watched(*args, **options):
        sizes.append(resize(*args, **options).shape)
        return resize(*args, **options)

    monkeypatch.setattr(v2.functional, "resize", watched)
    view = made(PHOTOGRAPHS.with_size(512))(image)
    assert max(h * w for _, h, w in sizes) <= 2**27 // 64
    assert (view == 200).all()  # its middle
    assert view.shape[1:] == (512, 512) or made is stored_form


@pytest.mark.filterwarnings("error")
def test_some_images_of_a_gray_batch_are_changed_alone():
    """All were gray as one channel seen three times, into which torch warned to write."""
    spec = replace(PHOTOGRAPHS, grayscale=1.0, blur=0.5, solarize=0.5)
    drawn = np.stack([draw(random.Random(n), spec) for n in range(8)])
    assert 0 < (drawn[:, DEVIATION] > 0).sum() < 8
    batch = torch.randint(0, 256, (8, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    alone = [recolor(batch[n : n + 1].to(torch.uint8), drawn[n : n + 1]) for n in range(8)]
    assert torch.equal(recolor(batch.to(torch.uint8), drawn), torch.cat(alone))
