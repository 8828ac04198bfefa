"""Exported classifiers: the answers of `predict`, from raw files, without the toolkit."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ancor
from ancor import __main__ as toolkit
from ancor.checkpoints import checkpoint, formats
from ancor.data.config import DataConfig
from ancor.data.transform_spec import TransformSpec
from ancor.errors import RunError
from ancor.fewshot import deploy
from ancor.fewshot.graphs import GRAPHS, ClassifierGraph
from ancor.fewshot.image_encoder import ImageEncoder
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime.devices import Runtime
from ancor.runtime.seeding import seeded
from tests import made
from tests.cases import first_quick, slow
from tests.pages import commands
from tests.pretrained import LITE0, WEIGHTS
from tests.refusals import refused, refuses, tells
from tests.shared import needs_shared, shared

for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package)

QUERY = Path("runs/images/query")  # where the page's runner looks


@pytest.fixture(scope="module")
def digits():
    partition = DataConfig("digits").load("train")
    return list(partition.images), partition.fine_labels


@pytest.fixture(scope="module")
def queries():
    """Images that the network sees as they are, (N, 32, 32, 3)."""
    images = DataConfig("digits").load("test").images
    return torch.stack([images[n] for n in range(80)]).permute(0, 2, 3, 1).contiguous()


def fitted(encoder, digits, sizes, classes=6, **settings) -> ancor.FewShotClassifier:
    """Return a classifier of digits, with `sizes` images a class by turns."""
    images, labels = digits
    kept = np.concatenate(
        [np.flatnonzero(labels == c)[: sizes[c % len(sizes)]] for c in range(classes)]
    )
    model = ancor.FewShotClassifier(encoder, **settings)
    return model.fit([images[n] for n in kept], labels[kept])


FORMS = {
    "equal": ((3,), {"n_augmentations": 0}),
    "views and a temperature": ((7,), {}),
    "unequal": ((1, 12, 40), {"n_augmentations": 1}),
    "coarse first": ((6,), {"coarse_first": True}),
    "unequal, coarse first": ((2, 9), {"coarse_first": True, "n_augmentations": 0}),
    # One class behind some gates, and predicted classes that no support image has.
    "few, coarse first": ((1,), {"coarse_first": True, "n_augmentations": 0, "classes": 2}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("classifier", first_quick(GRAPHS, 2))
def test_the_graph_is_predict(classifier, form, encoder, digits, queries):
    sizes, settings = FORMS[form]
    model = fitted(encoder, digits, sizes, classifier=classifier, **settings)
    model.set_params(unknown=float(np.median(model.predict_proba(list(queries.numpy())).max(1))))
    expected = model.predict_proba(list(queries.numpy()))
    with torch.inference_mode():
        found = ClassifierGraph(model)(queries)
    np.testing.assert_allclose(found["probabilities"], expected, atol=2e-5)
    clear = np.abs(expected.max(1) - model.unknown) > 1e-4
    unknown = model.predict(list(queries.numpy())) == "unknown"
    assert (found["unknown"].numpy() == unknown)[clear].all()
    if model.classifier != "KNN":  # of few images, its probabilities may all be the median
        assert 0.2 < unknown.mean() < 0.8


def test_the_coarse_class_is_the_encoders(encoder, digits, queries):
    model = fitted(encoder, digits, (2,))
    with torch.inference_mode():
        found = ClassifierGraph(model)(queries)["coarse_probabilities"]
    assert found.shape == (80, 3)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    expected = encoder.features(list(queries.numpy())).coarse
    assert torch.equal(found.argmax(1), expected)
    assert len(expected.unique()) > 1


def test_a_classifier_without_a_graph_is_refused(encoder, digits, tmp_path, monkeypatch):
    model = fitted(encoder, digits, (2,), classifier="NN")
    model.save(tmp_path / "x.ancor")
    monkeypatch.delitem(GRAPHS, "NN")
    with refuses("`classifier`", "NN", ", ".join(name for name in GRAPHS if name != "NN")):
        deploy.export(tmp_path / "x.ancor", model, tmp_path / "x.onnx", "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["x.ancor"]


def page_block() -> str:
    """Return the runner of docs/predict.md."""
    (block,) = (b for b in commands(Path("docs/predict.md")) if "onnxruntime" in b.text)
    return block.text


def run_page() -> dict[str, tuple[str, np.ndarray]]:
    """Run the page's runner in the working directory; return answer and probabilities by path."""
    answers = {}

    def record(path, answer, *_):
        answers[path] = str(answer), names["found"][0]

    names = {"print": record}
    exec(page_block(), names)
    return answers


