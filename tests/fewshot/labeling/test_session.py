"""A labeling session: what labels do, what follows for other pictures, what is asked next."""

import threading

import numpy as np
import pytest
import torch

from ancor.evaluation import discovery
from ancor.evaluation.discovery_config import DiscoveryConfig
from ancor.fewshot.labeling.labels import Labels
from ancor.fewshot.labeling.session import Session
from tests.fewshot.digits import write_digits
from tests.refusals import refuses


def number(pictures, digit: int, n: int) -> int:
    """The number of a digit's n-th picture."""
    (found,) = (i for i, path in enumerate(pictures.paths) if path.endswith(f"{digit}-{n:02}.png"))
    return found


def digits(pictures, digit: int, several) -> list[int]:
    return [number(pictures, digit, n) for n in several]


def name(session: Session, digit: int, several=()) -> int:
    """Name a class as its digit and give it pictures; return its coarse class."""
    coarse = int(session.pictures.partition.coarse_labels[number(session.pictures, digit, 0)])
    session.change(lambda labels: labels.with_class(str(digit), coarse))
    session.change(
        lambda labels: labels.labeled(digits(session.pictures, digit, several), str(digit))
    )
    return coarse


@pytest.fixture
def session(pictures, tmp_path):
    return Session(pictures, tmp_path / "out")


def test_answers_begin_with_two_classes_and_rejection_with_two_pictures(session):
    pictures = session.pictures
    assert session.answers is None
    name(session, 1, [0])
    assert session.answers is None
    assert session.listed("none") == []
    name(session, 4, [0])
    assert session.answers.names == ["1", "4"]
    assert not session.answers.rejects
    assert not session.answers.none.any()
    session.change(lambda labels: labels.labeled(digits(pictures, 1, [1]), "1"))
    assert session.answers.rejects
    assert session.answers.none.any()
    assert session.about(number(pictures, 1, 0))["label"] == "1"
    assert "answer" not in session.about(number(pictures, 1, 0))
    assert session.about(number(pictures, 1, 5))["answer"] in ("1", "4")


def test_the_saved_classifier_answers_as_the_session_does(session):
    for digit in (1, 4, 7):
        name(session, digit, range(5))
    session.check()
    saved, *_ = session.save()
    model = type(session.answers.classifier(session.labels.coarse_of())).load(saved, device="cpu")
    pictures, asked = session.pictures, session.answers.asked
    waiting = [n for n in session.labels.waiting().tolist() if asked[n]]
    files = [str(pictures.partition.images.name(n)) for n in waiting]
    told = [session.about(n) for n in waiting]
    expected = ["unknown" if each["none"] else each["answer"] for each in told]
    assert model.predict(files).tolist() == expected
    assert 0 < expected.count("unknown") < len(expected)
    sure = model.predict_proba(files).max(1)
    np.testing.assert_allclose([each["probability"] for each in told], sure, atol=1e-4)
    assert model.temperature_ != 1
    assert model.encoder.coarse_names == pictures.encoder.coarse_names
    assert len(model.encoder.coarse_names) == model.encoder.num_coarse == 3
    coarse = dict(zip(model.classes_.tolist(), model.coarse_.tolist(), strict=True))
    assert coarse == session.labels.coarse_of()


def test_the_most_doubtful_answers_come_first_and_none_of_these_last(session):
    for digit in (1, 4, 7):
        name(session, digit, range(4))
    answers, listed = session.answers, session.listed("waiting")
    assert sorted(listed) == session.labels.waiting().tolist()
    last = [n for n in session.labels.waiting().tolist() if not answers.asked[n]]
    assert 0 < len(last) < len(listed)
    assert listed[-len(last) :] == last  # of coarse classes in which nothing is named
    assert all("answer" not in session.about(n) for n in last)
    asked = listed[: -len(last)]
    none = [bool(answers.none[n]) for n in asked]
    assert none == sorted(none)
    margins = [np.diff(np.sort(answers.probabilities[n])[-2:])[0] for n in asked]
    answered = none.count(False)
    assert margins[:answered] == sorted(margins[:answered])
    similarities = answers.similarities[asked[answered:]].tolist()
    assert similarities == sorted(similarities, reverse=True)
    assert session.listed("none") == asked[answered:]
    ones = session.listed("waiting", name="1")
    assert ones == [n for n in asked[:answered] if session.about(n)["answer"] == "1"]
    coarse = session.labels.classes["1"]
    own = session.listed("waiting", coarse=coarse)
    assert own == [n for n in listed if session.pictures.partition.coarse_labels[n] == coarse]


