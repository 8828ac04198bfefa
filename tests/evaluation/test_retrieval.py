"""Retrieval: two papers' figures, naive loops, two libraries, and what eval.py says of it."""

import json

import numpy as np
import pytest
import torch

import ancor
from ancor.cli import eval as eval_command
from ancor.evaluation import retrieval
from ancor.evaluation.retrieval import RECALL_AT, Retrieval, retrieve
from tests.golden_files import assert_agrees
from tests.golden_methods import arrays
from tests.refusals import refused, refuses, tells


def drawn(
    n: int, classes: int, width: int = 12, seed: int = 0, noise: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """Features around class centers, of classes of unlike sizes."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n, p=rng.dirichlet(np.ones(classes)))
    centers = rng.normal(size=(classes, width))
    return centers[labels] + noise * rng.normal(size=(n, width)), labels


def naive(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """The figures by a loop over images, as their papers define them."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    sums: dict[str, list[float]] = {}
    for query in range(len(unit)):
        gallery = np.array([i for i in np.flatnonzero(groups == groups[query]) if i != query])
        total = int((labels[gallery] == labels[query]).sum())
        if not total:
            continue
        cosines = unit[gallery] @ unit[query]
        order = np.argsort(-cosines, kind="stable")
        classes = labels[gallery][order]
        right = classes == labels[query]
        precisions = [right[: i + 1].mean() for i in range(min(total, len(right))) if right[i]]
        found = {f"R@{k}": float(right[:k].any()) for k in RECALL_AT}
        found["MAP@R"] = sum(precisions) / total
        for k in (1, 20):
            votes: dict[int, float] = {}
            for place in range(min(k, len(order))):
                weight = np.exp(cosines[order[place]] / 0.07)
                votes[classes[place]] = votes.get(classes[place], 0.0) + weight
            found[f"{k}-NN"] = float(max(votes, key=votes.get) == labels[query])
        for name, value in found.items():
            sums.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in sums.items()}


def figures(scores: retrieval.Scores) -> dict[str, float]:
    named = {f"R@{k}": share for k, share in scores.recall.items()}
    return {**named, "MAP@R": scores.map_at_r, **{f"{k}-NN": s for k, s in scores.knn.items()}}


@pytest.mark.parametrize("method", ["maskcon", "coins"])
def test_golden_recall(method):
    given = {name: arrays(method)[f"retrieval/{name}"] for name in ("features", "labels", "K")}
    found = retrieve(given["features"], given["labels"])
    ours = [found.recall[k] for k in given["K"].tolist()]
    assert_agrees(ours, arrays(method)["retrieval/recall"], 1e-9)


@pytest.mark.parametrize("found", [2**22, 300])
@pytest.mark.parametrize("grouped", [False, True])
def test_they_are_those_of_a_plain_loop(grouped, found, monkeypatch):
    """One class fills half of the images, and one image is alone in its class."""
    monkeypatch.setattr(retrieval, "FOUND", found)
    features, labels = drawn(260, 9)
    labels[:130], labels[200] = 0, 99
    groups = (labels % 2) if grouped else np.zeros(260, int)
    scores = retrieve(features, labels, groups if grouped else None)
    expected = naive(features, labels, groups)
    assert figures(scores) == pytest.approx(expected, abs=1e-12)
    assert (scores.queries, scores.alone) == (259, 1)
    sizes = np.bincount(groups)
    assert scores.smallest == min(sizes[sizes > 0]) - 1


