"""Episodes of classes with few images, and of coarse classes with few fine ones."""

import csv
import json
import shlex

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ancor.__main__ import main as toolkit
from ancor.cli import board, eval, train, tsne
from ancor.data.config import DataConfig
from ancor.data.episodes import RULES, EpisodeSampler, Protocol
from ancor.data.images import GrayImages
from ancor.data.partition import Partition
from ancor.evaluation.plan import plan_evaluations
from ancor.evaluation.predictors import cascade, concat, ensemble, single
from ancor.evaluation.scoring import accuracy, score
from ancor.models.encoder import Encoder, EncoderConfig
from ancor.plots.config import LayoutConfig
from ancor.plots.layouts import episode_images
from ancor.runtime.devices import Runtime
from ancor.training.validation import Validator
from tests import made
from tests.cases import first_quick
from tests.refusals import one_line, refused, refuses, tells
from tests.shared import needs_shared, shared

GROCERY = shared("grocery/dataset")
CPU = torch.device("cpu")
SIZES = np.array([1, 2, 5, 16, 40, 7, 16])
COARSE = np.array([0, 0, 0, 0, 1, 2, 2])


@pytest.fixture
def sampler():
    labels = np.random.RandomState(3).permutation(np.repeat(np.arange(7), SIZES))
    return EpisodeSampler(labels, COARSE[labels], class_names=tuple("abcdefg"))


@pytest.mark.parametrize("protocol", [Protocol(4), Protocol(1000, 3, 9), Protocol(2, 4, 1, 2)])
def test_an_episode_asks_for_what_a_class_has_left(sampler, protocol):
    """B13: classes of fewer than 16 images were refused."""
    sampler.check(protocol)
    shots, drawn = protocol.n_shots, set()
    for number in range(30):
        episode = sampler.draw(protocol, number)
        ways = len(episode.classes)
        assert ways == min(protocol.n_ways, (shots < SIZES).sum())
        expected = np.minimum(protocol.n_queries, SIZES[episode.classes] - shots)
        assert np.bincount(episode.query_labels).tolist() == expected.tolist()
        once = episode.support[: ways * shots]
        assert len({*once, *episode.query}) == ways * shots + expected.sum()
        assert (sampler.labels[episode.query] == episode.classes[episode.query_labels]).all()
        drawn |= set(episode.classes.tolist())
    assert drawn == set(np.flatnonzero(shots < SIZES).tolist())


def test_classes_with_enough_images_are_drawn_as_ever(sampler):
    """B13: the draws of the paper's code, written out, where an episode has no small class."""
    protocol, found = Protocol(2), 0
    large = np.flatnonzero(SIZES > 1)
    for number in range(40):
        episode = sampler.draw(protocol, number)
        if (SIZES[episode.classes] < 16).any():
            continue
        rng = np.random.RandomState(number)
        classes = rng.choice(large, 2, replace=False)
        query = []
        for label in classes:
            images = np.flatnonzero(sampler.labels == label)
            chosen = rng.choice(len(images), 1, replace=False)
            rest = np.delete(np.arange(len(images)), chosen)
            query.append(images[rng.choice(rest, 15, replace=False)])
        assert (episode.query == np.concatenate(query)).all()
        found += 1
    assert found > 3


def test_what_is_left_out_is_told_in_a_line(sampler):
    """B13 and B12: by name, and by number of coarse classes."""
    small, few, lone = sampler.notes(Protocol(intra_class=True))
    one_line(small, "1 of 7", "2 images", "'a'", "1")
    one_line(few, "3 of 7", "16 images", "1-6", "equal_queries")
    one_line(lone, "1 of 3 coarse", "2 fine")
    assert list(sampler.notes(Protocol(n_queries=1)))[1:] == []
    many = EpisodeSampler(np.arange(500))
    assert "'" not in next(many.notes(Protocol()))
    one_line(next(many.notes(Protocol())), "class 9", "490")


def test_equal_counts_are_had_for_the_asking(sampler):
    with refuses("16", "'a'", "1", "'f'", "7", "--equal-queries"):
        sampler.check(Protocol(equal_queries=True))
    sampler.check(Protocol())


