"""Scores of clusters, beside slow ones by their definitions, and the report of a partition."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
import torch

from ancor.cli import eval as eval_cli
from ancor.data.hierarchy import Hierarchy
from ancor.data.images import GrayImages
from ancor.data.partition import Partition
from ancor.data.transform_spec import TransformSpec
from ancor.evaluation.clusters import agreement, cluster_report
from ancor.evaluation.config import EvaluationConfig
from ancor.evaluation.models import Model
from ancor.evaluation.run import Evaluation
from ancor.models.config import BARE, EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime.devices import Runtime
from tests.refusals import refused, refuses, tells


def slow_accuracy(clusters: np.ndarray, labels: np.ndarray) -> float:
    """Try every one-to-one map of clusters to labels."""
    names = sorted(set(labels)) + [-1] * len(set(clusters))
    maps = set(itertools.permutations(names, len(set(clusters))))
    found = sorted(set(clusters))
    return max(
        np.mean(
            [
                dict(zip(found, to, strict=True))[c] == y
                for c, y in zip(clusters, labels, strict=True)
            ]
        )
        for to in maps
    )


def slow_ari(clusters: np.ndarray, labels: np.ndarray) -> float:
    """Count pairs of images that both divisions put together."""
    pairs = list(itertools.combinations(range(len(labels)), 2))
    one = sum(clusters[a] == clusters[b] for a, b in pairs)
    two = sum(labels[a] == labels[b] for a, b in pairs)
    both = sum(clusters[a] == clusters[b] and labels[a] == labels[b] for a, b in pairs)
    expected = one * two / len(pairs)
    return (both - expected) / ((one + two) / 2 - expected)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_scores_equal_their_definitions(k):
    rng = np.random.default_rng(k)
    labels, clusters = rng.integers(0, 3, 20), rng.integers(0, k, 20)
    found = agreement(clusters, labels)
    assert found.accuracy == pytest.approx(slow_accuracy(clusters, labels))
    assert found.ari == pytest.approx(slow_ari(clusters, labels))
    most = [Counter(labels[clusters == c]).most_common(1)[0][1] for c in set(clusters)]
    assert found.purity == pytest.approx(sum(most) / 20)


def test_the_same_division_under_other_numbers_scores_one():
    labels = np.array([0, 0, 1, 1, 1, 7])
    found = agreement(np.array([5, 5, 2, 2, 2, 0]), labels)
    assert found == agreement(labels, labels)
    assert {found.accuracy, found.ami, found.nmi, found.ari, found.purity} == {1.0}
    alone = agreement(np.arange(6), labels)
    assert alone.purity == 1
    assert alone.accuracy == 0.5
    assert alone.ari == 0


def made(seed: int = 0) -> tuple[torch.Tensor, Partition]:
    """Two coarse classes of three and two fine ones, and a third of one; separable features."""
    hierarchy = Hierarchy(("a", "b", "c"), tuple("uvwxyz"), (0, 0, 0, 1, 1, 2))
    fine = np.random.default_rng(seed).permutation(np.repeat(np.arange(6), 12))
    images = GrayImages(np.zeros((72, 8, 8), dtype=np.uint8))
    noise = torch.randn(72, 16, generator=torch.Generator().manual_seed(seed))
    features = 10 * torch.nn.functional.one_hot(torch.from_numpy(fine), 16) + noise
    return features, Partition.from_fine("made", "test", images, fine, hierarchy)


def test_a_partition_whose_classes_are_apart_scores_one():
    features, partition = made()
    found = cluster_report(features, partition)
    assert list(found.inside) == ["a", "b"]
    assert (found.n_images, found.n_classes, found.single) == (72, 6, 1)
    for each in (*found.inside.values(), found.pooled, found.over_all):
        assert each.accuracy == each.ari == each.purity == 1
    assert tells("\n".join(found.lines()), "1 of 3")


def test_features_that_say_nothing_score_by_chance():
    _, partition = made()
    features = torch.randn(72, 16, generator=torch.Generator().manual_seed(5))
    found = cluster_report(features, partition)
    assert abs(np.mean([each.ari for each in found.inside.values()])) < 0.1
    assert found.pooled.ari > found.over_all.ari  # the coarse labels are given


def test_a_partition_without_sub_classes_is_refused():
    features, partition = made()
    hierarchy = Hierarchy(partition.hierarchy.fine_names, partition.hierarchy.fine_names, range(6))
    flat = Partition.from_fine("made", "test", partition.images, partition.fine_labels, hierarchy)
    with refuses("`clusters`", "'test'"):
        cluster_report(features, flat)
    spec = TransformSpec(16, (0.5,) * 3, (0.25,) * 3, native_size=8)
    model = Model(Encoder(EncoderConfig("conv4", BARE)), spec, Runtime(torch.device("cpu")))
    with refuses("`clusters`", "'test'"):  # not when all episodes are scored
        Evaluation([model], flat, EvaluationConfig(clusters=True))
    unknown = Partition("made", "test", flat.images, flat.coarse_labels, None, hierarchy)
    with refuses("`mode`"):
        cluster_report(features, unknown)


def test_eval_reports_clusters_as_text_and_json(quick_run, tmp_path, capsys):
    path = tmp_path / "report.json"
    argv = ["--model-path", str(quick_run / "last.pth.tar"), "--n-test-runs", "2"]
    argv += ["--n-augmentations", "1", "--device", "cpu"]
    assert eval_cli.main([*argv, "--clusters", "--json", str(path)]) == 0
    shown = capsys.readouterr().out
    told = json.loads(path.read_text())["clusters"]
    mean = told["inside_mean"]
    for name in ("accuracy", "ami", "nmi", "ari", "purity"):
        assert mean[name] == pytest.approx(np.mean([e[name] for e in told["inside"].values()]))
    assert tells(shown, "mean", *(f"{100 * value:.1f}" for value in mean.values()))
    assert told["fine_classes"] == 10
    assert eval_cli.main([*argv, "--json", str(path)]) == 0
    assert "clusters" not in json.loads(path.read_text())
    refused(
        lambda argv: eval_cli.main(argv, "ensemble"), [*argv, "--clusters"], capsys, "--clusters"
    )