def test_copies_of_a_query_stay_in_its_gallery():
    """The query is left out by its number: its copies of the other class are nearest."""
    features = np.repeat(np.eye(4), 2, axis=0)
    assert retrieve(features, np.arange(8) // 2).recall[1] == 1
    alternating = retrieve(features, np.arange(8) % 2)
    assert alternating.recall[1] == 0
    assert alternating.recall == {1: 0, 2: 0.5, 4: 1, 5: 1}  # of 7 others: no K above
    assert alternating.knn[1] == 0


@pytest.mark.parametrize(("cosine", "accuracy"), [(0.6, 0.5), (0.94, 0.5), (0.96, 0.0)])
def test_the_knn_classifier_weighs_votes_by_similarity(cosine, accuracy):
    """A copy's vote is worth two of other images of less than 1 - 0.07 log 2 = 0.951."""
    sine = (1 - cosine**2) ** 0.5
    features = np.array([[1, 0], [1, 0], [cosine, sine], [cosine, -sine]])
    assert retrieve(features, np.array([0, 0, 1, 1])).knn == {1: 0.5, 20: accuracy}


def test_single_precision_moves_shares_by_near_ties_alone():
    features, labels = drawn(150, 5)
    double, single = (
        retrieve(features, labels),
        retrieve(torch.from_numpy(features).float(), labels),
    )
    assert figures(single) == pytest.approx(figures(double), abs=1e-3)


@pytest.mark.slow
def test_a_library_of_the_field_finds_the_same():
    """pytorch-metric-learning's calculator, on 2,000 images of 60 classes of 1 to 200."""
    accuracy = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    inference = pytest.importorskip("pytorch_metric_learning.utils.inference")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    features, labels = drawn(2000, 60, width=32, noise=2.0)
    calculator = accuracy.AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=inference.CustomKNN(distances.CosineSimilarity()),
        device=torch.device("cpu"),
    )
    rows, classes = torch.from_numpy(features), torch.from_numpy(labels)
    theirs = calculator.get_accuracy(rows, classes, rows, classes, ref_includes_query=True)
    ours = retrieve(features, labels)
    assert ours.alone > 0
    assert ours.recall[1] == pytest.approx(theirs["precision_at_1"], abs=1e-9)
    assert ours.map_at_r == pytest.approx(theirs["mean_average_precision_at_r"], abs=1e-9)


REFUSED = {
    "alone": (np.eye(3), [0, 1, 2], "3"),
    "labels": (np.eye(3), [0, 0], "(2,)"),
    "flat": (np.ones(3), [0, 0, 1], "(3,)"),
    "not finite": (np.full((3, 2), np.nan), [0, 0, 1], "finite"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_searched_is_refused(case):
    features, labels, word = REFUSED[case]
    with refuses(word):
        retrieve(features, np.array(labels))


def test_eval_prints_a_table_and_writes_the_same_numbers(quick_run, tmp_path, capsys):
    flags = ["--model-path", str(quick_run / "model_best.pth.tar"), "--partition", "test"]
    flags += ["--n-test-runs", "2", "--retrieval", "--untrained"]
    assert eval_command.main([*flags, "--json", str(tmp_path / "r.json")]) == 0
    out = capsys.readouterr().out
    report = json.loads((tmp_path / "r.json").read_text())["retrieval"]
    assert report["classes"] == "fine"
    for name, part in (("among all", report), ("untrained: among all", report["untrained"])):
        shown = [f"{part['whole']['recall'][str(k)]:.2f}" for k in RECALL_AT]
        line = next(line for line in out.splitlines() if line.startswith(f"{name}  "))
        assert line.split()[-len(shown) - 3 : -3] == shown
    within = report["within_coarse"]
    assert within["recall"]["1"] > report["whole"]["recall"]["1"]
    assert tells(out, "within coarse", str(within["smallest_gallery"]))


def test_other_scripts_and_combinations_refuse_it(quick_run, capsys):
    path = str(quick_run / "model_best.pth.tar")
    flags = ["--model-path", path, path, "--retrieval"]
    refused(lambda argv: eval_command.main(argv, "concat"), flags, capsys, "--retrieval")
    with refuses("`retrieval`", "concat"):
        ancor.evaluate([path, path], "test", combine="concat", retrieval=True)


def test_evaluate_gives_it_last(quick_run):
    path = quick_run / "model_best.pth.tar"
    *results, found = ancor.evaluate(path, "test", n_test_runs=2, mode="coarse", retrieval=True)
    assert len(results) == 2
    assert isinstance(found, Retrieval)
    assert found.within_coarse is None
    assert found.level == "coarse"
    assert 0 < found.whole.map_at_r < 1
