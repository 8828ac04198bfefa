"""The commands that draw, as a user meets them."""

import json
import shutil

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from PIL import Image

from ancor import __main__ as toolkit
from ancor.cli import board, check_data, compare, localize, neighbors, show, tsne
from ancor.data import features
from ancor.data.features import FeatureRows
from ancor.data.hierarchy import Hierarchy
from ancor.data.partition import Partition
from ancor.data.resolve import resolve_data
from ancor.plots import contact_sheet
from ancor.plots import tsne as figures
from ancor.training.batches import TrainingBatches
from tests import made
from tests.refusals import refused, tells

LOCALIZE = ["--partition", "test", "--n", "2"]


def drawn(path) -> tuple[int, int]:
    """Return width and height of a picture that is not of one color."""
    pixels = imread(path)
    assert pixels.std() > 0.02
    return pixels.shape[1], pixels.shape[0]


@pytest.fixture
def model(quick_run, tmp_path_factory):
    """A trained model in a folder of its own, beside which pictures may be written."""
    folder = shutil.copytree(quick_run, tmp_path_factory.mktemp("trained") / quick_run.name)
    return ["--model_path", str(folder / "model_best.pth.tar")]


def test_each_command_has_its_name_in_the_toolkit(capsys):
    for name in ("localize", "neighbors", "compare", "show", "board"):
        with pytest.raises(SystemExit) as ended:
            toolkit.main([name, "--help"])
        assert ended.value.code == 0
        assert "example" in capsys.readouterr().out


def test_tsne_writes_a_page_beside_its_pictures(model, tmp_path):
    pytest.importorskip("bokeh")
    command = [*model, "--partition", "test", "--output-dir", str(tmp_path), "--format", "svg"]
    assert tsne.main([*command, "--html"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        f"digits_digits{end}" for end in ("_coarse.svg", "_fine.svg", ".html")
    }
    text = (tmp_path / "digits_digits.html").read_text()
    assert tells(text, "digits", "test", "160", "digits/model_best.pth.tar; embedding; t-SNE")
    assert "closed loops" in text


def test_tsne_without_fine_labels_draws_the_coarse_classes(model, tmp_path, monkeypatch, capsys):
    root = tmp_path / "data"
    for coarse in ("a", "b", "c"):
        for number in range(6):
            made.write(root / coarse / f"{number}.png", number)
    command = [*model, "--dataset", "folder", "--data", str(root), "--partition", "train"]
    command += ["--output-dir", str(tmp_path / "out"), "--image-size", "32"]
    refused(tsne.main, command, capsys, "'train'", "--mode coarse")
    drawn_by, layouts = figures.figure, []
    monkeypatch.setattr(figures, "figure", lambda made: layouts.append(made) or drawn_by(made))
    assert tsne.main([*command, "--mode", "coarse"]) == 0
    assert layouts[0].caption.endswith("t-SNE, perplexity 5.67")  # which 18 points can have
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["digits_folder_coarse.png"]


def test_tsne_asks_for_as_many_queries_as_it_says(model, tmp_path, capsys):
    """The second plot refused classes of less than its own 50 images, once the first was there."""
    command = [*model, "--partition", "test", "--equal-queries", "--output-dir", str(tmp_path)]
    refused(tsne.main, [*command, "--n-queries", "40"], capsys, "41", "40 query", "--n-queries")
    assert not list(tmp_path.iterdir())
    assert tsne.main(command) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"digits_digits_{name}.png" for name in ("coarse", "fine")
    ]


