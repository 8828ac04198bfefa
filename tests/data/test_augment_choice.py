"""--augment and its parts (build 5): what each draws and does, and that defaults stay."""

import hashlib
import json
from dataclasses import asdict, replace
from random import Random

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

import ancor
from ancor.cli import eval as evaluation
from ancor.cli import train
from ancor.data.color import DEVIATION, GRAYED, ORDER, SOLARIZED, draw, recolor
from ancor.data.config import DataConfig
from ancor.data.images import ColorImages
from ancor.data.registry import PHOTOGRAPHS
from ancor.data.resolve import resolve_data, without_parts
from ancor.data.transform_spec import AUGMENTATIONS, PARTS, VIEW_KINDS, TransformSpec
from ancor.data.transforms import draw_crop, training_view
from ancor.data.views import TrainingViews
from ancor.errors import InputError
from ancor.training.batches import TrainingBatches
from ancor.training.given import run_config
from tests.conftest import QUICK

# SHA-256 of the crops and drawings of seeds 0-299 for an image of 60 x 80, by the code from before
# augmentation was a choice (commit 45314c8): each number as 8 bytes of int and 4 of float.
BEFORE = {
    "digits": "bcef31842a094d19",
    "fashion-mnist": "093067d37a36f9fc",
    "glyphs": "303785714539ec92",
    "cifar100": "6d023cf3a1b124bf",
    "tiered": "a8ad6ff164b7830b",
    "living17": "f504a68c5d087992",
    "aircraft": "f504a68c5d087992",
}
PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 60, 80), dtype=np.uint8))
SPEC = replace(PHOTOGRAPHS, size=32)
ONE_PART = {
    "color_jitter": (0.0, 0.0, 0.0, 0.5),
    "grayscale": 0.6,
    "blur": 0.7,
    "solarize": 0.6,
    "flip": False,
}


def drawings(spec: TransformSpec, count: int = 300) -> np.ndarray:
    return np.stack([draw(Random(n), spec) for n in range(count)])


@pytest.mark.parametrize("dataset", BEFORE)
def test_defaults_draw_what_they_drew_before(dataset):
    spec, digest = DataConfig(dataset).transforms, hashlib.sha256()
    for number in range(300):
        rng = Random(number)
        crop = np.array(draw_crop(rng, spec, 60, 80), dtype="<i8")
        drawn = draw(rng, spec).astype("<f4")
        assert not drawn[SOLARIZED:].any()
        digest.update(crop.tobytes() + drawn[:SOLARIZED].tobytes())
    assert digest.hexdigest()[:16] == BEFORE[dataset]


def test_names_say_which_parts_and_parts_go_before_them():
    data = DataConfig("living17", augment="full").transforms
    assert data == DataConfig("living17").transforms  # the paper's
    assert DataConfig("digits", augment="crops").transforms == DataConfig("digits").transforms
    digits = DataConfig("digits", augment="full").transforms
    assert (digits.crop_scale, digits.flip) == ((0.8, 1.0), False)  # not of a name
    assert {part: getattr(digits, part) for part in PARTS} == AUGMENTATIONS["full"]
    assert DataConfig("living17", blur=0.0).transforms == data.augmented("color")
    bare = DataConfig("living17", augment="full", color_jitter=[0, 0, 0, 0], grayscale=0, blur=0)
    assert not bare.transforms.draws_colors
    assert DataConfig("living17", flip=False).transforms == replace(data, flip=False)
    assert DataConfig("digits", flip=True).transforms.flip
    assert VIEW_KINDS["weak"](digits.augmented("strong")) == digits.augmented("crops")


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("crops", (0, 0, 0, 0)),
        ("color", (0.8, 0.2, 0, 0)),
        ("full", (0.8, 0.2, 0.5, 0)),
        ("strong", (0.8, 0.2, 0.5, 0.2)),
    ],
)
def test_each_name_draws_its_parts_as_often_as_it_says(name, shares):
    drawn = drawings(SPEC.augmented(name), 4000)
    changed = drawn[:, ORDER] >= 0, drawn[:, GRAYED] == 1
    changed += drawn[:, DEVIATION] > 0, drawn[:, SOLARIZED] == 1
    assert [part.mean() for part in changed] == pytest.approx(shares, abs=0.03)
    jittered = drawn[changed[0], :4]
    strengths = AUGMENTATIONS[name]["color_jitter"]
    for values, most, middle in zip(jittered.T, strengths, (1, 1, 1, 0), strict=True):
        if len(values):
            assert abs(values - middle).max() == pytest.approx(most, rel=0.02)


