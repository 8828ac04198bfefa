"""eval, ensemble, concat and cascade as a user meets them: reports, agreement, bad input."""

import json
import shutil
from functools import partial

import pytest
import torch

from ancor.checkpoints import checkpoint
from ancor.cli import eval as single
from ancor.cli.train import main as train
from ancor.evaluation import run
from ancor.models.encoder import Encoder
from tests import made
from tests.cases import slow
from tests.conftest import QUICK
from tests.refusals import refused

MAINS = {name: partial(single.main, name=name) for name in ("ensemble", "concat", "cascade")}
FEW = ["--n_test_runs", "4", "--partition", "test"]


@pytest.fixture(scope="module")
def coarse_run(tmp_path_factory):
    """A coarse-only model of another architecture."""
    folder = tmp_path_factory.mktemp("runs") / "coarse"
    method = ["--head", "cls", "--queue", "none", "--calc-types", "cls", "--loss-types", "ce"]
    command = [*QUICK, *method, "--arch", "resnet18", "--max-steps", "2", "--epochs", "1"]
    assert train([*command, "--val-episodes", "0", "--output-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def models(quick_run, coarse_run) -> list[str]:
    return [str(quick_run / "last.pth.tar"), str(coarse_run / "last.pth.tar")]


def changed(path: str, target, **sections) -> str:
    """Write a copy of a checkpoint with other values in its configuration."""
    content = torch.load(path, weights_only=True)
    for section, values in sections.items():
        content["config"][section].update(values)
    checkpoint.save(content, target)
    return str(target)


def results_of(path) -> list[dict]:
    content = json.loads(path.read_text())
    return [{k: v for k, v in r.items() if k != "seconds"} for r in content["results"]]


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("concat", ["--cls", "NN", "--head", "seq"]),
        ("ensemble", ["--cls", "KNN"]),
        ("cascade", []),
        slow("ensemble", []),
        slow("ensemble", ["--average", "arithmetic", "--cls", "Proto", "--fg"]),
        slow("concat", ["--model", "conv4", "resnet18"]),
        slow("cascade", ["--cls", "Cosine", "--fg"]),
    ],
)
def test_several_models_beat_chance(script, flags, models, tmp_path, capsys):
    path = tmp_path / "r.json"
    command = ["--model_path", *models, *FEW, *flags, "--json", str(path)]
    assert MAINS[script](command) == 0
    content = json.loads(path.read_text())
    assert content["script"] == script
    assert len({model["sha256"] for model in content["checkpoints"]}) == 2
    modes = ["N-Way", "Fine-Grained" if "--fg" in flags else "All-Way"]
    assert [result["mode"] for result in content["results"]] == modes
    assert all(r["accuracy"] > 1.3 * 100 / r["n_ways"] for r in content["results"])
    assert "Mode: N-Way\nPartition: test Accuracy: " in capsys.readouterr().out


@pytest.mark.parametrize("script", ["ensemble", "concat"])
def test_a_model_with_itself_is_that_model(script, quick_run, tmp_path):
    """Exactly so where only order counts: probabilities squared, features twice."""
    model, classifier = str(quick_run / "last.pth.tar"), "Proto" if script == "ensemble" else "NN"
    for name, main, paths in (("a", single.main, [model]), ("b", MAINS[script], [model] * 2)):
        command = ["--model_path", *paths, *FEW, "--cls", classifier]
        assert main([*command, "--json", str(tmp_path / name)]) == 0
    assert results_of(tmp_path / "a") == results_of(tmp_path / "b")