def test_labels_by_doubt_teach_more_than_labels_by_chance(session):
    """From two labels a class, ten more: the answers to the rest, over five drawings of ten."""
    pictures = session.pictures
    truth = {n: path.split("/")[1][0] for n, path in enumerate(pictures.paths)}
    chosen = [n for n in truth if truth[n] in "147"]
    for digit in (1, 4, 7):
        name(session, digit, range(2))

    def right(labels: Labels) -> float:
        session.change(lambda _: labels)
        best = session.answers.best
        rest = [n for n in chosen if n not in labels.given]
        return float(np.mean([session.answers.names[best[n]] == truth[n] for n in rest]))

    start = session.labels
    asked = start
    for _ in range(10):
        session.change(lambda _, labels=asked: labels)
        first = next(n for n in session.listed("waiting") if truth[n] in "147")
        asked = asked.labeled([first], truth[first])
    by_chance = []
    for seed in range(5):
        free = [n for n in chosen if n not in start.given]
        drawn = np.random.default_rng(seed).permutation(free)[:10].tolist()
        labels = start
        for n in drawn:
            labels = labels.labeled([n], truth[n])
        by_chance.append(right(labels))
    assert right(asked) >= np.mean(by_chance)


def test_labels_are_judged_by_each_other_and_by_the_folders_own_classes(tmp_path, read):
    write_digits(tmp_path / "fine", fine=True)
    pictures = read(tmp_path / "fine")
    session = Session(pictures, tmp_path / "out")
    fine = pictures.partition.fine_labels
    names = pictures.partition.hierarchy.fine_names
    for digit in ("1", "4", "odd"):
        one = int(np.flatnonzero(fine == names.index("7" if digit == "odd" else digit))[0])
        coarse = int(pictures.partition.coarse_labels[one])
        session.change(lambda labels, d=digit, c=coarse: labels.with_class(d, c))
        session.change(lambda ls, d=digit, o=one: ls.labeled([o, o + 1, o + 2], d))
    right, judged = session.answers.known_right()
    truth = [
        (n, names[fine[n]])
        for n in session.labels.waiting().tolist()
        if names[fine[n]] in ("1", "4")  # nothing in the folder is called "odd"
    ]
    answered = [session.about(n) for n, _ in truth]
    assert judged == len(truth)
    assert right == sum(
        each["answer"] == of and not each["none"]
        for each, (_, of) in zip(answered, truth, strict=True)
    )
    assert session.checked is None
    session.check()
    assert session.checked.judged == 9
    assert 0 <= session.checked.right <= 9


def test_the_summary_counts_what_the_lists_hold(session):
    pictures = session.pictures
    empty = session.summary()
    assert (empty["classes"], empty["answering"], empty["undo"]) == ([], False, False)
    for digit in (1, 4, 0):
        name(session, digit, range(3))
    session.change(lambda labels: labels.without(digits(pictures, 9, [0, 1])))
    told = session.summary()
    assert told["version"] > empty["version"]
    for field in ("waiting", "labeled", "dropped"):
        assert told[field] == len(session.listed(field))
    assert told["total"] == 120 == sum(told[f] for f in ("waiting", "labeled", "dropped"))
    for each in told["classes"]:
        assert each["labeled"] == len(session.listed("labeled", name=each["name"])) == 3
        assert each["answered"] == len(session.listed("waiting", name=each["name"]))
    for each in told["coarse"]:
        assert pictures.coarse_names[each["number"]] == each["name"]
        assert each["labeled"] == len(session.listed("labeled", coarse=each["number"]))
    assert sum(each["size"] for each in told["coarse"]) == 120