@pytest.mark.parametrize("rules", RULES)
def test_coarse_classes_of_one_fine_class_are_not_drawn(rules):
    """B12: they are always right, and were averaged in."""
    labels = np.repeat(np.arange(6), 20)
    coarse = np.array([0, 1, 1, 2, 3, 3])[labels]
    sampler = EpisodeSampler(labels, coarse, rules)
    protocol = Protocol(5, intra_class=True)
    drawn = {tuple(sorted(sampler.draw(protocol, n).classes.tolist())) for n in range(40)}
    assert drawn == {(1, 2), (4, 5)}
    (note,) = sampler.notes(protocol)
    one_line(note, "2 of 4 coarse")
    # A class without enough images is none to tell apart from.
    labels = np.delete(labels, slice(21, 40))
    small = EpisodeSampler(labels, np.array([0, 1, 1, 2, 3, 3])[labels], rules)
    assert {tuple(sorted(small.draw(protocol, n).classes)) for n in range(20)} == {(4, 5)}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("lone fine classes", ["`intra_class`", "3 coarse", "2 fine"]),
        ("one class", ["1 of 1", "--n-ways", "5"]),
        ("one way", ["3 of 3", "--n-ways", "1"]),
        ("no images", ["0 of 3", "2 images"]),
    ],
)
def test_episodes_that_are_always_right_are_refused(case, words):
    """B12: 100.00 ± 0.00 where every coarse class has one fine class, or there is one class."""
    labels, coarse, protocol = np.repeat(np.arange(3), 20), np.arange(3), Protocol(5)
    if case == "lone fine classes":
        protocol = Protocol(5, intra_class=True)
    elif case == "one class":
        labels = np.zeros(20, dtype=int)
    elif case == "one way":
        protocol = Protocol(1)
    else:
        labels = np.arange(3)
    with refuses("2", *words):
        plan_evaluations(EpisodeSampler(labels, coarse[labels]), [protocol], 2)


def test_accuracy_is_the_mean_over_classes():
    """B13: a class of 15 queries counted fifteen times one of 1."""
    labels = np.repeat([0, 1, 2], [15, 1, 4])
    found = np.where(np.arange(20) == 15, 0, labels)
    assert accuracy(found, labels) == pytest.approx(2 / 3)
    rng = np.random.default_rng(0)
    for queries in (1, 3, 7, 15):
        labels = np.repeat(np.arange(5), queries)
        found = rng.integers(0, 5, len(labels))
        assert accuracy(found, labels) == np.mean(found == labels)  # to the last digit


class Made:
    """Features that differ by class, and a noise that differs by image and view."""

    device = CPU

    def __init__(self, labels: np.ndarray, width: int, seed: int, coarse: bool = False) -> None:
        self.labels, self.width, self.seed, self.coarse = labels, width, seed, coarse

    def stream(self, pairs):
        rows = []
        for image, view in pairs.tolist():
            label = self.labels[image]
            if self.coarse:
                rows.append([float(COARSE[label])])
                continue
            noise = np.random.default_rng([self.seed, image, view + 9]).normal(size=self.width)
            rows.append(np.eye(self.width)[label] + 0.4 * noise)
        found = torch.tensor(np.array(rows), dtype=torch.float32)
        yield found if self.coarse else F.normalize(found, dim=1)


@pytest.mark.parametrize("classifier", first_quick(["LR", "KNN", "Proto", "NN", "Cosine"]))
@pytest.mark.parametrize("way", ["single", "concat", "cascade", "ensemble"])
def test_episodes_of_other_lengths_disturb_no_answer(way, classifier, sampler):
    """B13: many episodes of unequal lengths at once, against one at a time."""
    if way == "ensemble" and classifier in ("NN", "Cosine"):
        pytest.skip("it averages probabilities")
    make = {"single": single, "concat": concat, "cascade": cascade, "ensemble": ensemble}[way]
    first = Made(sampler.labels, 1, 0, coarse=True)
    sources = {
        "single": [Made(sampler.labels, 8, 1)],
        "cascade": [first, Made(sampler.labels, 8, 1)],
    }
    sources = sources.get(way, [Made(sampler.labels, 8, 1), Made(sampler.labels, 9, 2)])
    plan = plan_evaluations(sampler, [Protocol(3), Protocol(5, intra_class=True)], 25)
    assert len({len(episode.query) for episode in plan.episodes[0]}) > 5
    for which, scored in enumerate(score(plan, sources, make(classifier), quiet=True)):
        for number, episode in enumerate(plan.episodes[which]):
            part = slice(number, number + 1)
            alone = type(plan)(
                [plan.episodes[which][part]],
                plan.pairs,
                [plan.support_rows[which][part]],
                [plan.query_rows[which][part]],
            )
            (own,) = score(alone, sources, make(classifier), quiet=True)
            assert len(scored.predictions[number]) == len(episode.query)
            assert (own.predictions[0] == scored.predictions[number]).all()
            assert own.accuracies[0] == scored.accuracies[number]


