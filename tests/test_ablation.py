"""The pages say what the cells of the experiments say."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import ablation  # noqa: E402
from studies import ANCOR, COARSE, FROZEN_ROW, STUDIES  # noqa: E402

from ancor.cli.train import build_parser  # noqa: E402


@pytest.mark.parametrize("page", ablation.PAGES, ids=lambda page: page.name)
def test_pages_have_the_tables_of_the_cells(page):
    text = page.read_text(encoding="utf-8")
    assert ablation.PART.findall(text)
    assert ablation.with_tables(text) == text


def test_each_cell_is_of_a_study_and_tells_what_its_episodes_say():
    cells = sorted(ablation.FOLDER.glob("*/*.json"))
    assert cells
    known = {
        ablation.cell_path(name, row, seed)
        for name, study in STUDIES.items()
        for row, seed in study.cells
    }
    assert set(cells) <= known
    for path in cells:
        cell = json.loads(path.read_text(encoding="utf-8"))
        first = STUDIES[cell["study"]].first
        *made, train = cell["commands"][: 2 if first else 1]
        assert made == ([f"python {first}"] if first else []), path
        script = "eval.py" if cell["row"] == FROZEN_ROW else "train.py"
        assert train.startswith(f"python {script} "), path
        for name, result in cell["results"].items():
            scores = ablation.scores(cell, name)
            assert abs(scores.mean() - result["accuracy"]) < 0.01, (path, name)


@pytest.mark.parametrize("name", STUDIES)
def test_flags_of_studies_are_known(name):
    study = STUDIES[name]
    for flags in study.rows.values():
        build_parser().parse_args([*study.flags.split(), *flags.split(), "--seed", "0"])


def test_differences_are_paired(tmp_path, monkeypatch):
    """Two rows that differ by the same amount in each episode have an interval of nothing."""
    monkeypatch.setattr(ablation, "FOLDER", tmp_path)
    scores = np.random.default_rng(0).integers(2000, 8000, 50)
    for row, more in ((ANCOR, 300), (COARSE, 0)):
        results = {
            measure: {
                "accuracy": float((scores + more).mean() / 100),
                "untrained": 10.0,
                "episode_accuracies": (scores + more).tolist(),
            }
            for measure in ablation.measures(STUDIES["digits"])
        }
        path = ablation.cell_path("digits", row, 1)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"results": results}))
    table = ablation.difference_table("digits")
    assert table.count("+3.0 ± 0.0") == 6
    assert f"| {COARSE}, seed 1 |" in table
    assert "| untrained (1 of 3 seeds) | 10.0 |" in ablation.accuracy_table("digits")
