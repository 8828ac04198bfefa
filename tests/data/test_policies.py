"""AutoAugment and perspective of training views."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from ancor.data.config import DataConfig
from ancor.data.policies import GRAY, changed, policy
from ancor.data.transform_spec import VIEW_KINDS, TransformSpec
from ancor.data.transforms import training_view
from ancor.runtime.seeding import seeded

SPEC = TransformSpec(size=32, native_size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
PIXELS = torch.from_numpy(np.random.default_rng(0).integers(1, 255, (3, 32, 32), dtype=np.uint8))


def views(spec: TransformSpec, count: int = 200) -> list[torch.Tensor]:
    return [training_view(PIXELS, spec, Random(seed))[0] for seed in range(count)]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("part", ["auto_augment", "perspective"])
def test_each_part_changes_the_share_of_views_that_it_says(part, share):
    whole = replace(SPEC, crop_scale=(1.0, 1.0), flip=False)
    made, plain = views(replace(whole, **{part: share})), views(whole)
    differ = np.mean([not torch.equal(a, b) for a, b in zip(made, plain, strict=True)])
    # The ops of the policy come by chance themselves, and may leave an image as it is.
    most = {"auto_augment": 0.85, "perspective": 1.0}[part]
    assert differ == pytest.approx(most * share, abs=0.1)


def test_a_part_leaves_the_draws_of_crops_colors_and_of_the_other():
    for spec in (SPEC, SPEC.augmented("strong")):
        with_both = replace(spec, auto_augment=1.0, perspective=0.5)
        for seed in range(20):
            plain, both = Random(seed), Random(seed)
            _, drawn = training_view(PIXELS, spec, plain, color=False)
            _, as_drawn = training_view(PIXELS, with_both, both, color=False)
            np.testing.assert_array_equal(drawn, as_drawn)
    only = replace(SPEC, perspective=0.5)
    for seed in range(20):
        seen = changed(PIXELS, only, Random(seed))
        beside = changed(PIXELS, replace(only, auto_augment=1e-12), Random(seed))
        assert torch.equal(seen, beside)


def test_a_view_is_that_of_its_seed_whatever_was_drawn_before():
    spec = replace(SPEC.augmented("auto"), perspective=0.5)
    first = views(spec, 5)
    torch.rand(7)
    state = torch.random.get_rng_state()
    assert all(map(torch.equal, first, views(spec, 5)))
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_policy_is_torchvisions_and_differs_from_maskcons_in_one_place():
    table = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
    assert len(table) == 25
    assert table.count((("Equalize", 0.2, None), ("Equalize", 0.6, None))) == 1  # theirs: 0.8
    flat = torch.full((3, 32, 32), 250, dtype=torch.uint8)
    came = set()
    for seed in range(300):
        with seeded(seed, "gray"):
            came |= set(policy()(flat).unique().tolist())
    assert GRAY in came  # what is sheared, moved or turned leaves gray, not black


def test_weak_views_are_seen_in_perspective_and_not_otherwise_changed():
    spec = DataConfig("digits", augment="auto", perspective=0.5).transforms
    assert (spec.auto_augment, spec.perspective) == (1.0, 0.5)
    weak = VIEW_KINDS["weak"](spec)
    assert (weak.auto_augment, weak.perspective) == (0.0, 0.5)
    assert "auto_augment p 1" in spec.augmentation()
    assert spec.augmentation().startswith("auto:")
    assert DataConfig("digits", augment="auto", auto_augment=0.25).transforms.auto_augment == 0.25


def test_defaults_draw_nothing_of_it():
    for dataset in ("digits", "living17", "cifar100"):
        spec = DataConfig(dataset).transforms
        assert (spec.auto_augment, spec.perspective) == (0.0, 0.0)
    rng = Random(3)
    before = rng.getstate()
    assert changed(PIXELS, SPEC, rng) is PIXELS
    assert rng.getstate() == before
