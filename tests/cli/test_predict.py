"""predict.py as a user meets it: its report, its saved file, its bad moods."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ancor
from ancor.cli import predict
from ancor.cli.predict import ANSWERS, SETTINGS, build_parser, main
from ancor.data.config import DataConfig
from ancor.fewshot.estimator import FewShotClassifier
from ancor.runtime.text import printable
from tests import made
from tests.conftest import QUICK
from tests.refusals import refused, tells

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three digits as files: support/<digit>/*.png, 5 each, and query/*.png."""
    root = tmp_path_factory.mktemp("images")
    partition = DataConfig("digits").load("train")
    for label in (1, 4, 6):
        (root / "support" / str(label)).mkdir(parents=True)
        (root / "query").mkdir(exist_ok=True)
        for n, index in enumerate(np.flatnonzero(partition.fine_labels == label)[:8].tolist()):
            pixels = partition.images[index].numpy().transpose(1, 2, 0)
            name = f"support/{label}/{n}.png" if n < 5 else f"query/{label}_{n}.png"
            Image.fromarray(pixels).save(root / name)
    return root


@pytest.fixture
def command(quick_run, folder):
    """The flags that every use needs."""
    model = str(quick_run / "model_best.pth.tar")
    return ["--model_path", model, "--support", str(folder / "support"), "--device", "cpu"]


def predictions(capsys, arguments: list[str]) -> list[dict]:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["predictions"]


def test_help_is_grouped_and_ends_with_a_command():
    shown = subprocess.run(
        [sys.executable, "-m", "ancor", "predict", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    last = shown.rstrip().splitlines()[-1].split()
    assert last[:4] == ["python", "-m", "ancor", "predict"]
    build_parser().parse_args(last[4:])
    assert all(f"\n{group}:" in shown for group in ("model", "classes", "report", "device"))


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ([], {}),
        (["--cls", "NN", "--images-per-view", "2"], {"classifier": "NN"}),
        (["--coarse-first", "--cls", "Proto"], {"coarse_first": True, "classifier": "Proto"}),
    ],
)
def test_the_script_says_what_the_api_says(flags, settings, command, folder, capsys):
    queries = sorted(str(path) for path in (folder / "query").iterdir())
    found = predictions(capsys, [*command, "--query", str(folder / "query"), *flags])
    encoder = ancor.load_encoder(command[1], device="cpu")
    copies = {"n_augmentations": 2} if "--images-per-view" in flags else {}
    model = FewShotClassifier(encoder, **settings, **copies).fit(folder / "support")
    assert [row["path"] for row in found] == queries
    assert [row["class"] for row in found] == model.predict(queries).tolist()
    expected = model.predict_proba(queries).max(1)
    np.testing.assert_allclose([row["probability"] for row in found], expected, atol=1e-6)
    right = [row["class"] == Path(row["path"]).name[0] for row in found]
    assert np.mean(right) > 0.7