@pytest.mark.parametrize("part", [part for part in PARTS if part != "auto_augment"])
def test_a_part_that_is_turned_off_leaves_the_draws_of_the_others(part):
    spec = SPEC.augmented("strong")
    off = drawings(replace(spec, **{part: AUGMENTATIONS["crops"][part]}))
    on = drawings(spec)
    places = {"grayscale": [GRAYED], "blur": [DEVIATION], "solarize": [SOLARIZED]}
    own = places.get(part, range(GRAYED))
    others = [column for column in range(on.shape[1]) if column not in own]
    np.testing.assert_array_equal(off[:, others], on[:, others])
    assert on[:, own].any()
    assert (
        not (off[:, ORDER:GRAYED] >= 0).any() if part == "color_jitter" else not off[:, own].any()
    )


def test_a_strength_of_0_leaves_its_property_out():
    drawn = drawings(replace(SPEC, color_jitter=(0.4, 0.0, 0.4, 0.0)))
    assert set(np.unique(drawn[:, ORDER:GRAYED])) == {-1, 0, 2}


@pytest.mark.parametrize("turn", [0.1, -0.1, 0.2, -0.2, 0.34, 0.5, -0.5])
def test_any_turn_of_the_hue_is_torchvisions(turn):
    """The largest that the paper draws is 0.1; from 1/6 on the hue goes round the circle."""
    drawn = np.zeros((1, SOLARIZED + 1), dtype=np.float32)
    drawn[:, ORDER:GRAYED] = -1
    drawn[:, ORDER], drawn[:, 3] = 3, turn
    theirs = functional.adjust_hue(PIXELS.float() / 255, turn) * 255
    assert (recolor(PIXELS[None], drawn)[0] - theirs).abs().max() < 0.01


def test_solarized_is_as_pillow_inverts():
    drawn = np.zeros((1, SOLARIZED + 1), dtype=np.float32)
    drawn[:, ORDER:GRAYED], drawn[:, SOLARIZED] = -1, 1
    assert torch.equal(recolor(PIXELS[None], drawn)[0].byte(), functional.solarize(PIXELS, 128))


@pytest.mark.parametrize("choice", [*AUGMENTATIONS, *ONE_PART])
def test_device_and_workers_make_the_same_views_of_every_choice(choice):
    given = {choice: ONE_PART[choice]} if choice in ONE_PART else {"augment": choice}
    given = {"augment": "crops", **given}
    spec = replace(DataConfig("folder", **given).transforms, size=24)
    pixels = np.random.default_rng(1).integers(0, 256, (32, 3, 30, 40), dtype=np.uint8)
    partition = replace(DataConfig("digits").load("test"), images=ColorImages(pixels))
    partition = replace(partition, coarse_labels=partition.coarse_labels[:32])

    def made(on_device: bool, spec: TransformSpec = spec) -> torch.Tensor:
        batches = TrainingBatches(
            *(partition, partition.coarse_labels, spec, ("strong", "strong"), 32, 0, 0),
            torch.device("cpu"),
            on_device,
        )
        (batch,) = batches.epoch(1)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (spec.mean, spec.std))
        return torch.cat([255 * (view * std + mean) for view in batch.views])

    one, other = made(False), made(True)
    assert (one - other).abs().max() <= 0.51  # half a level, by the rounding to bytes
    if choice != "crops":
        plain = made(False, replace(spec.augmented("crops"), flip=True))
        assert (one - plain).abs().max() > 20


def test_mirrored_views_come_only_where_asked_for():
    wide = torch.arange(80, dtype=torch.uint8).expand(3, 60, 80)  # brighter to the right
    for flip, expected in ((True, {True, False}), (False, {False})):
        spec = replace(SPEC.augmented("crops"), flip=flip)
        views = [training_view(wide, spec, Random(n))[0].int() for n in range(40)]
        assert {bool(view[0, 0, 0] > view[0, 0, -1]) for view in views} == expected


@pytest.mark.parametrize("color_name", ["color", "colour"])
@pytest.mark.parametrize(
    ("color", "blur", "name"),
    [(False, False, "crops"), (True, False, "color"), (True, True, "full")],
)
def test_files_from_before_are_read(color_name, color, blur, name):
    """Saved classifiers held two booleans, under two spellings."""
    told = {k: v for k, v in asdict(PHOTOGRAPHS).items() if k not in PARTS}
    told = json.loads(json.dumps({**told, color_name: color, "blur": blur}))
    assert TransformSpec.from_file(told) == PHOTOGRAPHS.augmented(name)


@pytest.mark.parametrize(
    "broken", [{"color_jitter": [9, 0, 0, 0]}, {"color_jitter": [0.1]}, {"grayscale": float("nan")}]
)
def test_unsound_parts_in_files_are_refused(broken):
    told = asdict(PHOTOGRAPHS.augmented("strong"))
    assert TransformSpec.from_file(told) == PHOTOGRAPHS.augmented("strong")
    with pytest.raises(ValueError, match="augmentation"):
        TransformSpec.from_file({**told, **broken})