TRAINING = (
    "--dataset folder --mode coarse --arch conv4 --image-size 32 -b 8 --queue-k 8 -j 0 --quiet"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run on own images: validation has 2 fine classes of 3 and 4 images; test has others."""
    root = tmp_path_factory.mktemp("small") / "data"
    for number in range(7):
        coarse, fine = f"c{number % 2}", f"f{number % 2}"
        made.write(root / "train" / coarse / f"{number}.png", number, (40, 30))
        made.write(root / "val" / coarse / fine / f"{number}.png", 50 + number, (40, 30))
    for fine, size in enumerate([1, 2, 4, 17, 3]):
        for number in range(size):
            place = root / "test" / f"c{fine // 4}" / f"kind {fine}" / f"{number}.png"
            made.write(place, 100 * fine + number, (40, 30))
    run = root.parent / "run"
    command = f"{TRAINING} -j 0 --epochs 2 -s 1 --val-episodes 3 --data {root} --output-dir {run}"
    assert train.main(shlex.split(command)) == 0
    return run


def test_training_validates_on_what_there_is(small):
    """B13 and B12: it went on without validation; with 2 classes, `5-way` was printed."""
    log = (small / "log.txt").read_text()
    assert "No validation" not in log
    assert tells(log, "Validation", "2 of 2", "16 images")
    assert tells(log, "intra-class", "2 fine")
    assert "validation: 2-way " in log
    assert "5-way" not in log
    records = [json.loads(line) for line in (small / "metrics.jsonl").read_text().splitlines()]
    last = records[-1]
    assert last["validation_ways"] == {"5-way": [2, 2]}
    assert 0 <= last["validation/5-way"] <= 100  # the name that other runs have
    assert "validation/intra-class" not in last


def test_pictures_of_runs_give_the_real_ways(small, tmp_path, capsys):
    """B12: compare's table and curves, and TensorBoard's scores."""
    assert toolkit(["compare", str(small), "--output", str(tmp_path / "x.png")]) == 0
    out = capsys.readouterr().out
    assert "2-way best" in out
    assert "5-way" not in out


def evaluate(small, tmp_path, flags: str = "") -> dict:
    command = f"--model_path {small}/last.pth.tar --partition test --n_test_runs 12 {flags}"
    assert eval.main([*shlex.split(command), "--json", str(tmp_path / "r.json")]) == 0
    return json.loads((tmp_path / "r.json").read_text())


def test_reports_give_the_real_numbers(small, tmp_path, capsys):
    """B13 and B12: in text, JSON and CSV."""
    content = evaluate(small, tmp_path, f"--csv {tmp_path}/r.csv --n_ways 9")
    out = capsys.readouterr().out
    for words in (["1 of 5", "'kind 0'", "1"], ["3 of 5", "16 images"]):
        assert sum(tells(line, *words) for line in out.splitlines()) == 1
        assert sum(tells(note, *words) for note in content["notes"]) == 1
    assert tells(out, "Ways", "4", "9")
    assert "--equal-queries" in out
    assert "`" not in out
    assert "--equal-queries" in " ".join(content["notes"])
    for result in content["results"]:
        assert (result["n_ways"], result["n_ways_range"]) == (4, [4, 4])
        assert (result["n_queries"], result["n_queries_range"]) == (15, [1, 15])
    with open(tmp_path / "r.csv", newline="") as file:
        assert {row["n_ways"] for row in csv.DictReader(file)} == {"4"}


def test_a_range_of_ways_is_a_range_everywhere(quick_run, tmp_path, capsys, monkeypatch):
    """B12, another case: intra-class episodes of digits have 3 or 4 ways."""
    titles = []
    draw = "ancor.plots.evaluation.histogram_figure"
    original = __import__("ancor.plots.evaluation", fromlist=["x"]).histogram_figure
    monkeypatch.setattr(draw, lambda *given: titles.append(given[3]) or original(*given))
    flags = f"--fg --plot {tmp_path}"
    result = evaluate(quick_run, tmp_path, flags)["results"][1]
    assert (result["n_ways"], result["n_ways_range"]) == (4, [3, 4])
    assert "Fine-Grained, 3-4 ways" in titles[1]
    out = capsys.readouterr().out
    assert tells(out, "Ways", "3-4", "5")
    assert "Fine-Grained   3-4 " in out


def test_intra_class_scores_hold_no_lone_classes(small, tmp_path):
    """B12: `kind 4` is alone in its coarse class."""
    content = evaluate(small, tmp_path, "--fg")
    assert content["results"][1]["n_ways_range"] == [3, 3]
    assert tells("\n".join(content["notes"]), "1 of 2 coarse")


def test_the_refusal_is_kept_by_a_flag(small, capsys):
    command = f"--model_path {small}/last.pth.tar --partition test --n_test_runs 2 --equal-queries"
    words = ["16", "'kind 0'", "1", "'kind 1'", "2", "--equal-queries"]
    refused(eval.main, shlex.split(command), capsys, *words)


@pytest.mark.parametrize("partition", ["validation", "test"])
def test_pictures_of_small_classes_are_drawn(small, partition, tmp_path, capsys):
    """B13, another case: tsne and board drew as many of each class as of the smallest."""
    for command in (tsne, board):
        words = f"--model_path {small}/last.pth.tar --partition {partition}"
        assert command.main([*words.split(), "--output-dir", str(tmp_path)]) == 0
        assert tells(capsys.readouterr().out, "classes", "16 images")


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ([5, 6, 20], [["2 of 3", "16 images", "5-6"]]),
        ([1, 5, 1], [["1 of 3", "16 images", "5"], ["2 of 3", "1 image"]]),
        ([1, 20, 30], [["1 of 3", "1 image"]]),
        ([16, 20], []),
        ([1, 1], []),
    ],
)
def test_pictures_tell_what_is_so_of_small_classes(sizes, told, caplog):
    """C18: "but of classes with 1 none" ended the line where there was no such class."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    partition = Partition.from_names(
        "set",
        "test",
        GrayImages(np.zeros((len(labels), 8, 8), np.uint8)),
        [f"class {n}" for n in labels],
    )
    config = LayoutConfig(mode="coarse", only_base=True)
    caplog.set_level("INFO", "ancor")
    drawn = episode_images(partition, config, np.arange(len(labels)), 16)
    lone = 1 if max(sizes) > 1 else 0
    assert len(drawn) == sum(min(size, 16) for size in sizes if size > lone)
    for line, words in zip(caplog.messages, told, strict=True):
        one_line(line, *words)