def test_text_json_and_table_agree(command, folder, tmp_path, capsys):
    query = [str(folder / "query"), str(folder / "support" / "4" / "0.png")]
    report, table = tmp_path / "out" / "r.json", tmp_path / "r.csv"
    flags = ["--query", *query, "--json", str(report), "--csv", str(table)]
    assert main([*command, *flags]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = json.loads(report.read_text())["predictions"]
    assert len(rows) == 10
    assert lines == [[r["path"], r["class"], f"{r['probability']:.3f}"] for r in rows]
    with open(table, newline="") as file:
        written = list(csv.DictReader(file))
    assert [(w["path"], w["class"]) for w in written] == [(r["path"], r["class"]) for r in rows]
    assert float(written[0]["probability"]) == pytest.approx(rows[0]["probability"], abs=1e-6)


def test_folders_of_coarse_classes_give_answers_at_both_levels(command, folder, tmp_path, capsys):
    for name, coarse in (("1", "straight"), ("4", "straight"), ("6", "round")):
        shutil.copytree(folder / "support" / name, tmp_path / "s" / coarse / name)
        shutil.copytree(folder / "support" / name, tmp_path / "q" / coarse / name)
    command = [*command, "--support", str(tmp_path / "s"), "--query", str(tmp_path / "q")]
    saved, table = tmp_path / "c.ancor", tmp_path / "t.csv"
    assert main([*command, "--back-off", "1", "--save", str(saved), "--csv", str(table)]) == 0
    shown = capsys.readouterr().out
    assert {line.split()[1] for line in shown.splitlines()[:-1]} <= {"straight", "round"}
    assert "coarse" in shown.splitlines()[-1]
    assert main([*command, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["accuracy"]["coarse_mean_over_images"] >= plain["accuracy"]["mean_over_images"]
    for row in plain["predictions"]:
        assert row["coarse_label"] == {"1": "straight", "4": "straight", "6": "round"}[row["label"]]
        assert row["coarse_probability"] >= row["probability"] - 1e-9 or row["class"] != "6"
        assert 0 < row["similarity"] <= 1
        assert row["coarse_by_encoder"]
        assert 0.3 < row["coarse_by_encoder_probability"] <= 1  # the likeliest of three
    middle = float(np.median([row["probability"] for row in plain["predictions"]]))
    again = ["--saved", str(saved), "--query", str(tmp_path / "q"), "--back-off", str(middle)]
    rows = predictions(capsys, again)
    for row, before in zip(rows, plain["predictions"], strict=True):
        backed = before["probability"] < middle
        assert row["class"] == (before["coarse"] if backed else before["class"])
    with open(table, newline="") as file:
        written = list(csv.DictReader(file))
    similarities = [float(row["similarity"]) for row in written]
    assert similarities == pytest.approx([r["similarity"] for r in plain["predictions"]], abs=1e-6)


def test_unknown_auto_is_told_by_similarity(command, folder, capsys):
    query = ["--query", str(folder / "query"), str(folder / "support")]
    few = predictions(capsys, [*command, *query, "--unknown", "auto"])
    many = predictions(capsys, [*command, *query, "--unknown", "auto", "--unknown-rate", "0.5"])
    for rows in (few, many):
        unknown = [row["similarity"] for row in rows if row["class"] == "unknown"]
        known = [row["similarity"] for row in rows if row["class"] != "unknown"]
        assert not unknown or max(unknown) < min(known)
    assert sum(r["class"] == "unknown" for r in few) < sum(r["class"] == "unknown" for r in many)


def test_what_is_not_likely_is_unknown(command, folder, capsys):
    command = [*command, "--query", str(folder / "query")]
    sure = [row["probability"] for row in predictions(capsys, command)]
    middle = float(np.median(sure))
    rows = predictions(capsys, [*command, "--unknown", str(middle)])
    assert [row["class"] == "unknown" for row in rows] == [p < middle for p in sure]
    assert [row["probability"] for row in rows] == sure


def test_the_class_behind_unknown_and_the_likeliest_are_kept(command, folder, tmp_path, capsys):
    """C19: `unknown 0.803` hid the class that it refused to name."""
    table = tmp_path / "t.csv"
    command = [*command, "--query", str(folder / "query")]
    sure = predictions(capsys, command)
    rows = predictions(capsys, [*command, "--unknown", "1", "--top-k", "2", "--csv", str(table)])
    assert [row["nearest"] for row in rows] == [row["class"] for row in sure]
    for row in rows:
        first, second = row["candidates"]
        assert row["class"] == "unknown"
        assert (first["class"], first["probability"]) == (row["nearest"], row["probability"])
        assert first["probability"] >= second["probability"]
    with open(table, newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["nearest"] for row in written] == [row["nearest"] for row in rows]
    assert [r["class_2"] for r in written] == [r["candidates"][1]["class"] for r in rows]
    assert main([*command, "--unknown", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(f"(nearest: {r['nearest']})" in x for x, r in zip(lines, rows, strict=True))
    assert main([*command, "--top-k", "2"]) == 0
    line, row = capsys.readouterr().out.splitlines()[0], rows[0]
    assert all(f"{c['class']} {c['probability']:.3f}" in line for c in row["candidates"])


def test_more_candidates_than_classes_is_said(command, folder, capsys):
    command = [*command, "--query", str(folder / "query"), "--top-k"]
    assert main([*command, "9", "--json"]) == 0
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)["predictions"][0]["candidates"]) == 3
    assert tells(shown.err, "--top-k 9", "3")  # beside the JSON, not inside it
    refused(main, [*command, "0"], capsys, "--top-k 0")


def test_a_tree_whose_folders_are_classes_is_scored(command, folder, tmp_path, capsys):
    """C19: --query takes a tree, files and folders mixed, and tells the accuracy."""
    queries = sorted((folder / "query").iterdir())
    for path in queries:
        place = tmp_path / "tree" / "deep" / path.name[0] / "more"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    (tmp_path / "tree" / "loose").mkdir()
    extra = [str(shutil.copy(queries[0], tmp_path / "tree" / "loose")), str(queries[-1])]
    tree = str(tmp_path / "tree")
    assert main([*command, "--query", tree, extra[1], "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = report["predictions"]
    assert len(rows) == len(queries) + 2
    assert rows[-1]["path"] == extra[1]
    known = [row for row in rows if row["label"] is not None]
    assert all(row["label"] == Path(row["path"]).name[0] for row in known)
    right = np.mean([row["class"] == row["label"] for row in known])
    assert report["accuracy"]["mean_over_images"] == pytest.approx(100 * right)
    assert report["accuracy"]["left_out"] == 2
    assert report["accuracy"]["learned_from"] == 0
    (tmp_path / "tree" / "deep" / "4" / "more" / "4_5.png").unlink()
    assert main([*command, "--query", tree]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert tells(last, "8 images", "3 classes")  # as the counts differ
    # Folders named one by one count as the tree does.
    assert main([*command, "--query", *map(str, (tmp_path / "tree" / "deep").iterdir())]) == 0
    assert tells(capsys.readouterr().out.splitlines()[-1], "8 images")
    assert main([*command, "--query", tree, "--unknown", "1"]) == 0
    assert tells(capsys.readouterr().out.splitlines()[-1], "0.00%", '"unknown"')


def test_images_that_were_learned_from_are_told(command, folder, tmp_path, capsys):
    """As where --query names the folder of --support too; by content, of a saved one too."""
    shutil.copytree(folder / "support" / "4", tmp_path / "4")
    shutil.copy(folder / "query" / "4_5.png", tmp_path / "4")
    saved = str(tmp_path / "c.ancor")
    assert main([*command, "--save", saved]) == 0
    for chosen in (command, ["--saved", saved, "--device", "cpu"]):
        assert main([*chosen, "--query", str(tmp_path / "4")]) == 0
        assert tells(capsys.readouterr().out.splitlines()[-1], "6 images", "5 of the 6")
        assert main([*chosen, "--query", str(tmp_path / "4"), "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)["predictions"]
        expected = [not row["path"].endswith("4_5.png") for row in rows]
        assert [row["learned_from"] for row in rows] == expected


def test_a_tree_with_links_is_read_once_and_loops_are_refused(command, folder, tmp_path, capsys):
    (tmp_path / "a").mkdir()
    shutil.copy(next((folder / "query").iterdir()), tmp_path / "a" / "0.png")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert len(predictions(capsys, [*command, "--query", str(tmp_path)])) == 1
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    link = str(tmp_path / "a" / "up")
    refused(main, [*command, "--query", str(tmp_path)], capsys, repr(link), repr(str(tmp_path)))


def test_a_saved_classifier_needs_nothing_else(command, folder, tmp_path, capsys):
    saved, query = str(tmp_path / "three.ancor"), ["--query", str(folder / "query")]
    expected = predictions(capsys, [*command, *query, "--cls", "Proto", "--coarse-first"])
    assert main([*command, "--cls", "Proto", "--coarse-first", "--save", saved]) == 0
    assert capsys.readouterr().out == ""
    alone = ["--classifier", saved, "--device", "cpu", *query]
    assert predictions(capsys, alone) == expected
    rows = predictions(capsys, [*alone, "--unknown", "1"])
    doubted = [row for row in rows if row["probability"] < 1]  # rounded, some may be 1 itself
    assert 2 * len(doubted) > len(rows)
    assert {row["class"] for row in doubted} == {"unknown"}
    made.write(tmp_path / "more" / "noise" / "0.png", 1, (32, 32))
    assert main([*alone[:4], "--support", str(tmp_path / "more"), "--save", saved]) == 0
    assert FewShotClassifier.load(saved, device="cpu").classes_.tolist() == ["1", "4", "6", "noise"]


def test_odd_names_stay_on_one_line(command, folder, tmp_path, capsys):
    image = (folder / "query" / "4_5.png").read_bytes()
    places = [tmp_path / "a\nb.png", Path(bytes(tmp_path / "c").decode() + "\udcff.png")]
    for place in places:
        place.write_bytes(image)
    table, report = tmp_path / "t.csv", tmp_path / "r.json"
    files = ["--csv", str(table), "--json", str(report)]
    assert main([*command, "--query", str(tmp_path), *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(repr(str(places[0])))
    rows = json.loads(report.read_text())["predictions"]
    assert [row["path"] for row in rows] == [str(place) for place in places]  # exactly
    content = table.read_text(encoding="utf-8")  # A9: no raw bytes
    assert len(content.splitlines()) == 3
    with open(table, newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [printable(str(p)) for p in places]


def images(place: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        made.write(place / name, number)
    return place


BAD = {
    "no folder": (lambda p: p / "none", [], ["none'"]),
    "an empty folder": (lambda p: p, [], ["'{root}'"]),
    "an empty class": (lambda p: (p / "a").mkdir() or images(p, "b/0.png"), [], ["a'"]),
    "one class": (lambda p: images(p, "a\n/0.png", "a\n/1.png"), [], ["'a\\n'", "2"]),
    "images without classes": (lambda p: images(p, "0.png"), [], ["0.png'"]),
    "folders in a class": (lambda p: images(p, "a/0.png", "a/b/0.png"), [], ["b'", "'a'"]),
    "a broken link": (lambda p: (p / "a").symlink_to(p / "gone") or p, [], ["a'"]),
    "no image among them": (
        lambda p: (images(p, "a/0.png", "b/0.png") / "a" / "1\n.png").write_bytes(b"x") and p,
        [],
        ["1\\n.png'", "JPEG", "PNG"],
    ),
    "two classes of one name": (
        lambda p: images(p, "a/x/0.png", "b/x/0.png", "b/y/0.png"),
        [],
        ["a/x'", "b/x'"],
    ),
    "one image a class": (
        lambda p: images(p, "a/0.png", "b/0.png"),
        ["--unknown", "auto"],
        ["--unknown", "auto"],
    ),
    "a rate alone": (None, ["--unknown-rate", "0.1"], ["--unknown-rate", "0.1", "--unknown auto"]),
    "neither a probability nor auto": (None, ["--unknown", "x"], ["--unknown", "'x'", "auto"]),
    "no rate": (
        None,
        ["--unknown", "auto", "--unknown-rate", "2"],
        ["--unknown-rate", "2", "0", "1"],
    ),
    "no confidence": (None, ["--back-off", "2"], ["--back-off", "2", "0", "1"]),
    "a missing query": (None, ["--query", "/none/q.png"], ["'/none/q.png'"]),
    "a query that is no image": (None, ["--query", __file__], [repr(__file__), "JPEG"]),
    "a folder without images": (None, ["--query", str(ROOT / "tests")], ["tests'", ".jpg", ".png"]),
    "nothing to do": (None, ["--query"], ["--query"]),
    "an unknown classifier": (None, ["--cls", "SVM"], ["'SVM'", "LR"]),
    "a penalty without LR": (None, ["--cls", "Proto", "--C", "10"], ["--C", "10.0", "Proto", "LR"]),
    "no probability": (None, ["--unknown", "70"], ["70.0", "0 to 1"]),
    "negative copies": (None, ["--n_aug_support_samples", "-1"], ["-1", "0"]),
    "an unknown dataset": (None, ["--dataset", "mnist"], ["'mnist'", "digits"]),
    "two numbers of pixels": (None, ["--image-size", "4"], ["--image-size 4"]),
    "no model": (None, ["--model_path", "/none"], ["'/none'"]),
    "no such device": (None, ["--device", "tpu"], ["'tpu'", "cpu"]),
    "no batch": (None, ["--test_batch_size", "0"], ["--test-batch-size 0"]),
    "an unwritable table": (None, ["--csv", "/proc/none/t"], ["/proc/none/t"]),
    "an unwritable report": (None, ["--json", "/proc/none/t"], ["/proc/none/t"]),
    "an unwritable classifier": (None, ["--save", "/proc/none/t"], ["/proc/none/t"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, command, folder, tmp_path, capsys):
    make, flags, words = BAD[name]
    support = folder / "support" if make is None else make(tmp_path)
    arguments = [*command, "--query", str(folder / "query"), "--support", str(support), *flags]
    refused(main, arguments, capsys, *(word.format(root=tmp_path) for word in words))


def test_missing_and_contradicting_flags_are_one_line(command, folder, tmp_path, capsys):
    saved, query = str(tmp_path / "x.ancor"), ["--query", str(folder / "query")]
    assert main([*command, "--save", saved]) == 0
    alone = [*query, "--classifier", saved]
    for words, arguments in (
        (["--query"], command),
        (["--json", "--query"], [*command, "--save", saved, "--json"]),
        (["--csv", "--query"], [*command, "--save", saved, "--csv", str(tmp_path / "t.csv")]),
        (["--top-k", "--query"], [*command, "--save", saved, "--top-k", "2"]),
        (["--unknown", "7.0"], [*alone[2:], "--unknown", "7", "--save", str(tmp_path / "y")]),
        (["--model-path"], query),
        (["--support"], [*command[:2], *query]),
        (["--model-path", "--saved"], [*command, *alone]),
        (["--cls", "--saved"], [*alone, "--cls", "LR"]),
        (["--coarse-first", "--saved"], [*alone, "--coarse-first"]),
        (["--only-base", "--saved"], [*alone, "--no-only-base"]),
        (["--image-size", "--saved"], [*alone, "--image-size", "32"]),
        (["'/none'"], ["--query", "/none", "--classifier", saved]),
        (["'/none'"], [*query, "--classifier", "/none"]),
        ([repr(command[1])], [*query, "--classifier", command[1]]),
    ):
        refused(main, arguments, capsys, *words)
    content = Path(saved).read_bytes()
    for damaged, words in (
        (content[:-1], [repr(saved)]),
        (content.replace(b'"version": 1', b'"version": 7', 1), [repr(saved), "version 7"]),
    ):
        Path(saved).write_bytes(damaged)
        refused(main, alone, capsys, *words)


def test_an_encoder_without_the_asked_head_is_one_line(folder, tmp_path, capsys):
    from ancor.cli.train import main as train

    run = tmp_path / "none"
    method = ["--head", "none", "--queue", "single", "--calc-types", "cst_all"]
    arguments = [*QUICK, *method, "--loss-types", "ce", "--max-steps", "1", "--val-episodes", "0"]
    assert train([*arguments, "--output-dir", str(run)]) == 0
    command = ["--model_path", str(run / "last.pth.tar"), "--support", str(folder / "support")]
    command += ["--query", str(folder / "query")]
    refused(main, [*command, "--coarse-first"], capsys, "'none'", "--coarse-first")
    path = str(tmp_path / "weights")
    torch.save({"fc.weight": torch.zeros(3, 64)}, path)
    refused(main, ["--model_path", path, *command[2:]], capsys, repr(path), "conv4")


def test_every_setting_of_the_classifier_has_a_flag():
    parameters = set(FewShotClassifier().get_params()) - {"encoder"}
    assert parameters == {*SETTINGS, *ANSWERS}
    assert all(hasattr(build_parser().parse_args([]), flag) for flag in parameters)
    assert all(hasattr(build_parser().parse_args([]), flag) for flag in predict.LOADING)


@pytest.mark.parametrize("flags", [["--cls", "Ridge"], ["--C", "auto"], ["--cls", "SimpleShot"]])
def test_a_saved_classifier_keeps_how_it_classifies(command, folder, capsys, tmp_path, flags):
    path, query = str(tmp_path / "kept.ancor"), ["--query", str(folder / "query")]
    expected = predictions(capsys, [*command, *flags, "--save", path, *query])
    assert predictions(capsys, ["--saved", path, "--device", "cpu", *query]) == expected
