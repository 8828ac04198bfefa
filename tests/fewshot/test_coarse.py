"""Answers at the coarse level: given classes, folders, and the encoder's own vote."""

import numpy as np
import pytest
import torch

import ancor
from ancor.data.config import DataConfig
from ancor.data.transforms import normalize
from ancor.fewshot import inputs
from ancor.fewshot.coarse import coarse_of, coarse_shares, coarse_sums
from ancor.fewshot.support_set import Features
from tests import made
from tests.refusals import refuses

COARSE = {0: "round", 1: "straight", 4: "straight", 6: "round"}


@pytest.fixture(scope="module")
def part():
    partition = DataConfig("digits").load("train")
    kept = [np.flatnonzero(partition.fine_labels == c)[:6] for c in COARSE]
    return partition.subset(np.concatenate(kept))


def test_the_probability_of_a_coarse_class_is_the_sum_over_its_classes():
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.5, 0.0]])
    names, sums = coarse_sums(probabilities, np.array(["b", "a", "b", "a"]))
    assert names.tolist() == ["a", "b"]
    np.testing.assert_allclose(sums, [[0.6, 0.4], [0.25, 0.75]])


def test_the_encoder_votes_where_no_coarse_class_is_given():
    nothing = torch.zeros(5, 0)
    support = Features(
        torch.zeros(5, 2), nothing[..., None], torch.tensor([1, 1, 0, 0, 1]), nothing
    )
    labels = np.array([0, 0, 0, 1, 1])  # of the second class the votes are even: the first wins
    classes = np.array(["x", "y"])
    assert coarse_of(classes, {}, support, labels, ("a", "b")).tolist() == ["b", "a"]
    assert coarse_of(classes, {}, support, labels, ()) is None
    with refuses("'y'", "'x'"):
        coarse_of(classes, {"x": "a"}, support, labels, ())


def test_unsure_answers_are_coarse_ones(encoder, part, queries):
    model = ancor.FewShotClassifier(encoder, classifier="Proto", back_off=0.3)
    model.fit(list(part.images), part.fine_labels, COARSE)
    assert model.coarse_.tolist() == list(COARSE.values())
    probabilities, coarse = model.predict_proba(queries), model.predict_coarse_proba(queries)
    np.testing.assert_allclose(coarse[:, 0], probabilities[:, [0, 3]].sum(1))
    sure = probabilities.max(1)
    model.set_params(back_off=float(np.median(sure)))
    answers = model.predict(queries)
    assert 0 < (sure < model.back_off).sum() < len(queries)
    for answer, own, wide in zip(answers, probabilities, coarse, strict=True):
        unsure = own.max() < model.back_off
        expected = ("round", "straight")[wide.argmax()] if unsure else list(COARSE)[own.argmax()]
        assert answer == expected
    both = model.set_params(unknown=1.0).predict(queries)
    assert set(both[sure < 1].tolist()) == {"unknown"}


def test_of_the_encoders_probabilities_those_of_the_learned_coarse_classes_count():
    logits = np.log([[0.1, 0.3, 0.6], [0.5, 0.5, 1e-30]]).astype(np.float32)
    names, shares = coarse_shares(logits, ("c", "a", "b"), np.array(["c", "a", "c"]))
    assert names.tolist() == ["a", "c"]
    np.testing.assert_allclose(shares, [[0.75, 0.25], [0.5, 0.5]], rtol=1e-6)
    far = np.array([[0.0, -900.0, -901.0]], dtype=np.float32)  # neither is likely at all
    (far,) = coarse_shares(far, ("c", "a", "b"), np.array(["a", "b"]))[1]
    np.testing.assert_allclose(far, [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))])


def named(encoder, fine):
    """The coarse classes of digits by class, as the encoder's file names them."""
    of_fine = DataConfig("digits").load("train").hierarchy.coarse_of_fine
    return {label: encoder.coarse_names[of_fine[label]] for label in fine}


def test_the_encoders_own_classifier_gives_coarse_answers(encoder, part, queries, tmp_path):
    """Beside the sums over the classes: the same columns, other probabilities, the same truth."""
    coarse, images = named(encoder, COARSE), list(part.images)
    sums = ancor.FewShotClassifier(encoder, classifier="Proto")
    sums = sums.fit(images, part.fine_labels, coarse)
    own = ancor.FewShotClassifier(encoder, classifier="Proto", coarse_by="encoder", back_off=1.0)
    own.fit(images, part.fine_labels, coarse)
    pixels = torch.stack(queries)
    spec = DataConfig("digits").transforms
    with torch.inference_mode():
        logits = encoder.network(normalize(pixels, spec)).logits.double()
    kept = sorted(set(coarse.values()))
    assert 1 < len(kept) < len(encoder.coarse_names) + 1
    columns = [encoder.coarse_names.index(name) for name in kept]
    expected = logits[:, columns].softmax(1).numpy()
    found, summed = own.predict_coarse_proba(queries), sums.predict_coarse_proba(queries)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(own.predict_proba(queries), sums.predict_proba(queries))
    assert np.abs(found - summed).max() > 0.01
    truth = DataConfig("digits").load("test").coarse_labels[:60]
    known = np.isin(truth, columns)
    right = [(np.take(columns, p.argmax(1)) == truth)[known].mean() for p in (found, summed)]
    assert min(right) > 0.6
    assert set(own.predict(queries)) == {kept[number] for number in found.argmax(1)}
    own.save(tmp_path / "c.ancor")
    again = ancor.FewShotClassifier.load(tmp_path / "c.ancor", device="cpu")
    np.testing.assert_array_equal(again.predict_coarse_proba(queries), found)
    features = encoder.features(queries)[3:9]
    np.testing.assert_array_equal(own.predict_coarse_proba(features), found[3:9])


