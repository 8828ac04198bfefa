"""Features about the mean of unlabeled images: of the training's, or of a folder's."""

import numpy as np
import pytest
import torch
from PIL import Image

import ancor
from ancor.data.config import DataConfig
from ancor.fewshot import center, saved
from ancor.fewshot.graphs import ClassifierGraph
from tests.refusals import refuses

CLASSES = (0, 3, 5, 8)


@pytest.fixture(scope="module")
def part():
    partition = DataConfig("digits").load("train")
    kept = [np.flatnonzero(partition.fine_labels == c)[:3] for c in CLASSES]
    return partition.subset(np.concatenate(kept))


@pytest.fixture
def folder(queries, tmp_path):
    for number, image in enumerate(queries[:7]):
        Image.fromarray(image.numpy().transpose(1, 2, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def fitted(encoder, part, **settings):
    settings = {"classifier": "SimpleShot", "n_augmentations": 0, **settings}
    model = ancor.FewShotClassifier(encoder, **settings)
    return model.fit(list(part.images), part.fine_labels)


def cosines_to_means(encoder, part, queries, mean):
    """Centered features' cosines to the class means, written out; (Q, n)."""
    support, query = (encoder.encode(list(images)) - mean for images in (part.images, queries))
    support /= np.linalg.norm(support, axis=1, keepdims=True)
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    means = np.stack([support[part.fine_labels == c].mean(0) for c in CLASSES])
    return query @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T


def test_true_is_the_mean_of_the_training_images(encoder, part, queries):
    mean = encoder.encode(DataConfig("digits").load("train")).astype(np.float64).mean(0)
    model = fitted(encoder, part, center=True)
    np.testing.assert_allclose(model.center_, mean, atol=1e-6)
    expected = cosines_to_means(encoder, part, queries, mean)
    exponents = np.exp(expected)
    shares = exponents / exponents.sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(queries), shares, atol=1e-6)
    np.testing.assert_allclose(model.similarity(queries), expected.max(1), atol=1e-5)
    plain = fitted(encoder, part)
    assert plain.center_ is None
    assert np.abs(plain.predict_proba(queries) - shares).max() > 0.01


def test_a_folder_of_any_images_stands_for_them(encoder, part, queries, folder, monkeypatch):
    monkeypatch.setattr(center, "AT_ONCE", 3)
    model = fitted(encoder, part, center=folder)
    np.testing.assert_allclose(model.center_, encoder.encode(queries[:7]).mean(0), atol=1e-6)


def test_views_are_centered_and_the_mean_is_saved(encoder, part, queries, folder, tmp_path):
    images, labels = list(part.images), part.fine_labels
    settings = {"classifier": "LR", "n_augmentations": 2, "center": str(folder)}
    whole = fitted(encoder, part, **settings)
    model = ancor.FewShotClassifier(encoder, **settings).fit(images[:9], labels[:9])
    model.save(tmp_path / "c.ancor")
    again = ancor.FewShotClassifier.load(tmp_path / "c.ancor", device="cpu")
    assert again.center is True
    assert torch.equal(again.center_, model.center_)
    np.testing.assert_array_equal(again.predict_proba(queries), model.predict_proba(queries))
    again.add(images[9:], labels[9:])
    np.testing.assert_array_equal(again.predict_proba(queries), whole.predict_proba(queries))
    by_hand = whole.support_.views - whole.center_
    by_hand /= by_hand.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(whole.episode.features.views, by_hand)


def test_a_damaged_mean_is_refused(encoder, part, folder, tmp_path):
    fitted(encoder, part, center=folder).save(tmp_path / "c.ancor")
    about, arrays = saved.read(tmp_path / "c.ancor")
    for mean in (arrays["center"][:-1], arrays["center"] * np.nan, None):
        kept = {name: array for name, array in arrays.items() if name != "center"}
        saved.write(tmp_path / "x.ancor", about, kept if mean is None else {**kept, "center": mean})
        with refuses("x.ancor"):
            ancor.FewShotClassifier.load(tmp_path / "x.ancor", device="cpu")


@pytest.mark.parametrize("classifier", ["LR", "Cosine"])
def test_the_graph_centers_too(classifier, encoder, part, queries):
    model = fitted(encoder, part, classifier=classifier, center=True, unknown="auto")
    pixels = torch.stack(queries).permute(0, 2, 3, 1).contiguous()
    with torch.inference_mode():
        found = ClassifierGraph(model)(pixels)
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(queries), atol=2e-5)
    clear = np.abs(model.similarity(queries) - model.threshold()) > 1e-4
    unknown = model.predict(queries) == "unknown"
    assert (found["unknown"].numpy() == unknown)[clear].all()
    assert 0 < unknown.sum() < len(queries)


def test_an_encoder_that_does_not_tell_its_training_images_needs_a_folder(encoder, part, folder):
    nameless = ancor.load_encoder(encoder.network.backbone, dataset="digits", device="cpu")
    with refuses("`center`", "folder"):
        fitted(nameless, part, center=True)
    assert fitted(nameless, part, center=folder).center_ is not None
    with refuses("`center`", "3"):
        fitted(encoder, part, center=3)
    with refuses(repr(str(folder / "none"))):
        fitted(encoder, part, center=folder / "none")
