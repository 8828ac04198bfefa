"""The figures of training steps: top-1 balanced over classes of unequal size."""

import json
import shlex
from itertools import chain

import pytest
import torch

from ancor.cli import train
from ancor.methods.losses import classification_loss
from ancor.training import metrics
from ancor.training.metrics import Meter, shown
from tests.data.test_division import QUICK, folder
from tests.refusals import tells

CLASSES = 4  # of which the last has no image


def steps(count: int, parts: int = 1):
    """Logits and labels of some steps, in parts; class 0 is most of them."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        labels = (torch.rand(12, generator=generator) ** 3 * 3).long()
        logits = torch.randn(12, CLASSES, generator=generator)
        logits[:, 0] += 1
        yield list(zip(logits.chunk(parts), labels.chunk(parts), strict=True))


def add(meter: Meter, parts, good: bool = True) -> None:
    losses = [{"cls": classification_loss(*part)} for part in parts]
    weights = [1 / len(parts)] * len(parts)
    meter.add(losses, weights, torch.tensor(good), [labels for _, labels in parts])


def balanced(batches) -> float:
    """Return the mean of the accuracies of the classes that there are, one by one."""
    logits, labels = (torch.cat(each) for each in zip(*chain(*batches), strict=True))
    right = logits.argmax(1) == labels
    own = [right[labels == label].float().mean() for label in labels.unique()]
    return 100 * float(sum(own) / len(own))


@pytest.mark.parametrize("parts", [1, 3])
def test_balanced_top1_is_the_mean_over_the_classes_seen(parts):
    meter, seen = Meter(classes=CLASSES), list(steps(5, parts))
    for number, batch in enumerate(seen):
        add(meter, batch, good=number != 2)
    figures, _ = meter.read()
    right = balanced(seen[:2] + seen[3:])  # an undone step counts nothing
    assert figures["balanced/cls"] == pytest.approx(right)
    assert abs(figures["top1/cls"] - right) > 1
    assert f"balanced {right:.1f}" in shown(figures)


def test_it_is_not_told_of_classes_of_one_size():
    meter = Meter()
    for batch in steps(2):
        add(meter, batch)
    figures, _ = meter.read()
    assert "balanced/cls" not in figures
    assert "balanced" not in shown(figures)


def test_a_meter_goes_on_with_what_was_counted():
    first, seen = Meter(classes=CLASSES), list(steps(6))
    for batch in seen[:4]:
        add(first, batch)
    again = Meter(first.state(), CLASSES)
    rest = first.rest(2)
    for batch in seen[4:]:
        add(again, batch)
        add(rest, batch)
    assert again.read()[0]["balanced/cls"] == pytest.approx(balanced(seen))
    assert rest.read()[0]["balanced/cls"] == pytest.approx(balanced(seen[2:]))


def test_a_file_from_before_tells_no_counts():
    first, seen = Meter(classes=CLASSES), list(steps(3))
    add(first, seen[0])
    state = first.state()
    del state["right"]
    meter = Meter(state, CLASSES)
    for batch in seen[1:]:
        add(meter, batch)
    assert len(meter) == 3
    assert meter.read()[0]["balanced/cls"] == pytest.approx(balanced(seen[1:]))


def test_the_images_of_all_processes_count(monkeypatch):
    """A mean of the processes' own balanced accuracies would be another one."""
    seen = list(steps(2))
    ours, theirs = (Meter(classes=CLASSES) for _ in range(2))
    add(ours, seen[0])
    add(theirs, seen[1])
    others = iter(theirs.state()[name][0] for name in ("steps", "right"))

    def average(figures):
        return (figures + next(others).reshape(figures.shape)) / 2

    monkeypatch.setattr(metrics, "average", average)
    assert ours.read()[0]["balanced/cls"] == pytest.approx(balanced(seen))


def test_a_training_tells_it_where_classes_are_unequal(tmp_path, capsys):
    flags = QUICK.replace("--quiet", "") + " --val-episodes 0"
    for name, sizes in {"unequal": {"a": 30, "b": 4}, "equal": {"a": 9, "b": 9}}.items():
        run = tmp_path / name
        words = f"--data {folder(tmp_path / f'{name}-images', sizes)} {flags} --output-dir {run}"
        assert train.main(shlex.split(words)) == 0
        said = capsys.readouterr().out
        assert tells(said, "top-1", "balanced") == (name == "unequal")
        records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        found = [r.get("balanced/cls") for r in records if r["kind"] == "step"]
        assert [value is not None for value in found] == [name == "unequal"] * len(found)