def test_coarse_answers_by_the_encoder_need_its_names(encoder, part):
    images = list(part.images)
    model = ancor.FewShotClassifier(encoder, coarse_by="encoder")
    with refuses("`coarse_by`", "'round', 'straight'"):
        model.fit(images, part.fine_labels, COARSE)
    model.fit(images, part.fine_labels, named(encoder, COARSE))
    with refuses("`coarse_by`"):
        model.predict_coarse_proba(model.support_)
    with refuses("`coarse_by`", "both", "classes, encoder"):
        model.set_params(coarse_by="both").predict(images)
    nameless = ancor.load_encoder(encoder.network.backbone, dataset="digits", device="cpu")
    with refuses("`coarse_by`"):
        ancor.FewShotClassifier(nameless, coarse_by="encoder").fit(images, part.fine_labels)


def test_what_is_known_is_saved_and_added_to(encoder, part, queries, tmp_path):
    model = ancor.FewShotClassifier(encoder, classifier="Proto", back_off=0.5)
    images, labels = list(part.images), part.fine_labels
    model.fit(images[:12], labels[:12], COARSE)
    model.save(tmp_path / "c.ancor")
    again = ancor.FewShotClassifier.load(tmp_path / "c.ancor", device="cpu")
    with refuses("4", "6"):
        again.add(images[12:], labels[12:])
    again.add(images[12:], labels[12:], {4: "straight", 6: "round"})
    whole = model.fit(images, labels, COARSE)
    assert again.coarse_.tolist() == whole.coarse_.tolist()
    np.testing.assert_array_equal(again.predict(queries), whole.predict(queries))


def test_a_classifier_that_knows_no_coarse_class_cannot_back_off(encoder, part):
    nameless = ancor.load_encoder(encoder.network.backbone, dataset="digits", device="cpu")
    model = ancor.FewShotClassifier(nameless, back_off=0.5)
    with refuses("`back_off`", "0.5"):
        model.fit(list(part.images), part.fine_labels)
    model.set_params(back_off=None).fit(list(part.images), part.fine_labels)
    assert model.coarse_ is None
    with refuses("coarse", "fit"):
        model.predict_coarse_proba(list(part.images))
    votes = ancor.FewShotClassifier(encoder).fit(list(part.images), part.fine_labels)
    assert set(votes.coarse_) <= set(encoder.coarse_names)


def test_a_class_called_as_a_coarse_class_of_others_cannot_be_backed_off_to(encoder, part):
    """Its coarse answer counted as right where the class was another one of the coarse class."""
    images, labels = list(part.images), np.array(["0", "1", "4", "6"])[np.repeat(np.arange(4), 6)]
    coarse = {"0": "0", "1": "1", "4": "1", "6": "6"}  # of 0 and 6 nothing else is
    model = ancor.FewShotClassifier(encoder).fit(images, labels, coarse)
    with refuses("`back_off`", "0.5", "'1'"):
        model.set_params(back_off=0.5).predict(images)
    model.fit(images, labels, {**coarse, "1": "straight", "4": "straight"})
    assert len(model.predict(images)) == len(images)


def test_class_folders_may_lie_in_folders_of_coarse_classes(tmp_path):
    for number, name in enumerate(("pets/dog/0.png", "pets/cat/1.png", "cars/van/2.png")):
        made.write(tmp_path / name, number)
    paths, labels = inputs.class_folders(tmp_path)
    assert [path.removeprefix(f"{tmp_path}/") for path in paths] == [
        "cars/van/2.png",
        "pets/cat/1.png",
        "pets/dog/0.png",
    ]
    assert labels == ["van", "cat", "dog"]
    assert inputs.coarse_folders(tmp_path) == {"van": "cars", "cat": "pets", "dog": "pets"}
    assert inputs.coarse_folders(tmp_path / "pets") is None
    made.write(tmp_path / "lone" / "3.png", 3)
    assert inputs.coarse_folders(tmp_path) is None
    with refuses("van'", "'cars'"):
        inputs.class_folders(tmp_path)