def test_compare_draws_curves_and_tells_scores_and_differences(quick_run, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    config = json.loads((quick_run / "config.json").read_text())
    config["training"]["lr"] = 0.5
    config["environment"]["host"] = "elsewhere"
    (other / "config.json").write_text(json.dumps(config))
    metrics = (quick_run / "metrics.jsonl").read_text()
    (other / "metrics.jsonl").write_text(metrics[:-20])  # as a killed run leaves it
    path = tmp_path / "curves.png"
    assert compare.main([str(quick_run), str(other), "--output", str(path)]) == 0
    assert drawn(path)[0] > 1000
    out = capsys.readouterr().out
    last = json.loads(metrics.splitlines()[-1])["validation/5-way"]
    head, ours, *_ = out.splitlines()
    assert "5-way best" in head
    assert f"{last:.3f}" in ours
    differing = out.split("setting ")[1].splitlines()[1:-1]
    assert [line.split() for line in differing] == [["training.lr", "0.1", "0.5"]]


def test_show_draws_the_views_that_training_draws():
    args = show.build_parser().parse_args(["--dataset", "digits", "--n", "2", "--seed", "5"])
    data = resolve_data(vars(args), None)
    partition = data.load("train")
    rows = list(contact_sheet.rows(partition, data.transforms, args.n, args.seed, args.epoch))
    assert [name for name, _ in rows] == list(partition.hierarchy.coarse_names)
    cpu = torch.device("cpu")
    labels = partition.coarse_labels
    batches = TrainingBatches(
        partition, labels, data.transforms, ("strong", "strong"), 8, 5, 0, cpu
    )
    contents = [partition.images.content(i) for i in range(len(partition))]
    for label, (_, images) in enumerate(rows):
        assert len(images) == 2
        for original, query, key in images:
            index = contents.index(original[:, :, 0].tobytes())
            assert partition.coarse_labels[index] == label
            views = batches.loader.dataset[(0, index)][0]
            for ours, theirs in zip((query, key), views, strict=True):
                np.testing.assert_array_equal(ours, theirs.permute(1, 2, 0))


def test_show_says_and_draws_the_augmentation(tmp_path, monkeypatch):
    titles = []
    sheet = contact_sheet.contact_sheet
    monkeypatch.setattr(
        contact_sheet, "contact_sheet", lambda *a: titles.append(a[1:]) or sheet(*a)
    )
    flags = ["--dataset", "digits", "--n", "1", "--augment", "strong", "--blur", "0"]
    assert show.main([*flags, "--output", str(tmp_path / "s.png")]) == 0
    said = "crop scale 0.8-1, jitter 0.8 0.8 0.8 0.2 p 0.8, grayscale p 0.2, solarize p 0.2"
    assert [drawn for _, drawn in titles] == [f"own parts: {said}"]


@pytest.mark.parametrize("command", [show, check_data])
def test_features_alone_are_not_taken_for_the_digits(command, tmp_path, monkeypatch, capsys):
    """Which these commands read where nothing is named: a line told to leave --dataset out."""
    told = {"format": 1, "arch": "conv4", "pretrained": "", "weights": "", "views": 0}
    told |= {"dataset": "glyphs", "preprocessing": {}}
    rows = FeatureRows(torch.rand(4, 1, 3), list("abcd"))
    labels = np.arange(4) % 2
    part = Partition("glyphs", "train", rows, labels, None, Hierarchy(("x", "y")))
    with (tmp_path / "f.npz").open("wb") as file:
        features.write(file, told, {"train": part})
    monkeypatch.chdir(tmp_path)
    command.main(["--features", "f.npz"])
    said = "".join(capsys.readouterr())
    assert tells(said, "f.npz", "holds features", "--data")
    assert "digits" not in said


def test_show_writes_a_sheet(tmp_path):
    assert show.main(["--dataset", "digits", "--n", "2", "--output", str(tmp_path / "s.png")]) == 0
    width, height = drawn(tmp_path / "s.png")
    assert width > 1.5 * height > 300


def test_neighbors_frames_right_and_wrong_and_reports_their_share(model, tmp_path, capsys):
    command = [*model, "--partition", "test", "--output", str(tmp_path / "n.png"), "--k", "3"]
    assert neighbors.main([*command, "--images", "5", "17"]) == 0
    drawn(tmp_path / "n.png")
    drawn_share, all_share = capsys.readouterr().out.splitlines()[1].split()
    assert 30 < float(all_share) < 100
    assert float(drawn_share) in {0, 16.67, 33.33, 50, 66.67, 83.33, 100}


def test_localize_takes_a_partition_or_files(model, tmp_path, capsys):
    path = tmp_path / "l.png"
    assert localize.main([*model, *LOCALIZE, "--output", str(path)]) == 0
    files = [str(made.write(tmp_path / "pictures" / f"{n}.png", n, (40 + n, 30))) for n in (1, 2)]
    shutil.copy(path, tmp_path / "first.png")
    for size in ([], ["--image-size", "32"]):
        assert localize.main([*model, "--image", *files, *size, "--output", str(path)]) == 0
        assert drawn(path) != (0, 0)
    assert Image.open(path).tobytes() != Image.open(tmp_path / "first.png").tobytes()
    assert "no embedding" not in capsys.readouterr().out


def test_board_writes_into_the_runs_own_folder(quick_run, tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "digits"
    run.mkdir()
    for name in ("config.json", "metrics.jsonl", "model_best.pth.tar"):
        shutil.copy(quick_run / name, run)
    command = ["--model_path", str(run / "model_best.pth.tar"), "--partition", "test", "--n", "50"]
    command += ["--n-queries", "4"]
    assert board.main(command) == 0
    events = EventAccumulator(str(run)).Reload()
    assert set(events.Tags()["images"]) == {"t-SNE test/coarse", "t-SNE test/fine"}
    assert "score/validation/5-way best" in events.Tags()["scalars"]
    (folder,) = run.glob("*/test")
    rows = (folder / "metadata.tsv").read_text().splitlines()
    assert rows[0] == "fine\tcoarse\timage"
    assert len(rows) == 51
    (run / "metrics.jsonl").unlink()
    other = ["--output-dir", str(tmp_path / "out"), "--mode", "coarse"]
    assert board.main([*command, *other]) == 0
    assert "No settings and scores" in capsys.readouterr().out
    assert (tmp_path / "out" / "projector_config.pbtxt").stat().st_size > 0


BAD = {
    "image number": (neighbors, ["--images", "360"], ["--images 360", "0 to 359"]),
    "number of images": (neighbors, ["--n", "0"], ["--n 0"]),
    "too many neighbors": (neighbors, ["--k", "360"], ["--k 360", "359"]),
    "format": (neighbors, ["--output", "x.bmp"], ["'x.bmp'", "png", "svg"]),
    "no such level": (neighbors, ["--mode", "medium"], ["'medium'", "coarse, fine"]),
    "unwritable": (neighbors, ["--output", "/proc/none/x.png"], ["/proc/none/x.png"]),
    "heat map's image": (localize, ["--images", "-1"], ["--images -1"]),
    "no image": (localize, ["--image", __file__], ["test_pictures.py", "JPEG"]),
    "missing image": (localize, ["--image", "/nowhere.png"], ["/nowhere.png"]),
    "both": (localize, ["--image", "a.png", "--images", "1"], ["--image", "--images"]),
    "board's images": (board, ["--n", "0"], ["--n 0"]),
    "board's folder": (board, ["--output-dir", "/proc/none"], ["/proc/none"]),
    "perplexity": (board, ["--perplexity", "0"], ["--perplexity 0"]),
    "page's folder": (tsne, ["--output-dir", "/proc/none", "--html"], ["/proc/none"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, model, tmp_path, monkeypatch, capsys):
    command, flags, words = BAD[name]
    monkeypatch.chdir(tmp_path)
    refused(command.main, [*model, "--partition", "test", *flags], capsys, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["{run}", "{run}"], ["{run}"]),
        (["/nowhere"], ["/nowhere", "config.json"]),
        (["{run}", "--output", "x.gif"], ["x.gif"]),
    ],
)
def test_bad_input_to_compare_is_one_line(flags, words, quick_run, capsys):
    flags, words = ([word.format(run=quick_run) for word in given] for given in (flags, words))
    refused(compare.main, flags, capsys, *words)


@pytest.mark.parametrize("flags", [["--n", "0"], ["--epoch", "-1"], ["--output", "x.tiff"]])
def test_bad_input_to_show_is_one_line(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    refused(show.main, ["--dataset", "digits", *flags], capsys, *flags)


def test_a_model_without_an_embedding_is_told_of(tmp_path, capsys):
    from torchvision import models

    path = tmp_path / "resnet18.pth"
    torch.save(models.resnet18().state_dict(), path)
    command = ["--model_path", str(path), "--dataset", "digits", "--partition", "test", "--n", "1"]
    out = str(tmp_path / "x.png")
    assert localize.main([*command, "--image-size", "32", "--output", out]) == 0
    assert "no embedding" in capsys.readouterr().out
    flags = [*command, "--no-only-base", "--output", out]
    refused(neighbors.main, flags, capsys, "--only-base")
