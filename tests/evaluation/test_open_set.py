"""Rejection of unknown classes, against scikit-learn and plain loops."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from ancor.cli.eval import build_parser, main
from ancor.data.episodes import ALL_WAYS, EpisodeSampler, Protocol
from ancor.evaluation import open_set
from ancor.evaluation.classifiers import CLASSIFIERS, EpisodeBatch
from ancor.evaluation.predictors import single
from tests.refusals import refused, refuses, tells

LABELS = np.repeat(np.arange(9), 6)  # nine classes of six images
COARSE = np.array([0, 0, 0, 1, 1, 2, 2, 3, 4])  # of which the last two stand alone


@pytest.fixture
def sampler():
    return open_set.OpenSetSampler(EpisodeSampler(LABELS, COARSE[LABELS]), COARSE)


def few(ways: int = 3, **others) -> Protocol:
    return Protocol(ways, n_shots=2, n_queries=4, n_augmentations=2, **others)


@pytest.mark.parametrize("levels", [4, 1000])
def test_auroc_is_scikit_learns_with_ties_and_left_out_queries(levels):
    rng = torch.Generator().manual_seed(levels)
    scores = torch.randint(0, levels, (5, 40), generator=rng).double()
    kinds = torch.randint(0, 3, (5, 40), generator=rng)  # known, unknown, neither
    found = open_set.auroc(scores, kinds == 0, kinds == 1)
    rates = open_set.fpr(scores, kinds == 0, kinds == 1)
    for row, kind, area, rate in zip(scores, kinds, found, rates, strict=True):
        counted = kind < 2
        assert area == pytest.approx(roc_auc_score(kind[counted] == 0, row[counted]), abs=1e-12)
        known, unknown = row[kind == 0], row[kind == 1]
        enough = [t for t in known if (known >= t).double().mean() >= 0.95]
        assert rate == (unknown >= max(enough)).double().mean()


def test_there_is_no_area_without_unknown_queries():
    nothing = torch.zeros(1, 3, dtype=torch.bool)
    assert open_set.auroc(torch.rand(1, 3), ~nothing, nothing).isnan().all()
    assert open_set.fpr(torch.rand(1, 3), ~nothing, nothing).isnan().all()


@pytest.mark.parametrize(
    ("protocol", "known", "unknown"),
    [(few(3), 3, 3), (few(7), 5, 4), (few(ALL_WAYS), 5, 4), (few(2, intra_class=True), 2, 2)],
)
def test_half_of_the_classes_give_no_support(protocol, known, unknown, sampler):
    seen = set()
    for number in range(30):
        episode = sampler.draw(protocol, number)
        assert len(set(episode.classes.tolist())) == known
        assert len(episode.support) == known * 2 * 2  # shots and copies
        np.testing.assert_array_equal(
            episode.classes[episode.support_labels], LABELS[episode.support]
        )
        mine = episode.query_labels < known
        np.testing.assert_array_equal(
            episode.classes[episode.query_labels[mine]], LABELS[episode.query[mine]]
        )
        others = LABELS[episode.query[~mine]]
        assert len(np.unique(others)) == unknown
        assert not np.isin(others, episode.classes).any()
        near = np.isin(COARSE[others], COARSE[episode.classes])
        np.testing.assert_array_equal(episode.query_labels[~mine], np.where(near, known, known + 1))
        assert not np.isin(episode.query, episode.support).any()
        if protocol.intra_class:
            assert near.all()
            assert len(set(COARSE[episode.classes].tolist())) == known
        seen.add(tuple(episode.classes.tolist()))
        again = sampler.draw(protocol, number)
        assert all(map(np.array_equal, episode, again))
    assert len(seen) > 5
    other = sampler.draw(protocol, 0, seed=1)
    assert not all(map(np.array_equal, sampler.draw(protocol, 0), other))


def test_classes_alone_in_their_coarse_classes_have_no_unknown_neighbor(caplog):
    alone = EpisodeSampler(LABELS, np.arange(9)[LABELS])
    found = open_set.protocols([few(3), few(ALL_WAYS)], alone)
    assert found == [few(3), few(ALL_WAYS)]
    assert tells(caplog.text, "`open_set`", "2")


def test_without_coarse_classes_no_unknown_class_is_near():
    sampler = open_set.OpenSetSampler(EpisodeSampler(LABELS), None)
    assert set(sampler.draw(few(3), 0).query_labels.tolist()) == {0, 1, 2, 4}


def test_too_few_classes_are_refused(sampler):
    with refuses("`n_ways`", "1"):
        sampler.check(few(1))
    two = open_set.OpenSetSampler(EpisodeSampler(LABELS[:12]), None)
    with refuses("`open_set`", "2"):
        two.check(few(5))
    sampler.check(few(2))


def test_similarity_is_the_cosine_to_the_nearest_mean():
    torch.manual_seed(0)
    support, query = F.normalize(torch.randn(1, 6, 5), dim=2), F.normalize(torch.randn(1, 7, 5))
    labels, ids = torch.tensor([[0, 1, 0, 1, 1, 0]]), torch.tensor([[0, 1, 2, 3, 4, -1]])
    means = [support[0, [0, 2]].mean(0), support[0, [1, 3, 4]].mean(0)]  # the last is padding
    expected = [max(F.cosine_similarity(q, m, dim=0) for m in means) for q in query[0]]
    found = open_set.similarity(EpisodeBatch(support, labels, ids, query, 2))
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_far_classes_are_told_and_equal_ones_are_not(classifier):
    """Two known classes; one unknown class is opposite to them, another one is their copy."""
    torch.manual_seed(0)
    center = F.normalize(torch.randn(2, 8), dim=1)
    support = F.normalize(center.repeat(3, 1) + 0.01 * torch.randn(6, 8), dim=1)[None]
    known = F.normalize(center.repeat_interleave(10, 0) + 0.01 * torch.randn(20, 8), dim=1)
    query = torch.cat([known, known, F.normalize(-center.sum(0), dim=0).expand(20, 8)])[None]
    labels = torch.arange(2).repeat_interleave(10)
    labels = torch.cat([labels, torch.full((20,), 2), torch.full((20,), 3)])[None]
    batch = EpisodeBatch(support, torch.arange(2).repeat(3)[None], torch.arange(6)[None], query, 2)
    measure = partial(open_set.measure, single(classifier), classifier)
    (found,) = measure([batch], labels)
    assert found.shape == (1, 2, 2, 2)
    anywhere, same = found[0, :, 0]
    assert anywhere[0] == pytest.approx(0.75)
    np.testing.assert_allclose(same, 0.5)
    (padded,) = measure(
        [batch._replace(query=query[:, [*range(60), 59]])], F.pad(labels, (0, 1), value=-1)
    )
    np.testing.assert_allclose(padded, found, atol=1e-12)


@pytest.mark.slow
def test_eval_reports_both_scores_with_intervals(quick_run, tmp_path, capsys):
    report = tmp_path / "r.json"
    model = ["--model-path", str(quick_run / "last.pth.tar"), "--partition", "test"]
    command = [*model, "--n-test-runs", "20", "--n-ways", "2", "--json", str(report)]
    assert main([*command, "--cls", "Proto"]) == 0
    plain = json.loads(report.read_text())
    assert "open_set" not in plain
    capsys.readouterr()
    assert main([*command, "--cls", "Proto", "--open-set"]) == 0
    content = json.loads(report.read_text())
    assert content["episodes_sha256"] == plain["episodes_sha256"]
    assert [r["accuracy"] for r in content["results"]] == [r["accuracy"] for r in plain["results"]]
    kinds = [(row["unknown"], row["n_ways_range"]) for row in content["open_set"]]
    assert kinds == [
        ("anywhere", [2, 2]),
        ("same coarse class", [2, 2]),
        ("anywhere", [5, 5]),
        ("same coarse class", [5, 5]),
    ]
    for row in content["open_set"]:
        assert 40 < row["auroc_similarity"]["mean"] < 100
        assert row["auroc_gain"]["mean"] == pytest.approx(
            row["auroc_similarity"]["mean"] - row["auroc_probability"]["mean"]
        )
        assert row["fpr95_similarity"]["ci95"] > 0
    shown = capsys.readouterr().out.splitlines()[-4:]
    assert shown[0].startswith("anywhere")
    assert f"{content['open_set'][0]['auroc_similarity']['mean']:.1f} ±" in shown[0]


def test_open_set_is_of_one_model(quick_run, capsys):
    paths = [str(quick_run / "last.pth.tar")] * 2
    with pytest.raises(SystemExit):
        build_parser("ensemble").parse_args(["--model-path", *paths, "--open-set"])
    refused(
        main, ["--model-path", paths[0], "--open-set", "--n-ways", "1"], capsys, "--n-ways", "1"
    )
