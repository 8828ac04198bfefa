"""The toolkit from Python: the same numbers as the scripts, and no file that nobody asked for."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

import ancor
from ancor import __main__ as toolkit
from ancor.cli import eval as scripts
from ancor.cli.train import main as train_script
from ancor.data import features
from ancor.data.config import DataConfig
from ancor.data.transform_spec import AUGMENTATIONS
from ancor.models.backbones import build_backbone
from ancor.models.libraries import library
from tests import made
from tests.refusals import refuses

SETTINGS = {"epochs": 2, "batch_size": 64, "val_episodes": 20}


@pytest.fixture(scope="module")
def data():
    return ancor.load_dataset("digits", image_size=16)


@pytest.fixture(scope="module")
def encoder(data):
    return ancor.train(data, **SETTINGS)


def scores(results):
    return [(result.mode, result.accuracy, result.ci95) for result in results]


@pytest.mark.slow
def test_six_lines_give_the_numbers_of_the_scripts(data, encoder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = ancor.evaluate(encoder, data["test"], n_test_runs=20)
    again = ancor.train(data, **SETTINGS)
    assert list(tmp_path.iterdir()) == []
    command = ["--dataset", "digits", "--mode", "coarse", "--epochs", "2", "-b", "64"]
    command += ["--image-size", "16"]
    command += ["--val-episodes", "20", "--output-dir", "run"]
    assert train_script(command) == 0
    flags = ["--model-path", "run/model_best.pth.tar", "--partition", "test", "--n-test-runs", "20"]
    assert scripts.main([*flags, "--json", "report.json"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())["results"]
    assert scores(found) == [(r["mode"], r["accuracy"], r["ci95"]) for r in report]
    assert [result.mode for result in found] == ["N-Way", "All-Way"]
    loaded = ancor.load_encoder("run/model_best.pth.tar")
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, encoder.network.state_dict()[name]), name
        assert torch.equal(tensor, again.network.state_dict()[name]), name
    assert scores(ancor.evaluate("run/model_best.pth.tar", "test", n_test_runs=20)) == scores(found)


def test_files_are_written_where_asked_and_the_best_is_returned(data, encoder, tmp_path):
    asked = ancor.train(data, output_dir=tmp_path / "run", **SETTINGS)
    assert {"last.pth.tar", "model_best.pth.tar", "metrics.jsonl"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }
    for name, tensor in asked.network.state_dict().items():
        assert torch.equal(tensor, encoder.network.state_dict()[name]), name
    with refuses("`output_dir`", repr(str(tmp_path / "run"))):
        ancor.train(data, output_dir=tmp_path / "run", **SETTINGS)


def test_partitions_of_ones_own_are_trained_on(data):
    few = data["train"].subset(np.arange(400))
    encoder = ancor.train(few, validation=data["validation"], **SETTINGS)
    last = ancor.train(few, **SETTINGS)
    assert encoder.content["config"]["images"] == last.content["config"]["images"] == 400
    assert encoder.content["config"]["selected_on"] == "validation"
    assert last.content["config"]["selected_on"] == "last"
    assert last.content["epoch"] == 2
    (few_way, inside) = ancor.evaluate(last, data["test"], intra_class=True, n_test_runs=10)
    assert (few_way.mode, inside.mode) == ("N-Way", "Fine-Grained")


@pytest.mark.slow
def test_several_encoders_are_combined(data, encoder):
    other = ancor.train(data, seed=1, **SETTINGS)
    few = {"n_test_runs": 10, "n_shots": 5}
    alone = ancor.evaluate(encoder, data["test"], **few)
    for combine in ("ensemble", "concat", "cascade"):
        both = ancor.evaluate([encoder, other], data["test"], combine=combine, **few)
        assert [result.protocol.n_shots for result in both] == [5, 5]
        assert scores(both) != scores(alone)
    (gain, _) = ancor.evaluate(encoder, data["test"], untrained=True, n_test_runs=10)
    assert gain.baseline is not None
    assert str(gain).startswith("N-Way (5 ways, 1 shots): ")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda d, e: ancor.load_dataset("digit"), ["'digit'", "digits"]),
        (lambda d, e: ancor.load_dataset("digits", image_sise=3), ["image_sise", "image_size"]),
        (lambda d, e: d["tests"], ["'tests'", "test"]),
        (lambda d, e: ancor.train(d, epoch=3), ["epoch", "epochs"]),
        (lambda d, e: ancor.train(d, epochs=0), ["`epochs` 0"]),
        (lambda d, e: ancor.train("digits"), ["'digits'", "load_dataset", "Partition"]),
        (lambda d, e: ancor.train(d["train"], features="x.npz"), ["`features`", "load_dataset"]),
        (lambda d, e: ancor.train(d["train"], root="x"), ["`root`", "load_dataset"]),
        (lambda d, e: ancor.evaluate(e, d["test"], n_shot=3), ["n_shot", "n_shots"]),
        (lambda d, e: ancor.evaluate(e, d["test"], classifier="SVM"), ["SVM", "LR"]),
        (lambda d, e: ancor.evaluate(e, "test"), ["'test'", "load_dataset"]),
        (lambda d, e: ancor.evaluate([e, e], d["test"]), ["2", "1", "single"]),
        (lambda d, e: ancor.evaluate(e, d["test"], combine="sum"), ["'sum'", "ensemble"]),
        (
            lambda d, e: ancor.evaluate([e, e], d["test"], combine="ensemble", untrained=True),
            ["`untrained`", "ensemble"],
        ),
        (
            lambda d, e: ancor.evaluate([e, e], d["test"], combine="cascade", baseline=e),
            ["`baseline`", "cascade"],
        ),
        (lambda d, e: ancor.evaluate("/nowhere/x.pth", "test"), ["/nowhere/x.pth"]),
    ],
)
def test_bad_input_is_one_line(call, words, data, encoder):
    with refuses(*words):
        call(data, encoder)


class Items(Dataset):
    """Items of a torch dataset, (image, label)."""

    def __init__(self, images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number):
        return self.images[number], 0


def test_features_of_any_images_are_those_that_the_command_writes(tmp_path, quick_run):
    """The rows of `ancor embed` are the oracle: of files, by another way from pixels to a batch."""
    for number in range(9):
        made.write(tmp_path / f"p/train/coarse/{'ab'[number % 2]}/{number}.png", number, (40, 33))
    out, weights = tmp_path / "f.npz", ["--model-path", str(quick_run / "last.pth.tar")]
    command = ["embed", *weights, "--dataset", "folder", "--data", str(tmp_path / "p")]
    # Photographs of their own size, as those of a folder are.
    command += ["--image-size", "32", "--mean", "0.3", "0.3", "0.3", "--std", "0.2", "0.2", "0.2"]
    assert toolkit.main([*command, "--views", "2", "--output", str(out)]) == 0
    partition = features.load("train", str(out))
    expected = partition.images.rows[:, 0].numpy()
    root = tmp_path / "p/train"
    paths = [root / partition.images.name(number) for number in range(9)]
    settings = {"dataset": "folder", "image_size": 32, "mean": (0.3,) * 3, "std": (0.2,) * 3}
    encoder = ancor.load_encoder(quick_run / "last.pth.tar", device="cpu", **settings)
    opened = [Image.open(path) for path in paths]
    arrays = np.stack([np.asarray(image) for image in opened])
    forms = {
        "paths": paths,
        "open": opened,
        "an array": arrays,
        "a tensor": torch.from_numpy(arrays).permute(0, 3, 1, 2),
        "a torch dataset": Items(opened),
        "a partition": ancor.load_dataset("folder", tmp_path / "p", image_size=32)["train"],
    }
    for name, images in forms.items():
        found = ancor.embed(images, encoder)
        assert (type(found), found.dtype, found.shape) == (np.ndarray, np.float32, (9, 64)), name
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6, err_msg=name)
    found = ancor.embed(root, quick_run / "last.pth.tar", device="cpu", **settings)
    order = np.argsort([str(path) for path in paths])
    np.testing.assert_allclose(found, expected[order], rtol=0, atol=1e-6)
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    for found in (encoder.encode(paths), ancor.embed(paths, encoder, unit_length=True)):
        assert type(found) is np.ndarray
        np.testing.assert_allclose(found, unit, atol=1e-6)
    np.testing.assert_allclose(encoder.features(paths).vectors, unit, atol=1e-6)


def test_features_of_the_head_and_of_both(quick_run):
    images = [made.picture(number, (40, 33)) for number in range(3)]
    found = {}
    for kind in ("head", "frozen", "both"):
        encoder = ancor.load_encoder(quick_run / "last.pth.tar", features_out=kind)
        found[kind] = ancor.embed(images, encoder)
        assert found[kind].shape == (3, encoder.width)
    parts = np.concatenate([found["frozen"], found["head"]], axis=1)
    np.testing.assert_array_equal(found["both"], parts)


def test_settings_of_an_encoder_that_is_loaded_are_refused(encoder):
    with refuses("device", "load_encoder"):
        ancor.embed([made.picture(0)], encoder, device="cpu")
    with refuses("'devise'", "device"):
        ancor.embed([made.picture(0)], "timm:resnet18", devise="cpu")


def test_a_classifier_takes_a_torch_dataset(encoder):
    """Whose items are read when they are asked for, also where their number is not a batch's."""
    pictures = [made.picture(number, (40, 33)) for number in range(7)]
    labels = ["a", "b", "a", "b", "a", "b", "b"]
    model = ancor.FewShotClassifier(encoder).fit(Items(pictures), labels)
    other = ancor.FewShotClassifier(encoder).fit(pictures, labels)
    np.testing.assert_array_equal(
        model.predict_proba(Items(pictures)), other.predict_proba(pictures)
    )