def test_a_check_of_labels_that_have_changed_meanwhile_counts_for_nothing(session, monkeypatch):
    for digit in (1, 4):
        name(session, digit, range(5))
    answers, begun, go_on = session.answers, threading.Event(), threading.Event()
    real = type(answers).check

    def slow(self):
        begun.set()
        go_on.wait(20)
        return real(self)

    monkeypatch.setattr(type(answers), "check", slow)
    thread = threading.Thread(target=session.check)
    thread.start()
    begun.wait(20)
    name(session, 7, range(2))  # which nobody waits for
    go_on.set()
    thread.join()
    assert session.checked is None
    assert session.answers.names == ["1", "4", "7"]


def test_a_change_can_be_taken_back_to_the_first(session):
    start = session.labels
    name(session, 1, [0, 1])
    session.change(lambda labels: labels.without(digits(session.pictures, 1, [1])))
    assert session.listed("dropped") == digits(session.pictures, 1, [1])
    assert session.listed("labeled") == digits(session.pictures, 1, [0])
    session.change(lambda labels: labels)  # nothing to take back
    session.undo()
    assert session.listed("labeled", name="1") == digits(session.pictures, 1, [0, 1])
    while session.summary()["undo"]:
        session.undo()
    assert session.labels == start
    with refuses("change"):
        session.undo()


def test_proposals_are_those_of_discover(session):
    pictures, config = session.pictures, DiscoveryConfig()
    coarse = int(pictures.partition.coarse_labels[0])
    images = np.flatnonzero(pictures.partition.coarse_labels == coarse)
    vectors = pictures.features.vectors[torch.from_numpy(images)]
    title = pictures.coarse_names[coarse]
    found = session.proposals(coarse, 3)
    expected = discovery.divide(coarse, title, images, vectors, 3, config)
    assert [each.images.tolist() for each in found] == [each.images.tolist() for each in expected]
    assert session.proposals(coarse, 3) is found
    with refuses("11", "10"):
        session.proposals(coarse, 11)
    with refuses("99"):
        session.proposals(99)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda labels: labels.with_class("1", 0), ["1"]),
        (lambda labels: labels.with_class("  ", 0), ["0", "100"]),
        (lambda labels: labels.with_class("a" * 101, 0), ["101", "100"]),
        (lambda labels: labels.with_class("a\nb", 0), [r"'a\nb'"]),
        (lambda labels: labels.with_class("unknown", 0), ["unknown"]),
        (lambda labels: labels.with_class("new", 9), ["9"]),
        (lambda labels: labels.renamed("1", "4"), ["4"]),
        (lambda labels: labels.renamed("2", "5"), ["2"]),
        (lambda labels: labels.without_class("2"), ["2"]),
        (lambda labels: labels.labeled([0], "2"), ["2"]),
        (lambda labels: labels.labeled([-1], "1"), ["-1", "119"]),
        (lambda labels: labels.labeled([True], "1"), ["True"]),
        (lambda labels: labels.without([120]), ["120", "119"]),
        (lambda labels: labels.cleared(["0"]), ["'0'"]),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_changes_nothing(session, change, words):
    name(session, 1, [0])
    name(session, 4, [0])
    before = session.labels
    with refuses(*words):
        session.change(change)
    assert session.labels is before


def test_a_picture_of_another_coarse_class_is_refused(session):
    name(session, 1, [0])
    other = number(session.pictures, 0, 0)
    with refuses("1", session.pictures.coarse_name(other)):
        session.change(lambda labels: labels.labeled([other], "1"))


def test_a_class_that_is_renamed_or_removed_takes_its_pictures_along(session):
    name(session, 1, [0, 1])
    session.change(lambda labels: labels.renamed("1", " one "))
    assert set(session.labels.given.values()) == {"one"}
    session.change(lambda labels: labels.renamed("one", "one"))
    session.change(lambda labels: labels.without_class("one"))
    assert session.labels.given == session.labels.classes == {}
    with refuses("view", "waiting"):
        session.listed("all")
