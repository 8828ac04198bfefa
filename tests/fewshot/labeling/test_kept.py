"""The folder of a labeling session: it goes on from there, and what is saved is of use."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

import ancor
from ancor.data.config import DataConfig
from ancor.fewshot.labeling import kept
from ancor.fewshot.labeling.session import Session
from tests.refusals import refuses, tells


@pytest.fixture
def session(pictures, tmp_path):
    """Two classes of one coarse class, three pictures each, and one that is dropped."""
    session = Session(pictures, tmp_path / "out")
    coarse = int(pictures.partition.coarse_labels[0])
    own = np.flatnonzero(pictures.partition.coarse_labels == coarse).tolist()
    for place, name in enumerate(('a, "b"', "é")):
        session.change(lambda labels, n=name: labels.with_class(n, coarse))
        some = own[12 * place : 12 * place + 3]
        session.change(lambda labels, n=name, s=some: labels.labeled(s, n))
    session.change(lambda labels: labels.without([own[-1]]))
    return session


def test_a_session_goes_on_where_it_was(session, read, photos, tmp_path, caplog):
    again = Session(read(photos), tmp_path / "out")
    for field in ("classes", "given", "dropped"):
        assert getattr(again.labels, field) == getattr(session.labels, field)
    assert list(again.labels.classes) == list(session.labels.classes)
    assert again.answers.names == session.answers.names
    assert not again.summary()["undo"]


def test_pictures_that_are_gone_are_told(session, read, photos, tmp_path, caplog):
    number = min(session.labels.given)
    (photos / session.pictures.paths[number]).unlink()
    again = Session(read(photos), tmp_path / "out")
    assert len(again.labels.given) == 5
    assert tells(caplog.text, "1", "pictures")


def test_labels_of_other_pictures_are_refused_and_stay(session, read, photos, tmp_path):
    """The first change would have replaced them all."""
    path = tmp_path / "out" / kept.SESSION
    before = path.read_text()
    for folder in list(photos.iterdir()):
        folder.rename(photos / f"new {folder.name}")
    with refuses(repr(str(path)), "7", "--output", "--partition"):
        Session(read(photos), tmp_path / "out")
    assert path.read_text() == before


EMPTY = {"kind": kept.KIND, "version": kept.VERSION, "classes": {}, "labels": {}, "dropped": []}


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}"),
        *(
            json.dumps(EMPTY | wrong)
            for wrong in ({"kind": "x"}, {"version": 9}, {"classes": []}, {"dropped": 3})
        ),
    ],
)
def test_a_session_that_cannot_be_read_is_refused_and_stays(content, pictures, tmp_path):
    path = tmp_path / kept.SESSION
    path.write_text(content)
    with refuses(repr(str(path)), "--output"):
        Session(pictures, tmp_path)
    assert path.read_text() == content


def test_a_change_that_cannot_be_kept_is_none(session, monkeypatch):
    before = session.labels

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "write_result", full)
    with pytest.raises(OSError, match="space"):
        session.change(lambda labels: labels.without_class("é"))
    with pytest.raises(OSError, match="space"):
        session.undo()
    assert session.labels is before
    assert "é" in session.answers.names


@pytest.mark.parametrize("partition", ["train", "test"])
def test_the_table_is_what_training_and_the_classifier_take(partition, session):
    own = replace(session.pictures.partition, name=partition)
    pictures = replace(session.pictures, partition=own)
    session.labels = replace(session.labels, pictures=pictures)
    _, table, answers = session.save()
    root = session.pictures.root
    partition = DataConfig("folder", root=root, labels=str(table)).load("train")
    given = sorted(session.labels.given.items())
    assert [partition.hierarchy.fine_names[n] for n in partition.fine_labels] == [
        n for _, n in given
    ]
    files = [partition.images.name(n) for n in range(len(partition))]
    assert files == [f"{root}/{session.pictures.paths[n]}" for n, _ in given]
    model = ancor.FewShotClassifier(session.pictures.encoder).fit(files, [n for _, n in given])
    assert model.classes_.tolist() == sorted(session.labels.classes)
    with open(answers, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    waiting = [n for n in session.listed("waiting") if session.answers.asked[n]]
    assert [row["path"] for row in rows] == [session.pictures.paths[n] for n in waiting]
    told = [session.about(n) for n in waiting]
    assert [row["class"] for row in rows] == [each["answer"] for each in told]
    assert [row["none"] == "1" for row in rows] == [each["none"] for each in told]


def test_what_is_saved_at_once_has_the_probabilities_of_the_classifier(
    session, read, photos, tmp_path
):
    """Before the page has judged the labels, as right after a start, it had others."""
    coarse = session.labels.classes["é"]
    own = np.flatnonzero(session.pictures.partition.coarse_labels == coarse).tolist()
    for place, name in enumerate(session.labels.classes):
        some = own[12 * place : 12 * place + 6]
        session.change(lambda labels, n=name, s=some: labels.labeled(s, n))
    again = Session(read(photos), tmp_path / "out")
    saved, _, answers = again.save()
    model = ancor.FewShotClassifier.load(saved, device="cpu")
    assert model.temperature_ != 1
    with open(answers, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    sure = model.predict_proba([photos / row["path"] for row in rows]).max(1)
    np.testing.assert_allclose([float(row["probability"]) for row in rows], sure, atol=1e-4)
    answered = [s for s, row in zip(sure, rows, strict=True) if row["none"] == "0"]
    assert np.all(np.diff(answered) > -1e-4)  # of two classes the least sure comes first


def test_an_exported_classifier_answers_alike(session):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = session.export("onnx")
    graph = onnxruntime.InferenceSession(path)
    size = session.pictures.encoder.transforms.size
    found = graph.run(None, {graph.get_inputs()[0].name: np.zeros((1, size, size, 3), np.uint8)})
    assert found[0].shape == (1, 2)
    about = graph.get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == sorted(session.labels.classes)
    with refuses("onnx", "pt2", "zip"):
        session.export("zip")


def test_nothing_is_saved_before_there_are_answers(pictures, tmp_path):
    with refuses("two"):
        Session(pictures, tmp_path / "new").save()