def check(model, answers) -> None:
    """Assert that they are `predict`'s, but where the two best are closer than 1e-3."""
    paths = sorted(answers)
    expected = model.predict_proba(paths)
    found = np.stack([answers[path][1] for path in paths])
    assert np.abs(found - expected).max() < 1e-3
    best = np.sort(expected, axis=1)[:, -2:]
    clear = best[:, 1] - best[:, 0] > 1e-3
    if model.unknown is not None:
        clear &= np.abs(best[:, 1] - model.unknown) > 1e-3
    assert clear.mean() > 0.8
    same = np.array([answers[path][0] for path in paths]) == model.predict(paths).astype(str)
    assert same[clear].all()


def photographs(crop_mode: str, interpolation: str | None) -> ImageEncoder:
    """Return an encoder of photographs whose weights are random."""
    spec = TransformSpec(
        48, (0.5, 0.4, 0.3), (0.2,) * 3, resize=55, crop_mode=crop_mode, interpolation=interpolation
    )
    with seeded(0, "test"):
        network = Encoder(EncoderConfig("conv4", "none", False, 16, 1)).train()
        network(torch.randn(16, 3, 48, 48))
    return ImageEncoder(network, spec, Runtime.named("cpu"))


def own_pictures(folder: Path) -> None:
    """Write pictures of many shapes and kinds, of three tints in turn, one turned by its EXIF."""
    folder.mkdir(parents=True)
    for number in range(24):
        size = (61 + 7 * number, 211 - 5 * number)
        picture = made.picture(number, (9 + number, 12)).resize(size, Image.Resampling.BICUBIC)
        tint = Image.new("RGB", size, ("red", "lime", "blue")[number % 3])
        picture = Image.blend(picture, tint, 0.2)
        exif = Image.Exif()
        if number == 5:
            exif[0x0112] = 6
        picture = picture.convert("L") if number == 7 else picture
        picture.save(folder / f"{number:02d}.{('png', 'jpg')[number % 2]}", exif=exif)


SEEN = {
    "photographs": ("center", None, "LR"),
    "bicubic": ("center", "bicubic", "KNN"),
    "squashed": ("squash", "bilinear", "Cosine"),
}