def test_importing_is_quick_and_leaves_torch_alone():
    code = (
        "import sys; import ancor; "
        "print('torch' in sys.modules, set(ancor.__all__) <= set(dir(ancor)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "True"]
    assert all(callable(getattr(ancor, name)) for name in ancor.__all__)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of a training set of pictures of many sizes."""
    root = tmp_path_factory.mktemp("photographs")
    for number in range(12):
        size = (40 + 3 * number, 33 + 20 * (number % 3))
        made.write(root / f"train/{'ab'[number % 2]}/{number}.png", number, size)
    return root


@pytest.fixture(scope="module")
def of_timm(tmp_path_factory):
    """A backbone of timm, and a file of weights that were drawn."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.pth"
    torch.save(build_backbone("timm:test_resnet").state_dict(), path)
    return "timm:test_resnet", str(path)


def test_training_is_that_of_the_script(photographs, of_timm, tmp_path):
    """What a backbone asks of images, and what follows of its weights, is not lost."""
    arch, weights = of_timm
    flags = ["--dataset", "folder", "--data", str(photographs), "--mode", "coarse", "-j", "0"]
    flags += ["--arch", arch, "--pretrained", weights, "--epochs", "1", "--seed", "3"]
    assert train_script([*flags, "--output-dir", str(tmp_path / "run")]) == 0
    data = ancor.load_dataset("folder", photographs)
    ours = ancor.train(data, arch=arch, pretrained=weights, epochs=1, seed=3, workers=0)
    told = json.loads((tmp_path / "run/config.json").read_text())
    assert (told["data"]["augment"], told["data"]["image_size"]) == ("crops", 160)
    for section in ("encoder", "method", "data", "training"):
        assert ours.content["config"][section] == told[section], section
    theirs = ancor.load_encoder(tmp_path / "run/last.pth.tar")
    assert ours.transforms == replace(theirs.transforms, **AUGMENTATIONS["crops"])
    for name, tensor in theirs.network.state_dict().items():
        assert torch.equal(tensor, ours.network.state_dict()[name]), name


def test_settings_of_a_dataset_go_before_the_backbones(photographs, of_timm):
    arch, weights = of_timm
    data = ancor.load_dataset("folder", photographs, image_size=64, augment="color")
    encoder = ancor.train(data, arch=arch, pretrained=weights, epochs=1, workers=0)
    assert (encoder.transforms.size, encoder.transforms.grayscale) == (64, 0.2)
    assert encoder.transforms.interpolation == library(arch).preprocessing()["interpolation"]


@pytest.mark.slow
def test_an_encoder_is_scored_by_the_features_that_it_encodes_to(data, quick_run):
    path, few = quick_run / "last.pth.tar", {"n_test_runs": 5, "n_queries": 5}
    frozen, head = (
        ancor.load_encoder(path, features_out=out, device="cpu") for out in ("frozen", "head")
    )
    of_file = {
        out: scores(ancor.evaluate(path, data["test"], features_out=out, device="cpu", **few))
        for out in ("frozen", "head")
    }
    assert of_file["frozen"] != of_file["head"]
    assert scores(ancor.evaluate(head, data["test"], **few)) == of_file["head"]
    assert scores(ancor.evaluate(frozen, data["test"], **few)) == of_file["frozen"]
    asked = ancor.evaluate(head, data["test"], features_out="frozen", **few)
    assert scores(asked) == of_file["frozen"]
    own = ancor.load_encoder(path, only_base=False, device="cpu")
    assert scores(ancor.evaluate(own, data["test"], **few)) == of_file["head"]
    assert scores(ancor.evaluate(own, data["test"], only_base=True, **few)) == of_file["frozen"]
    (result, _) = ancor.evaluate(frozen, data["test"], baseline=head, **few)
    (alone, _) = ancor.evaluate(head, data["test"], **few)
    assert np.array_equal(result.baseline, alone.scores)
    both, other, same = (
        scores(ancor.evaluate(models, data["test"], combine="concat", **options, **few))
        for models, options in (
            ([frozen, head], {}),
            ([head, head], {}),
            ([frozen, head], {"features_out": "head"}),
        )
    )
    assert both != other == same


def test_a_partition_names_the_dataset_of_a_file(of_timm, quick_run, tmp_path):
    """Files see images of another dataset as eval.py shows them; a backbone needs nothing more."""
    arch, weights = of_timm
    test, few = ancor.load_dataset("digits")["test"], {"n_test_runs": 3, "n_queries": 5}
    named = ancor.load_encoder(arch, pretrained=weights, dataset="digits", device="cpu")
    found = ancor.evaluate(f"{arch}={weights}", test, device="cpu", **few)
    assert scores(found) == scores(ancor.evaluate(named, test, **few))
    path = str(quick_run / "last.pth.tar")
    made.cifar100(tmp_path, images=6)
    flags = ["--model-path", path, "--dataset", "cifar100", "--data", str(tmp_path)]
    flags += ["--partition", "test", "--device", "cpu", "--cls", "Proto", "--n-queries", "2"]
    flags += ["--n-test-runs", "3", "--json", str(tmp_path / "report.json")]
    assert scripts.main(flags) == 0
    report = json.loads((tmp_path / "report.json").read_text())["results"]
    test = ancor.load_dataset("cifar100", tmp_path)["test"]
    few |= {"n_queries": 2, "classifier": "Proto"}
    found = ancor.evaluate(path, test, device="cpu", **few)
    assert scores(found) == [(r["mode"], r["accuracy"], r["ci95"]) for r in report]
    other = ancor.load_encoder(path, device="cpu")
    assert other.transforms.mean != DataConfig("cifar100").transforms.mean
    assert scores(ancor.evaluate(other, test, **few)) != scores(found)


def test_images_of_any_size_are_shown_as_the_training_images_were(photographs, quick_run):
    """Of a partition as of paths: at its shorter side, and cropped."""
    encoder = ancor.load_encoder(quick_run / "last.pth.tar", device="cpu")
    partition = ancor.load_dataset("folder", photographs)["train"]
    paths = [partition.images.name(number) for number in range(len(partition))]
    found = encoder.encode(partition)
    np.testing.assert_allclose(found, encoder.encode(paths), rtol=0, atol=1e-6)
    alike = [number for number, path in enumerate(paths) if Image.open(path).size == (40, 33)]
    one = partition.subset(np.array(alike))
    np.testing.assert_allclose(encoder.encode(one), found[alike], rtol=0, atol=1e-6)
    (result, _) = ancor.evaluate(
        encoder, partition, mode="coarse", n_ways=2, n_queries=2, n_test_runs=2
    )
    assert len(result.scores) == 2
