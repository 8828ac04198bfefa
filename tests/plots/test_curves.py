"""What a run's folder tells, however the run ended."""

import json

import pytest

from ancor.cli.compare import main as compare
from ancor.plots.curves import curves_figure, panels
from ancor.training import comparison
from ancor.training.comparison import read_runs
from ancor.training.read_run import read_run
from tests.refusals import refused, refuses


def write_run(folder, records, config=None, tail=""):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config or {"method": {"temperature": 0.2}}))
    text = "".join(json.dumps(record) + "\n" for record in records) + tail
    (folder / "metrics.jsonl").write_text(text)
    return folder


def step(number, loss, **more):
    return {"kind": "step", "step": number, "epoch": 1, "loss/cls": loss, **more}


@pytest.mark.parametrize("names", [1, 300])
def test_figures_without_end_are_refused(tmp_path, capsys, names):
    """D: each name is a panel and a column: many in one line, or one in each of many lines."""
    rows = [{f"loss/{n * names + k}": 1.0 for k in range(names)} for n in range(300 // names)]
    write_run(tmp_path / "a", [{"kind": "step", "step": n, **row} for n, row in enumerate(rows)])
    flags = [str(tmp_path / "a"), "--output", str(tmp_path / "x.png")]
    refused(compare, flags, capsys, "a/metrics.jsonl'", "300", "'loss/299'", "200")
    assert not (tmp_path / "x.png").exists()


def test_a_cut_off_last_line_is_passed_over(tmp_path):
    run = read_run(write_run(tmp_path / "a", [step(1, 2.0), step(2, 1.0)], tail='{"kind": "st'))
    assert run.curves["loss/cls"] == ([1, 2], [2.0, 1.0])
    assert run.settings == {"method.temperature": 0.2}


def test_what_a_resumed_run_did_again_replaces_what_was_cut_off(tmp_path):
    steps = [step(1, 9.0), step(2, 8.0), step(3, 7.0), step(2, 0.8), step(3, 0.7), step(4, 0.6)]
    run = read_run(write_run(tmp_path / "a", steps))
    assert run.curves["loss/cls"] == ([1, 2, 3, 4], [9.0, 0.8, 0.7, 0.6])


def test_final_and_best_scores(tmp_path):
    epochs = [
        {"kind": "epoch", "step": n, "epoch": n, "validation/5-way": score}
        for n, score in enumerate((50.0, 80.0, 70.0), start=1)
    ]
    scores = read_run(write_run(tmp_path / "a", [step(1, 2.0), *epochs])).final_scores()
    assert scores == {"loss/cls": 2.0, "validation/5-way": 70.0, "validation/5-way best": 80.0}


def test_curves_are_means_of_epochs_where_each_run_has_two_or_more(tmp_path):
    """A record stands for the steps since the last one: here two, one, two and one."""
    steps = [(2, 1, 1.0), (3, 1, 4.0), (5, 2, 2.0), (6, 2, 5.0)]
    records = [{"kind": "step", "step": s, "epoch": e, "loss/cls": v} for s, e, v in steps]
    records.insert(2, {"kind": "epoch", "step": 3, "epoch": 1, "validation/5-way": 50.0})
    write_run(tmp_path / "a", records)
    write_run(tmp_path / "b", records[:2])
    a, b = read_runs([str(tmp_path / name) for name in "ab"]).items()
    found, unit = comparison.curves(dict([a]))
    assert unit == "epoch"
    assert found == {"a": {"loss/cls": ([1, 2], [2.0, 3.0]), "validation/5-way": ([1], [50.0])}}
    found, unit = comparison.curves(dict([a, b]))  # of one epoch a mean would be a dot
    assert unit == "step"
    assert found["b"] == {"loss/cls": ([2, 3], [1.0, 4.0])}
    figure = curves_figure(found, unit)
    assert {axes.get_xlabel() for axes in figure.axes if axes.lines} == {"step"}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "empty"),
        ("not json\n", "line 1"),
        ('{"kind": "step", "step": 1}\n{"kind"\n{"kind": "step", "step": 2}\n', "line 2"),
        ("[1, 2]\n", "line 1"),
    ],
)
def test_broken_metrics_are_one_line(content, word, tmp_path):
    write_run(tmp_path / "a", [])
    (tmp_path / "a" / "metrics.jsonl").write_text(content)
    with refuses("a/metrics.jsonl'", word):
        read_run(tmp_path / "a")


def test_a_folder_without_a_run_and_a_config_without_settings_are_refused(tmp_path):
    with refuses(repr(str(tmp_path)), "config.json", "train.py"):
        read_run(tmp_path)
    write_run(tmp_path / "a", [step(1, 1.0)])
    (tmp_path / "a" / "config.json").write_text("[1")
    with refuses("a/config.json'"):
        read_run(tmp_path / "a")


def test_each_run_has_a_line_of_its_own_in_each_panel_that_it_has(tmp_path):
    curves = {
        "a": {"loss/cls": ([1, 2], [2.0, 1.0]), "health/queue_fill": ([1, 2], [0.1, 0.2])},
        "b": {"loss/cls": ([1, 2], [3.0, 2.0]), "images_per_s": ([1], [9.0])},
    }
    assert panels(curves) == ["loss/cls", "health/queue_fill"]
    losses, fill = curves_figure(curves).axes
    assert [list(line.get_ydata()) for line in losses.lines] == [[2.0, 1.0], [3.0, 2.0]]
    looks = {(line.get_color(), line.get_linestyle()) for line in losses.lines}
    assert len({color for color, _ in looks}) == len({style for _, style in looks}) == 2
    assert len(fill.lines) == 1
