"""Labels that an image's neighbors doubt."""

import json
import shlex

import numpy as np
import torch
from PIL import Image

from ancor.cli import check_data
from ancor.cli import train as train_command
from ancor.data.config import DataConfig
from ancor.evaluation.outliers import label_outliers
from tests.refusals import refused, tells


def test_mislabeled_features_are_found_with_the_class_that_they_are_among():
    """Three groups of directions; five images carry another group's label, three of them alike."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 30)
    features = torch.nn.functional.normalize(
        torch.from_numpy(np.eye(3)[labels] + rng.normal(0, 0.1, (90, 3))).float(), dim=1
    )
    given = labels.copy()
    wrong = {2: 1, 40: 0, 70: 0, 71: 0, 72: 0}
    for image, label in wrong.items():
        given[image] = label
    found = label_outliers(features, given)
    assert {image for image, _, _ in found} == set(wrong)
    assert all(suggested == labels[image] for image, suggested, _ in found)
    shares = [share for _, _, share in found]
    assert shares == sorted(shares, reverse=True)
    assert all(0.7 <= share <= 1 for share in shares)
    assert label_outliers(features, labels) == []


def test_small_classes_are_doubted_by_nobody():
    """Of a class of three, no majority of ten neighbors can be of it; so it is left out."""
    features = torch.nn.functional.normalize(torch.rand(23, 4, generator=torch.manual_seed(0)))
    labels = np.repeat([0, 1], [20, 3])
    assert label_outliers(features, labels) == []
    assert label_outliers(features[:2], labels[:2]) == []
    assert label_outliers(features[:3], labels[-3:]) == []


def test_check_data_names_them_by_a_trained_encoder(tmp_path, capsys):
    """Red, green and blue pictures, three of them in another folder."""
    colors, root = {"red": 0, "green": 1, "blue": 2}, tmp_path / "images"
    wrong = {("red", 3): "blue", ("green", 5): "red", ("blue", 7): "green"}
    for name, channel in colors.items():
        for number in range(24):
            rng = np.random.default_rng(100 * channel + number)
            pixels = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
            pixels[..., channel] += 190
            path = root / "train" / wrong.get((name, number), name) / f"{name}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    words = (
        "--mode coarse --arch conv4 --image-size 32 -b 24 --queue-k 24 --epochs 2 --augment crops"
    )
    run = tmp_path / "run"
    words = [*shlex.split(words), "--data", str(root), "--output-dir", str(run)]
    assert train_command.main(words) == 0
    model, report = str(run / "last.pth.tar"), tmp_path / "report.json"
    capsys.readouterr()
    words = ["--data", str(root), "--model-path", model, "--json", str(report)]
    assert check_data.main(words) == 0
    assert tells(capsys.readouterr().out, "'train'", "3 labels")
    found = json.loads(report.read_text())["outliers"]
    assert {(each["name"].rpartition("/")[2], each["suggested"]) for each in found} == {
        ("red3.png", "red"),
        ("green5.png", "green"),
        ("blue7.png", "blue"),
    }
    assert {each["class"] for each in found} == set(colors)
    refused(check_data.main, [*words[:3], str(tmp_path / "none.pth.tar")], capsys, "none.pth.tar")
    # Beside what cannot be read they are found too, under their own numbers.
    (root / "train" / "blue" / "a.png").write_bytes(b"broken")
    (root / "test" / "red").mkdir(parents=True)
    Image.fromarray(pixels).save(root / "test" / "lost.png")
    assert check_data.main(words) == 1
    assert tells(capsys.readouterr().out, "problem", "lost.png")
    again = json.loads(report.read_text())["outliers"]
    images = DataConfig("folder", root=str(root)).read("train").images
    assert [images.name(each["index"]) for each in again] == [each["name"] for each in found]
