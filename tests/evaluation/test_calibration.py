"""Calibration error, Brier score and accuracy at coverage, against plain loops."""

import json
import re
from functools import partial

import numpy as np
import pytest
import torch

from ancor.cli import eval as command
from ancor.evaluation.calibration import BINS, COVERAGES, Calibration, episode_sums


def drawn(queries: tuple[int, ...] = (40, 33, 25)) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (E, Q, 4) and labels, padded; some confidences stand on edges or are equal."""
    rng = torch.Generator().manual_seed(0)
    probabilities = torch.rand(len(queries), max(queries), 4, generator=rng).double() ** 3
    probabilities /= probabilities.sum(2, keepdim=True)
    probabilities[:, :3] = torch.tensor([1.0, 0, 0, 0])
    probabilities[:, 3:9] = torch.tensor([0.2, 0.6, 0.1, 0.1])
    labels = torch.randint(0, 4, probabilities.shape[:2], generator=rng)
    for row, count in zip(labels, queries, strict=True):
        row[count:] = -1
    return probabilities, labels


def test_figures_are_those_of_a_plain_loop():
    probabilities, labels = drawn()
    found = Calibration.of(episode_sums(probabilities, probabilities.argmax(2), labels).numpy())
    rows = [
        (p.max().item(), int(p.argmax()) == label, ((p - torch.eye(4)[label]) ** 2).sum().item())
        for own, answers in zip(probabilities, labels.tolist(), strict=True)
        for p, label in zip(own, answers, strict=True)
        if label >= 0
    ]
    assert found.brier == pytest.approx(np.mean([brier for *_, brier in rows]))
    error = 0.0
    for number in range(BINS):
        inside = [(c, r) for c, r, _ in rows if number / BINS < c <= (number + 1) / BINS + 1e-12]
        if inside:
            sure, right = np.mean(inside, axis=0)
            error += len(inside) / len(rows) * abs(sure - right)
    assert found.ece == pytest.approx(error)


def test_coverage_counts_the_surest_queries_of_each_episode():
    probabilities, labels = drawn()
    sums = episode_sums(probabilities, probabilities.argmax(2), labels)
    found = Calibration.of(sums.numpy())
    for share, (mean, half) in zip(COVERAGES, found.coverage, strict=True):
        each = []
        for own, answers in zip(probabilities, labels, strict=True):
            own, answers = own[answers >= 0], answers[answers >= 0]
            sure, right = own.amax(1).numpy(), (own.argmax(1) == answers).double().numpy()
            kept = int(np.ceil(share / 100 * len(sure)))
            draws = []  # of equally sure ones some are kept
            for seed in range(400):
                shuffled = np.random.default_rng(seed).permutation(len(sure))
                order = shuffled[np.argsort(-sure[shuffled], kind="stable")]
                draws.append(right[order[:kept]].mean())
            each.append(np.mean(draws))
        assert mean == pytest.approx(100 * np.mean(each), abs=0.5)
        assert half > 0


def test_honest_and_dishonest_probabilities():
    labels = (torch.arange(100) >= 80).long()[None].repeat(2, 1)  # 80% of class 0
    honest = torch.tensor([0.8, 0.2], dtype=torch.float64).expand(2, 100, 2)
    found = Calibration.of(episode_sums(honest, torch.zeros_like(labels), labels).numpy())
    assert found.ece == pytest.approx(0, abs=1e-12)
    assert found.brier == pytest.approx(0.8 * 0.08 + 0.2 * 1.28)
    assert [mean for mean, _ in found.coverage] == pytest.approx([80, 80, 80])
    sure = torch.tensor([1.0, 0.0]).double().expand(2, 100, 2)
    found = Calibration.of(episode_sums(sure, torch.zeros_like(labels), labels).numpy())
    assert (found.ece, found.brier) == pytest.approx((0.2, 0.4))


@pytest.mark.parametrize(
    ("script", "classifier", "has"),
    [
        ("eval", "LR", True),
        ("eval", "NN", False),
        ("ensemble", "KNN", True),
        ("concat", "LR", True),
    ],
)
def test_reports_with_probabilities_have_the_figures(
    script, classifier, has, quick_run, tmp_path, capsys
):
    models = [str(quick_run / "last.pth.tar")] * (1 if script == "eval" else 2)
    flags = ["--partition", "test", "--n-test-runs", "6", "--cls", classifier]
    main, report = partial(command.main, name=script), tmp_path / "r.json"
    assert main(["--model-path", *models, *flags, "--json", str(report)]) == 0
    shown = capsys.readouterr().out
    for result in json.loads(report.read_text())["results"]:
        assert ("calibration" in result) == has
        assert result["accuracy"] <= result["coarse"]["accuracy"] <= 100
        if has:
            figures = result["calibration"]
            surest = [row["accuracy"] for row in figures["accuracy_at_coverage"].values()]
            assert len(surest) == 3
            assert all(abs(each - result["accuracy"]) < 30 for each in surest)
            assert 0 <= figures["ece"] <= 1
            told = map(float, re.findall(r"Brier ([\d.]+)", shown))
            assert any(each == pytest.approx(figures["brier"], abs=6e-4) for each in told)


def test_coarse_classes_have_no_coarse_level(quick_run, tmp_path):
    report = tmp_path / "r.json"
    flags = ["--partition", "test", "--n-test-runs", "4", "--json", str(report)]
    model = ["--model-path", str(quick_run / "last.pth.tar")]
    assert command.main([*model, *flags, "--mode", "coarse"]) == 0
    assert all("coarse" not in result for result in json.loads(report.read_text())["results"])
