"""ancor discover, and who takes up what it found: training, and few-shot classifiers."""

import csv
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

import ancor
from ancor.cli import discover, predict
from ancor.cli.train import main as train
from tests.plots.test_check_page import Seen
from tests.refusals import refused, tells


@pytest.fixture(scope="module")
def found(quick_run, tmp_path_factory):
    """The folder of what was found among the digits' training images."""
    folder = tmp_path_factory.mktemp("found") / "digits"
    argv = ["--model-path", str(quick_run / "last.pth.tar"), "--output", str(folder), "--k", "4"]
    assert discover.main([*argv, "straight strokes=3", "--device", "cpu"]) == 0
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_image_has_a_line_a_file_and_its_sub_class(found):
    lines = rows(found)
    assert len(lines) == len(ancor.load_dataset("digits")["train"])
    counts = {"closed loops": 4, "straight strokes": 3, "open curves": 4}
    fine = {(line["coarse"], line["fine"]) for line in lines}
    assert fine == {(name, f"{name}/{n + 1}") for name, k in counts.items() for n in range(k)}
    assert {line["partition"] for line in lines} == {"train"}
    for line in lines:
        assert line["path"].startswith(f"images/{line['fine']}/")
    assert {path.relative_to(found).as_posix() for path in found.rglob("*.png")} == {
        line["path"] for line in lines
    }
    seen = Seen((found / "index.html").read_text(encoding="utf-8"))
    assert seen.tags.count("fieldset") == 11


def test_what_it_says_to_type_next_trains_on_the_proposed_names(quick_run, tmp_path, capsys):
    argv = ["--model-path", str(quick_run / "last.pth.tar"), "--device", "cpu"]
    out, run = tmp_path / "new folder", tmp_path / "run"
    assert discover.main([*argv, "--k", "2", "--partition", "test", "--output", str(out)]) == 0
    shown = capsys.readouterr().out
    assert tells(shown, "closed loops", "2", "4")  # as many are proposed, as many are true
    assert tells(shown, "accuracy", "ARI")
    (line,) = re.findall(r"^Next: .*$", shown, re.M)
    assert tells(shown, "labels.csv", "test", "train")
    words = shlex.split(line)
    quick = ["--epochs", "1", "-b", "64", "--quiet"]
    quick += ["--queue-k", "16", "--precision", "fp32", "--output-dir", str(run), "--device", "cpu"]
    assert train(words[words.index("--dataset") :] + quick) == 0
    assert (run / "last.pth.tar").exists()
    log = (run / "log.txt").read_text()
    assert tells(log, "folder", str(len(rows(out))), "3", "6", "fine")
    assert tells(log, "Data", "32 px")
    assert tells(log, "Backbone", str(quick_run / "last.pth.tar"))  # it starts from what found them


def test_a_training_starts_from_a_librarys_backbone_and_the_weights_of_its_file():
    def of(path: str) -> list[str]:
        network = SimpleNamespace(config=SimpleNamespace(arch="timm:resnet18"))
        return discover.start_words(SimpleNamespace(path=path, network=network))

    assert of("timm:resnet18") == ["--arch", "timm:resnet18", "--pretrained"]
    assert of("timm:resnet18=a b.pth") == ["--arch", "timm:resnet18", "--pretrained", "a b.pth"]


def test_a_few_shot_classifier_takes_the_folders_and_the_table(found, quick_run, tmp_path, capsys):
    model = str(quick_run / "last.pth.tar")
    support, query = found / "images" / "open curves", found / "images" / "open curves" / "1"
    argv = ["--model-path", model, "--support", str(support), "--query", str(query)]
    assert predict.main([*argv, "--cls", "Proto", "--n-augmentations", "0"]) == 0
    shown = capsys.readouterr().out
    (accuracy,) = re.findall(r"([\d.]+)%", shown)[:1] or re.findall(r"accuracy\D*([\d.]+)", shown)
    assert float(accuracy) > 90  # they are nearest to their own mean
    lines = rows(found)
    images, labels = zip(*((found / each["path"], each["fine"]) for each in lines), strict=True)
    classifier = ancor.FewShotClassifier(
        ancor.load_encoder(model), classifier="Proto", n_augmentations=0
    ).fit(images, labels)
    assert len(classifier.classes_) == 11
    assert classifier.score(images[:100], labels[:100]) > 0.8


def test_mistakes_are_told_before_images_are_passed(quick_run, found, tmp_path, capsys):
    argv = ["--model-path", str(quick_run / "last.pth.tar"), "--output"]
    new = str(tmp_path / "new")
    refused(discover.main, [*argv, str(found)], capsys, "--output", str(found))
    refused(discover.main, [*argv, new, "--k", "none"], capsys, "--k", "'none'")
    refused(discover.main, [*argv, new, "--algorithm", "dbscan"], capsys, "--algorithm", "kmeans")
    refused(discover.main, [*argv, new, "--k", "digit=2"], capsys, "--k", "'digit'", "open curves")
    refused(discover.main, argv[:2], capsys, "--output")