@pytest.mark.parametrize("seen", first_quick(SEEN))
def test_the_pages_runner_answers_as_predict_does(seen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own_pictures(QUERY)
    crop_mode, interpolation, classifier = SEEN[seen]
    paths = sorted(map(str, QUERY.iterdir()))
    model = ancor.FewShotClassifier(photographs(crop_mode, interpolation), classifier)
    model.fit(paths[:18], [n % 3 for n in range(18)])
    model.set_params(unknown=float(np.median(model.predict_proba(paths).max(1))))
    model.save("runs/predict.ancor")
    assert toolkit.main(["export", "--with-classifier", "runs/predict.ancor", "--to", "onnx"]) == 0
    answers = run_page()
    assert list(answers) == paths
    check(model, answers)


def test_a_border_is_refused_and_not_left_out():
    """The file's steps are a resize and a crop."""
    spec = photographs("border", None).transforms
    with refuses("`crop_mode` border", "squash"):
        deploy.preparation(replace(spec, resize=48))
    with refuses("`crop_mode` center", "40", "48"):
        deploy.preparation(replace(spec, crop_mode="center", resize=40))


def test_digits_of_another_size_are_prepared_as_predict_does(quick_run, tmp_path, monkeypatch):
    """The stored size comes first, then the network's: three steps."""
    monkeypatch.chdir(tmp_path)
    own_pictures(QUERY)
    paths = sorted(map(str, QUERY.iterdir()))
    encoder = ancor.load_encoder(quick_run / "last.pth.tar", image_size=40, device="cpu")
    model = ancor.FewShotClassifier(encoder, "Proto").fit(paths[:4], ["a", "b", "a", "b"])
    model.save("x.ancor")
    command = ["export", "--with-classifier", "x.ancor", "--output", "runs/predict.onnx"]
    assert toolkit.main(command) == 0
    check(model, run_page())


def test_the_runner_needs_none_of_this(encoder, digits, tmp_path):
    folder = tmp_path / QUERY
    folder.mkdir(parents=True)
    Image.fromarray(digits[0][0].permute(1, 2, 0).numpy()).save(folder / "a.png")
    model = fitted(encoder, digits, (2,), unknown=1.0)
    model.save(tmp_path / "runs/predict.ancor")
    command = ["export", "--with-classifier", str(tmp_path / "runs/predict.ancor"), "--to", "onnx"]
    assert toolkit.main(command) == 0
    text = page_block() + "\nimport sys\nassert not {'ancor', 'torch'} & set(sys.modules)"
    lines = [line for line in page_block().splitlines() if line and "import" not in line]
    assert len(lines) <= 10
    shown = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert tells(shown, "runs/images/query/a.png", "unknown")


def read_metadata(path: Path) -> dict:
    if path.suffix == ".onnx":
        import onnx

        found = {p.key: p.value for p in onnx.load(path).metadata_props}
    else:
        files = {"metadata.json": ""}
        torch.export.load(path, extra_files=files)
        found = json.loads(files["metadata.json"])
    return {name: json.loads(text) for name, text in found.items()}


def test_the_similarity_threshold_goes_along(encoder, digits, queries, tmp_path):
    model = fitted(encoder, digits, (6, 8), unknown="auto", unknown_rate=0.3)
    model.save(tmp_path / "x.ancor")
    source, path = tmp_path / "x.ancor", tmp_path / "x.pt2"
    assert toolkit.main(["export", "--with-classifier", str(source), "--to", "pt2"]) == 0
    about = read_metadata(path)
    assert (about["unknown"], about["unknown_similarity"]) == ("auto", model.threshold())
    found = torch.export.load(path).module()(queries)["unknown"].numpy()
    similarities = model.similarity(list(queries.numpy()))
    clear = np.abs(similarities - model.threshold()) > 1e-5
    np.testing.assert_array_equal(found[clear], (similarities < model.threshold())[clear])
    assert 0 < found.sum() < len(found)


@pytest.mark.parametrize("to", ["onnx", slow("pt2")])
def test_command_and_metadata(to, encoder, digits, queries, tmp_path, capsys):
    settings = {"classifier": "KNN", "coarse_first": True, "unknown": 0.6}
    settings |= {"back_off": 0.7, "coarse_by": "classes"}
    model = fitted(encoder, digits, (1, 8), **settings)
    source, path = tmp_path / "x.ancor", tmp_path / f"x.{to}"
    model.save(source)
    assert toolkit.main(["export", "--with-classifier", str(source), "--to", to]) == 0
    outputs = "probabilities, unknown, coarse_probabilities"
    assert tells(capsys.readouterr().out, str(path), outputs, "(N, 32, 32, 3)")
    about = read_metadata(path)
    assert about["classifier_sha256"] == checkpoint.sha256(source)
    assert {name: about[name] for name in settings} == settings
    assert about["class_names"] == [0, 1, 2, 3, 4, 5]
    assert about["coarse_of_class"] == model.coarse_.tolist()
    assert about["coarse_names"] == ["closed loops", "straight strokes", "open curves"]
    assert about["temperature"] == model.temperature_
    assert (about["resize_to"], about["crop_to"], about["image_size"]) == (32, 32, 32)
    assert (about["mean"], about["keep_shape"]) == ([0.3054] * 3, True)
    expected = model.predict_proba(list(queries.numpy()))
    for count in (1, 80):
        if to == "pt2":
            found = torch.export.load(path).module()(queries[:count])
        else:
            import onnxruntime

            session = onnxruntime.InferenceSession(path)
            arrays = session.run(about["outputs"], {"pixels": queries[:count].numpy()})
            found = dict(zip(about["outputs"], arrays, strict=True))
        assert set(found) == set(about["outputs"])
        np.testing.assert_allclose(found["probabilities"], expected[:count], atol=1e-3)
        assert (np.asarray(found["unknown"]) == (expected[:count].max(1) < 0.6)).mean() > 0.98


def test_names_of_coarse_classes_live_in_the_saved_file(encoder, digits, tmp_path):
    assert len(encoder.coarse_names) == encoder.num_coarse == 3
    path = tmp_path / "x.ancor"
    fitted(encoder, digits, (1,)).save(path)
    again = ancor.FewShotClassifier.load(path, device="cpu")
    assert again.encoder.coarse_names == encoder.coarse_names
    assert photographs(False, None).coarse_names == ()


def test_a_file_of_other_answers_is_not_left_behind(encoder, digits, tmp_path, monkeypatch):
    def wrong(graph, pixels, about, path):
        path.write_bytes(b"x")

        def run(pixels):
            found = graph(pixels)
            return found | {"probabilities": found["probabilities"].flip(1)}

        return run

    model, path = fitted(encoder, digits, (2,)), tmp_path / "made" / "x.onnx"
    model.save(tmp_path / "x.ancor")
    monkeypatch.setitem(formats.GRAPHS, "onnx", wrong)
    with refuses("x.onnx'", "0.001", kind=RunError):
        deploy.export(tmp_path / "x.ancor", model, path, "onnx")
    assert not list(path.parent.iterdir())


BAD = {
    "weights alone": (["--to", "safetensors"], ["--to", "safetensors", "onnx or pt2"]),
    "another size": (["--to", "onnx", "--image-size", "64"], ["--image-size"]),
    "outputs of the encoder": (["--to", "pt2", "--output-layer", "logits"], ["--output-layer"]),
    "no classifier": (["--to", "onnx"], ["'x.ancor'", "ancor predict --save"]),
    "an encoder too": (["--model-path", "x.pth"], ["--model-path", "--with-classifier"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, encoder, digits, capsys, monkeypatch, tmp_path):
    flags, words = BAD[name]
    monkeypatch.chdir(tmp_path)
    if name == "no classifier":
        Path("x.ancor").write_bytes(b"{}\n")
    else:
        fitted(encoder, digits, (1,)).save("x.ancor")
    refused(toolkit.main, ["export", "--with-classifier", "x.ancor", *flags], capsys, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["x.ancor"]


@pytest.mark.slow
@needs_shared("grocery")
@pytest.mark.parametrize(("classifier", "count"), [("LR", 500), ("KNN", 250)])
def test_pictures_of_grocery_from_raw_files(classifier, count, tmp_path, monkeypatch):
    """Of 81 classes, by the page's runner, against `predict` and `predict_proba`."""
    monkeypatch.chdir(tmp_path)
    root = shared("grocery/dataset")
    listed = {
        split: [line.split(", ")[:2] for line in (root / f"{split}.txt").read_text().splitlines()]
        for split in ("train", "test")
    }
    by_class: dict[str, list[str]] = {}
    for path, label in listed["train"]:
        by_class.setdefault(label, []).append(str(root / path))
    support = [(path, label) for label, paths in by_class.items() for path in paths[:5]]
    QUERY.mkdir(parents=True)
    chosen = np.random.default_rng(0).permutation(len(listed["test"]))[:count]
    for number in chosen:
        path = root / listed["test"][number][0]
        (QUERY / f"{number:04d}{path.suffix}").symlink_to(path)
    model = ancor.FewShotClassifier(
        ancor.load_encoder(f"{LITE0}={WEIGHTS}", dataset="grocery", device="cpu"),
        classifier,
        n_augmentations=1,
        unknown=0.2,
    )
    model.fit([path for path, _ in support], [label for _, label in support])
    model.save("runs/predict.ancor")
    assert toolkit.main(["export", "--with-classifier", "runs/predict.ancor", "--to", "onnx"]) == 0
    answers = run_page()
    assert len(answers) == count
    assert 0 < sum(answer == "unknown" for answer, _ in answers.values()) < count
    check(model, answers)