def test_a_boolean_blur_of_older_python_code_is_not_taken_as_always():
    with pytest.raises(InputError, match=r"`blur` True.*0\.5"):
        TransformSpec(size=32, mean=(0.5,) * 3, std=(0.5,) * 3, blur=True)


def test_another_name_replaces_the_parts_that_a_file_tells(tmp_path, quick_run):
    """--config RUN --augment full is all of full, not what the file's parts leave of it."""
    config = json.loads((quick_run / "config.json").read_text())
    config["data"] |= {"augment": "color", "blur": 0.1, "grayscale": 0.0, "crop_scale": [0.5, 1]}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    same = run_config({"config": str(path)}, None)[0].data.transforms
    assert (same.blur, same.grayscale, same.color_jitter[3]) == (0.1, 0.0, 0.1)
    other = run_config({"config": str(path), "augment": "full"}, None)[0].data.transforms
    assert other == replace(same, **AUGMENTATIONS["full"])
    assert other.crop_scale == (0.5, 1)
    told = {"blur": 0.1, "flip": True}
    assert without_parts(told, {}) == told
    assert without_parts(told, {"augment": "crops"}) == {"flip": True}


def test_the_start_says_the_augmentation_and_resume_cannot_change_it(tmp_path, capsys):
    run = tmp_path / "run"
    flags = [*QUICK, "--augment", "full", "--blur", "0.3", "--flip", "--output-dir", str(run)]
    assert train.main([*flags, "--epochs", "1", "--max-steps", "1"]) == 0
    said = "own parts: crop scale 0.8-1, flip p 0.5, jitter 0.4 0.4 0.4 0.1 p 0.8"
    assert f"Augment   {said}, grayscale p 0.2, blur p 0.3\n" in (run / "log.txt").read_text()
    last = run / "last.pth.tar"
    for changed in (
        ["--augment", "color"],
        ["--color-jitter", "0", "0", "0", "0"],
        ["--grayscale", "0.1"],
        ["--blur", "0"],
        ["--solarize", "0.1"],
        ["--no-flip"],
    ):
        capsys.readouterr()
        assert train.main(["--resume", str(last), "--quiet", *changed]) == 2, changed
        (message,) = capsys.readouterr().err.splitlines()
        name = changed[0].removeprefix("--").removeprefix("no-").replace("-", "_")
        assert f"data setting {name!r} is" in message
    assert train.main(["--resume", str(last), "--quiet", "--epochs", "1", "--blur", "0.3"]) == 0
    # Support views of a classifier are mirrored as those of an evaluation of the file are.
    assert ancor.load_encoder(str(last)).transforms.flip


def test_views_are_those_of_their_address_under_every_name():
    digits = DataConfig("digits", augment="strong")
    partition = digits.load("test")

    def item(request):
        views = TrainingViews(
            partition.images, partition.coarse_labels, digits.transforms, ("strong", "weak"), 7
        )
        return views[request][0]

    (query, weak), (again, _) = item((2, 5)), item((2, 5))
    assert torch.equal(query, again)
    assert not torch.equal(query, item((3, 5))[0])
    assert not torch.equal(query, weak)


def test_evaluation_mirrors_support_views_as_the_file_says_or_the_flag():
    told = {"dataset": "fashion-mnist", "augment": "full", "flip": False}
    assert not resolve_data({}, told).transforms.flip
    assert resolve_data({"flip": True}, told).transforms.flip
    assert resolve_data({}, {"dataset": "fashion-mnist"}).transforms.flip  # a file from before
    assert evaluation.build_parser().parse_args(["--model-path", "f", "--no-flip"]).flip is False
    with pytest.raises(SystemExit):  # which only draws support views
        evaluation.build_parser().parse_args(["--model-path", "f", "--augment", "full"])


def test_python_takes_the_same_settings():
    data = ancor.load_dataset("digits", color_jitter=(0.2, 0.2, 0, 0), grayscale=0.1)
    assert data.config.transforms.color_jitter == (0.2, 0.2, 0, 0)
    settings = {"arch": "conv4", "epochs": 1, "max_steps": 1, "val_episodes": 0}
    encoder = ancor.train(data, augment="color", blur=0.5, **settings)
    assert encoder.transforms == data.config.transforms.augmented("full")
    for wrong in ({"augment": "ful"}, {"blur": True}, {"color_jitter": (0.4, 0.4)}, {"flip": 1}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            ancor.load_dataset("digits", **wrong)


@pytest.mark.parametrize(("squash", "mode"), [(False, "center"), (True, "squash")])
def test_files_from_before_tell_squash(squash, mode):
    told = {k: v for k, v in asdict(PHOTOGRAPHS).items() if k != "crop_mode"}
    read = TransformSpec.from_file(json.loads(json.dumps({**told, "squash": squash})))
    assert read == replace(PHOTOGRAPHS, crop_mode=mode)
    with pytest.raises(ValueError, match="crop mode"):
        TransformSpec.from_file({**told, "crop_mode": "no such"})
