"""From images to features, from these to a head, and from that to answers; on digits and conv4."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import to_pil_image

import ancor
from ancor.checkpoints import checkpoint
from ancor.cli import board, embed, localize, neighbors, predict, train, tsne
from ancor.cli import eval as evaluation
from ancor.data import features
from ancor.data.config import DataConfig
from ancor.data.transforms import normalize
from ancor.data.views import TrainingViews
from ancor.methods.base import Batch
from ancor.methods.registry import build_method
from ancor.training.resolve import resolve
from tests import made
from tests.refusals import refused, tells

EPISODES = ["--n-test-runs", "5", "--cls", "Proto", "--n-augmentations", "1", "--partition", "test"]
TRAIN = ["--mode", "coarse", "--val-episodes", "4", "--precision", "fp32", "--queue-k", "16"]


@pytest.fixture(scope="module")
def weights(quick_run) -> str:
    return str(quick_run / "model_best.pth.tar")


@pytest.fixture(scope="module")
def rows(weights, tmp_path_factory) -> str:
    """A file of features of digits, by the backbone of a run."""
    path = tmp_path_factory.mktemp("features") / "digits.npz"
    assert embed.main(["--model-path", weights, "--views", "3", "--output", str(path)]) == 0
    return str(path)


@pytest.fixture(scope="module")
def head(rows, tmp_path_factory):
    """The folder of a head that was trained on them."""
    folder = tmp_path_factory.mktemp("heads") / "head"
    command = ["--features", rows, *TRAIN, "--epochs", "2", "-p", "3", "--output-dir", str(folder)]
    assert train.main(command) == 0
    return folder


def results(*flags: str, path) -> list[dict]:
    assert evaluation.main([*flags, *EPISODES, "--json", str(path)]) == 0
    return json.loads(path.read_text())["results"]


def test_features_are_of_all_partitions(rows, weights):
    told = features.about(rows)
    assert list(told["partitions"]) == ["train", "validation", "test"]
    assert (told["dataset"], told["arch"], told["pretrained"]) == ("digits", "conv4", weights)
    for name in told["partitions"]:
        own, images = features.load(name, rows), ancor.load_dataset("digits")[name]
        assert own.hierarchy == images.hierarchy
        assert np.array_equal(own.fine_labels, images.fine_labels)
        assert own.images.views == (3 if name == "train" else 0)


def test_a_head_changes_nothing_but_itself(head, weights):
    """The checkpoint holds the whole encoder, whose backbone is the one that made the features."""
    ours, theirs = (checkpoint.load_encoder(path)[0] for path in (head / "last.pth.tar", weights))
    for name, tensor in theirs.backbone.state_dict().items():
        assert torch.equal(ours.backbone.state_dict()[name], tensor), name
    assert not torch.equal(ours.embedder.weight, theirs.embedder.weight)


def test_the_start_says_what_it_took(rows, tmp_path, capsys):
    assert (
        train.main(["--features", rows, *TRAIN, "--epochs", "1", "--output-dir", str(tmp_path)])
        == 0
    )
    said = capsys.readouterr().out
    assert tells(said, rows, "--dataset", "digits", "--arch", "conv4", "--freeze", "all")
    assert tells(said, "--optimizer", "adamw")
    assert not tells(said, "--backbone-lr-scale")
    assert tells(said, "Views", "3")


def test_features_and_images_answer_alike(head, tmp_path):
    """One model, scored on the file and on the images: the same episodes, the same answers."""
    model = ["--model-path", str(head / "model_best.pth.tar")]
    on_rows = results(*model, path=tmp_path / "a.json")
    on_images = results(*model, "--dataset", "digits", path=tmp_path / "b.json")
    # Support images are augmented on images alone: answers may differ by that.
    for one, other in zip(on_rows, on_images, strict=True):
        assert one["accuracy"] == pytest.approx(other["accuracy"], abs=15)
    about = [json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json")]
    assert about[0]["episodes_sha256"] == about[1]["episodes_sha256"]
    assert [a["features_out"] for a in about] == [["both"], ["both"]]


def test_what_is_scored_is_a_choice(head, weights, rows, tmp_path):
    model = ["--model-path", str(head / "model_best.pth.tar")]
    found = {
        out: results(*model, "--features-out", out, path=tmp_path / f"{out}.json")
        for out in ("head", "frozen", "both")
    }
    frozen = results("--model-path", weights, "--features", rows, path=tmp_path / "f.json")
    accuracies = {out: [result["accuracy"] for result in each] for out, each in found.items()}
    assert accuracies["frozen"] == [result["accuracy"] for result in frozen]
    assert accuracies["head"] != accuracies["frozen"]
    assert results(*model, path=tmp_path / "d.json")[0]["accuracy"] == accuracies["both"][0]
    for flag, out in (("--only-base", "frozen"), ("--no-only-base", "head")):
        asked = results(*model, flag, path=tmp_path / "o.json")
        assert [result["accuracy"] for result in asked] == accuracies[out]


def test_neighbors_are_those_of_the_retrieval_that_eval_reports(head, tmp_path, capsys):
    model = ["--model-path", str(head / "model_best.pth.tar"), "--partition", "test"]
    report = tmp_path / "r.json"
    words = ["--n-test-runs", "2", "--retrieval", "--dataset", "digits", "--json", str(report)]
    assert evaluation.main([*model, *words]) == 0
    recall = json.loads(report.read_text())["retrieval"]["whole"]["recall"]
    capsys.readouterr()
    drawn = ["--dataset", "digits", "--k", "1", "--n", "1", "--output", str(tmp_path / "n.png")]
    assert neighbors.main([*model, *drawn]) == 0
    assert tells(capsys.readouterr().out, "Recall", f"{recall['1']:.2f} at 1")


def test_the_gain_is_over_the_frozen_backbone(head, weights, tmp_path):
    model = ["--model-path", str(head / "model_best.pth.tar")]
    untrained = results(*model, "--untrained", path=tmp_path / "u.json")
    frozen = results(*model, "--features-out", "frozen", path=tmp_path / "f.json")
    for one, other in zip(untrained, frozen, strict=True):
        assert one["untrained"]["accuracy"] == other["accuracy"]


@pytest.mark.parametrize(
    "flags",
    [
        ["--val-fraction", "0.3"],
        ["--image-size", "16"],
        ["--mean", "0.5", "0.5", "0.5"],
        ["--coarse-level", "family"],
        ["--labels", "labels.csv"],
        ["--skip-bad-images"],
    ],
)
def test_what_means_nothing_on_features_is_refused_in_evaluation_too(flags, rows, weights, capsys):
    on_rows = ["--model-path", weights, "--features", rows, *EPISODES]
    refused(evaluation.main, [*on_rows, *flags], capsys, flags[0], "--features")


def test_a_head_tells_its_features_and_none_of_their_images_are_chosen(head, capsys):
    flags = ["--model-path", str(head / "model_best.pth.tar"), "--val-fraction", "0.3"]
    refused(evaluation.main, [*flags, *EPISODES], capsys, "--val-fraction", "--features")


def test_what_cannot_be_read_is_left_out_and_told(weights, tmp_path, capsys):
    for number in range(3):
        made.write(tmp_path / "images" / "ab"[number % 2] / f"{number}.png", number)
    (tmp_path / "images" / "a" / "broken.png").write_bytes(b"x")
    words = ["--model-path", weights, "--data", str(tmp_path / "images"), "--image-size", "16"]
    words += ["--views", "0", "--output", str(tmp_path / "x.npz")]
    refused(embed.main, words, capsys, "broken.png")
    assert embed.main([*words, "--skip-bad-images"]) == 0
    assert tells(capsys.readouterr().out, "broken.png")


@pytest.mark.parametrize("command", [embed, tsne, board, localize])
def test_what_keeps_no_features_takes_no_cache(command, weights, capsys):
    flags = ["--model-path", weights, "--feature-cache", "x"]
    flags += ["--output", "x.npz"] if command is embed else []
    refused(command.main, flags, capsys, "--feature-cache")


def test_a_model_that_is_not_as_said_is_refused(weights, tmp_path, capsys):
    words = ["--model-path", weights, "--output", str(tmp_path / "x.npz"), "--views", "0"]
    refused(embed.main, [*words, "--arch", "resnet12"], capsys, "--arch resnet12", "conv4")
    assert embed.main([*words, "--arch", "conv4", "--dim", "7", "--partition", "test"]) == 0
    assert tells(capsys.readouterr().out, "--dim", "7", "128")


def test_losses_on_features_are_those_on_images(rows, weights):
    """The same views, once as images through the frozen backbone and once as the file has them."""
    config, _ = resolve({"features": rows, "mode": "coarse", "queue_length": 16})
    partition = features.load("train", rows)
    torch.manual_seed(0)
    encoder = replace(config.encoder, num_classes=3)
    method = build_method(encoder, config.method, torch.from_numpy(partition.coarse_labels))
    for encoder in (method.encoder, method.key_encoder):
        state = checkpoint.load_encoder(weights)[0].backbone.state_dict()
        encoder.backbone.load_state_dict(state)
    method.freeze(4)
    method.train()
    images = ancor.load_dataset("digits")["train"].images
    items = TrainingViews(
        images, partition.coarse_labels, config.data.transforms, ("strong",) * 3, 0
    )
    seen = [torch.stack([items[0, index][0][view] for index in range(20)]) for view in (0, 2)]
    labels = torch.from_numpy(partition.coarse_labels[:20])
    kept = [tensor.clone() for tensor in method.moved_by_losses()]
    inputs = (
        tuple(normalize(view, config.data.transforms) for view in seen),
        tuple(partition.images.rows[:20, 1 + view] for view in (0, 2)),
    )
    found = []
    for views in inputs:
        losses = method.losses(Batch(views, labels, torch.arange(20)))
        found.append({name: term.value.item() for name, term in losses.items()})
        for tensor, before in zip(method.moved_by_losses(), kept, strict=True):
            tensor.copy_(before)
    assert found[0] == pytest.approx(found[1], abs=1e-4)
    assert found[0].keys() == {"cls", "cst_by_class"}


def test_a_stopped_head_goes_on_to_the_bit(head, rows, tmp_path):
    """Stopped in the middle of the second epoch, against the run that was not."""
    every = ["--features", rows, *TRAIN, "--epochs", "2", "-p", "3", "--output-dir", str(tmp_path)]
    steps = json.loads((head / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert train.main([*every, "--max-steps", str(steps // 2 + 1)]) == 0
    assert train.main([*every, "--resume", "auto"]) == 0
    one, other = (
        checkpoint.read(folder / "last.pth.tar")["state_dict"] for folder in (head, tmp_path)
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_predict_and_python_know_the_head(head, tmp_path, capsys):
    encoder = ancor.load_encoder(head / "model_best.pth.tar")
    images = ancor.load_dataset("digits")["test"].images
    pixels = [images[n] for n in range(4)]
    assert np.asarray(encoder.encode(pixels)).shape == (
        4,
        encoder.network.backbone.out_features + 128,
    )
    frozen = ancor.load_encoder(head / "model_best.pth.tar", features_out="frozen")
    assert np.asarray(frozen.encode(pixels)).shape == (4, encoder.network.backbone.out_features)
    classifier = ancor.FewShotClassifier(encoder, n_augmentations=0).fit(pixels, list("abab"))
    classifier.save(tmp_path / "c.pt")
    again = ancor.FewShotClassifier.load(tmp_path / "c.pt")
    assert np.array_equal(again.predict_proba(pixels), classifier.predict_proba(pixels))


def test_a_plot_needs_no_images_and_a_page_of_them_does(head, rows, tmp_path, capsys):
    model = ["--model-path", str(head / "model_best.pth.tar"), "--output-dir", str(tmp_path)]
    assert tsne.main(model) == 0
    assert len(list(tmp_path.glob("*.png"))) == 2
    assert refused(tsne.main, [*model, "--html"], capsys, rows, "--dataset", "--data")
    refused(localize.main, model[:2], capsys, rows, "--dataset", "--data")  # a traceback


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--arch", "resnet18"], ("--arch", "resnet18", "conv4")),
        (["--freeze", "2"], ("--freeze", "2", "conv4")),
        (["--augment", "full"], ("--augment",)),
        (["--blur", "0.5"], ("--blur",)),
        # All of these were passed over without a word.
        (["--perspective", "0.5"], ("--perspective",)),
        (["--val-fraction", "0.2"], ("--val-fraction", "--features")),
        (["--labels", "x.csv"], ("--labels", "--features")),
        (["--skip-bad-images"], ("--skip-bad-images", "--features")),
        (["--image-size", "48"], ("--image-size", "48", "--features")),
        (["--crop-mode", "squash"], ("--crop-mode", "squash")),
        (["--dataset", "glyphs"], ("--features", "glyphs", "digits")),
    ],
)
def test_what_means_nothing_on_features_is_refused(rows, tmp_path, flags, words, capsys):
    command = ["--features", rows, "--mode", "coarse", "--output-dir", str(tmp_path / "no")]
    refused(train.main, [*command, *flags], capsys, *words)
    assert not (tmp_path / "no").exists()


def test_other_weights_than_those_of_the_features_are_refused(
    rows, head, weights, tmp_path, capsys
):
    other = checkpoint.read(weights)
    name = next(n for n in other["state_dict"] if n.endswith("weight"))
    other["state_dict"][name] = other["state_dict"][name] + 1
    other = {key: value for key, value in other.items() if key != "checksum"}
    other["config"]["format"] = 3
    torch.save({"state_dict": other["state_dict"]}, tmp_path / "other.pth")
    for main, command in (
        (evaluation.main, ["--model-path", str(tmp_path / "other.pth"), "--features", rows]),
        (train.main, ["--features", rows, "--pretrained", str(tmp_path / "other.pth"), *TRAIN]),
    ):
        assert refused(main, command, capsys, rows)


def test_features_beside_config_bring_their_backbone(rows, weights, quick_run, tmp_path, capsys):
    """A head on the features of one backbone was saved with another one, which was drawn."""
    command = ["--config", str(quick_run / "config.json"), "--features", rows, "--max-steps", "1"]
    assert train.main([*command, "--val-episodes", "0", "--output-dir", str(tmp_path)]) == 0
    assert tells(capsys.readouterr().out, "--config", "--freeze 0")
    ours, theirs = (
        checkpoint.load_encoder(path)[0] for path in (tmp_path / "last.pth.tar", weights)
    )
    for name, tensor in theirs.backbone.state_dict().items():
        assert torch.equal(ours.backbone.state_dict()[name], tensor), name


def test_images_beside_the_config_of_a_head_are_read(head, tmp_path):
    """The features were trained on, and `--dataset` was passed over."""
    command = ["--config", str(head / "config.json"), "--dataset", "digits", "--max-steps", "1"]
    assert train.main([*command, "--val-episodes", "0", "--output-dir", str(tmp_path)]) == 0
    config = checkpoint.read(tmp_path / "last.pth.tar")["config"]
    assert (config["data"]["features"], config["training"]["freeze"]) == (None, "all")


def test_a_head_goes_on_with_features_of_its_own_backbone_alone(rows, head, tmp_path, capsys):
    with np.load(rows) as file:
        arrays = dict(file)
    arrays["about"] = np.array(json.dumps({**json.loads(str(arrays["about"])), "weights": "other"}))
    np.savez(tmp_path / "other.npz", **arrays)
    command = ["--resume", str(head / "last.pth.tar"), "--features", str(tmp_path / "other.npz")]
    command += ["--epochs", "3", "--val-episodes", "0", "--output-dir", str(tmp_path / "on")]
    refused(train.main, command, capsys, repr(str(tmp_path / "other.npz")), "weights")


def test_what_cannot_be_written_is_refused_first(weights, tmp_path, capsys):
    model = ["--model-path", weights]
    refused(embed.main, [*model, "--output", str(tmp_path / "f.txt")], capsys, ".npz", ".csv")
    out = ["--output", str(tmp_path / "f.npz")]
    refused(embed.main, [*model, "--views", "-1", *out], capsys, "--views", "-1")
    refused(embed.main, [*model, "--partition", "tset", *out], capsys, "tset", "test")
    assert not (tmp_path / "f.npz").exists()


def test_too_few_views_for_the_method(weights, tmp_path, capsys):
    path = str(tmp_path / "f.npz")
    assert embed.main(["--model-path", weights, "--views", "1", "--output", path]) == 0
    command = ["--features", path, *TRAIN, "--output-dir", str(tmp_path / "no")]
    refused(train.main, command, capsys, "--features", path, "embed", "1", "2")


def test_a_data_config_reads_them(rows):
    assert len(DataConfig("digits", features=rows).load("validation")) > 0


def test_predict_takes_a_head(head, tmp_path, capsys):
    images = ancor.load_dataset("digits")["test"].images
    for number in range(4):
        folder = tmp_path / "support" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        to_pil_image(images[number]).save(folder / f"{number}.png")
    model = ["--model-path", str(head / "model_best.pth.tar")]
    support = ["--support", str(tmp_path / "support"), "--query", str(tmp_path / "support" / "a")]
    assert predict.main([*model, *support]) == 0
    assert "a" in capsys.readouterr().out


@pytest.mark.parametrize("whole", [True, False])
def test_python_trains_the_same_head(whole, head, rows):
    """`ancor.train` on a dataset of features was refused: it has an `augment`, which is None."""
    settings = {"epochs": 2, "val_episodes": 4, "queue_length": 16, "print_freq": 3}
    data = ancor.load_dataset("digits", features=Path(rows))
    given = {} if whole else {"validation": data["validation"]}
    settings |= {"device": "cpu", "precision": "fp32", **given}
    ours = ancor.train(data if whole else data["train"], **settings)
    theirs = checkpoint.read(head / "model_best.pth.tar")["config"]
    for section in ("encoder", "method", "data", "training"):
        assert ours.content["config"][section] == theirs[section], section
    loaded = ancor.load_encoder(head / "model_best.pth.tar")
    assert ours.transforms == loaded.transforms
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, ours.network.state_dict()[name]), name