def test_several_shots_are_what_each_alone_is(quick_run, tmp_path, monkeypatch):
    model, seen = str(quick_run / "last.pth.tar"), []
    forward = Encoder.forward
    monkeypatch.setattr(Encoder, "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    command = ["--model_path", model, *FEW, "--cls", "NN", "--support-views", "5"]
    assert single.main([*command, "--n_shots", "1", "3", "--json", str(tmp_path / "both")]) == 0
    together = sum(seen)
    for shots in ("1", "3"):
        assert single.main([*command, "--n_shots", shots, "--json", str(tmp_path / shots)]) == 0
    assert [r["n_shots"] for r in results_of(tmp_path / "both")] == [1, 1, 3, 3]
    assert results_of(tmp_path / "both")[:2] == results_of(tmp_path / "1")
    assert together < sum(seen[1:]) - together


def test_a_warm_cache_opens_no_image_for_any_script(models, tmp_path, monkeypatch):
    cache = ["--feature-cache", str(tmp_path / "cache")]
    command = ["--model_path", *models, *FEW, *cache, "--json"]
    assert MAINS["concat"]([*command, str(tmp_path / "cold")]) == 0
    monkeypatch.setattr(Encoder, "forward", None)
    monkeypatch.setattr("ancor.data.views.EvaluationViews.__getitem__", None)
    assert MAINS["concat"]([*command, str(tmp_path / "warm")]) == 0
    assert results_of(tmp_path / "cold") == results_of(tmp_path / "warm")
    alone = ["--model_path", models[0], *FEW, *cache]
    assert single.main(alone) == 0
    with pytest.raises(TypeError):  # other views: not in the cache
        single.main([*alone, "--seed", "1"])


def test_the_report_says_all_that_the_results_depend_on(models, tmp_path, monkeypatch):
    """How probabilities were averaged, and which baseline; files as they were when read."""
    path, one = tmp_path / "r.json", tmp_path / "model.pth.tar"
    shutil.copy(models[0], one)
    command = [*FEW, "--json", str(path), "--model-path"]
    assert MAINS["ensemble"]([*command, *models, "--average", "arithmetic"]) == 0
    assert json.loads(path.read_text())["average"] == "arithmetic"
    results = run.Evaluation.results

    def while_training_goes_on(self):
        yield from results(self)
        shutil.copy(models[1], one)

    monkeypatch.setattr(run.Evaluation, "results", while_training_goes_on)
    assert single.main([*command, str(one), "--baseline", models[1]]) == 0
    report = json.loads(path.read_text())
    assert report["checkpoint"]["sha256"] == checkpoint.sha256(models[0])
    assert report["baseline"]["sha256"] == checkpoint.sha256(models[1])
    assert report["baseline"]["path"] == models[1]


def test_what_was_chosen_on_the_images_that_are_evaluated_is_said(quick_run, tmp_path, capsys):
    """Of a baseline too, and of CIFAR-100, whose validation and test images are the same."""
    made.cifar100(tmp_path, images=6)
    chosen = str(quick_run / "last.pth.tar")
    content = torch.load(chosen, weights_only=True)
    content["config"]["selected_on"] = "last"
    checkpoint.save(content, tmp_path / "last")
    cifar = changed(chosen, tmp_path / "cifar", data={"dataset": "cifar100"})
    few = ["--n-test-runs", "2", "--n-queries", "2", "--cls", "Proto", "--device", "cpu"]
    data = ["--dataset", "cifar100", "--data", str(tmp_path)]
    for flags, named in (
        (["--model-path", chosen, "--partition", "validation"], chosen),
        (["--model-path", chosen, "--partition", "test"], None),
        (["--model-path", chosen, *data, "--partition", "validation"], None),
        (["--model-path", cifar, *data, "--partition", "test"], cifar),
        (["--model-path", cifar, *data, "--partition", "train"], None),
        (["--model-path", str(tmp_path / "last"), "--partition", "validation"], None),
        (["--model-path", str(tmp_path / "last"), "--baseline", chosen], chosen),
    ):
        assert single.main([*flags, *few]) == 0
        shown = [line for line in capsys.readouterr().out.splitlines() if "flatters" in line]
        assert [repr(named) in line for line in shown] == [True] * (named is not None), flags
        assert all(("val-fraction" in line) == (named == cifar) for line in shown)


def test_plots_are_drawn(quick_run, tmp_path):
    command = ["--model_path", str(quick_run / "last.pth.tar"), *FEW, "--plot", str(tmp_path / "p")]
    assert single.main(command) == 0
    names = ["confusion_all-way_1shot", "histogram_all-way_1shot", "histogram_n-way_1shot"]
    pictures = sorted((tmp_path / "p").glob("*.png"))
    assert [path.stem for path in pictures] == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


BAD = {
    "one model to cascade": ("cascade", 1, [], ["--model-path", "1", "2"]),
    "three models to cascade": ("cascade", 3, [], ["--model-path", "3", "2"]),
    "one model to ensemble": ("ensemble", 1, [], ["--model-path", "1", "2"]),
    "NN in an ensemble": ("ensemble", 2, ["--cls", "NN"], ["--classifier NN", "KNN, LR, Proto"]),
    "Cosine in an ensemble": ("ensemble", 2, ["--cls", "Cosine"], ["--classifier Cosine", "LR"]),
    "unknown average": ("ensemble", 2, ["--average", "median"], ["'median'", "geometric"]),
    "a wrong backbone": ("concat", 2, ["--model", "conv4"], ["conv4", "resnet18"]),
    "too many heads": (
        "concat",
        2,
        ["--head", "seq", "cls", "cls"],
        ["--head seq cls cls", "2"],
    ),
    "a split of digits": ("concat", 2, ["--split", "good"], ["--split good", "digits"]),
    "a shot twice": ("concat", 2, ["--n_shots", "1", "1"], ["--n-shots 1 1"]),
    "no batch": ("concat", 2, ["--test_batch_size", "0"], ["--test-batch-size 0"]),
    "negative workers": ("concat", 2, ["--num_workers", "-1"], ["--num-workers -1"]),
    "a file for a cache": (
        "concat",
        2,
        ["--feature-cache", "/dev/null"],
        ["'/dev/null'"],
    ),
    "no folder for plots": ("concat", 2, ["--plot", "/proc/none"], ["/proc/none"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, models, capsys):
    script, count, flags, words = BAD[name]
    command = ["--model_path", *(models * 2)[:count], *FEW, *flags]
    refused(MAINS[script], command, capsys, *words)


def test_models_of_different_data_or_classes_are_refused(models, tmp_path, capsys):
    other = changed(models[0], tmp_path / "other", data={"dataset": "glyphs"})
    paths = ["--model_path", models[0], other]
    refused(MAINS["concat"], [*paths, *FEW], capsys, "'digits'", "'glyphs'")
    content = torch.load(models[1], weights_only=True)
    content["config"]["encoder"]["num_classes"] = 10
    state = content["state_dict"]
    for part in ("q", "k"):
        for name, shape in (("weight", (10, 512)), ("bias", (10,))):
            state[f"module.encoder_{part}.fc.{name}"] = torch.zeros(shape)
    checkpoint.save(content, tmp_path / "ten")
    paths = ["--model_path", models[0], str(tmp_path / "ten")]
    refused(MAINS["ensemble"], [*paths, *FEW], capsys, "3", "10")


def test_a_cascade_needs_a_classifier_first(models, quick_run, tmp_path, capsys):
    folder = tmp_path / "none"
    method = ["--head", "none", "--queue", "single", "--calc-types", "cst_all"]
    command = [*QUICK, *method, "--loss-types", "ce", "--max-steps", "1", "--val-episodes", "0"]
    assert train([*command, "--output-dir", str(folder)]) == 0
    paths = [str(folder / "last.pth.tar"), models[0]]
    refused(MAINS["cascade"], ["--model_path", *paths, *FEW], capsys, repr(paths[0]), "classifier")