@needs_shared("grocery")
def test_groceries_validate(tmp_path):
    """B13: 60 of the 81 classes have 3 to 6 validation images."""
    table = [row[:4] for row in csv.reader((GROCERY / "classes.csv").open())][1:]
    names = {int(number): (fine, coarse) for fine, number, coarse, _ in table}
    rows = ["path,coarse,fine,partition"]
    for line in (GROCERY / "val.txt").read_text().splitlines():
        path, fine, _ = (word.strip() for word in line.split(","))
        rows.append(f"{path},{names[int(fine)][1]},{names[int(fine)][0]},val")
    (tmp_path / "labels.csv").write_text("\n".join([*rows, "none.jpg,Apple,,train"]))
    (tmp_path / "val").symlink_to(GROCERY / "val")
    data = DataConfig("folder", root=str(tmp_path), image_size=32, allow_outside_root=True)
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig("conv4", num_classes=3))
    validator = Validator(data.load("validation"), data.transforms, encoder, Runtime(CPU), 30)
    assert validator.ways == {"5-way": [5, 5], "intra-class": [2, 5]}
    notes = "\n".join(validator.notes)
    assert tells(notes, "classes", "16 images")
    assert tells(notes, "coarse classes", "2 fine")
    scores = validator()
    assert 0.2 < scores["5-way"][0] < 0.9
    assert 0.1 < scores["intra-class"][0] < 0.7  # nearly 0.9, where lone classes are counted
