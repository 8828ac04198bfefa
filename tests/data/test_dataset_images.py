"""`Partition.from_dataset`: a torch dataset trains and evaluates as its images do elsewhere."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

import ancor
from ancor.cli import eval as evaluate
from ancor.data import scan
from ancor.data.config import DataConfig
from ancor.data.datasets import digits
from ancor.data.file_config import PackConfig
from ancor.data.hierarchy import Hierarchy
from ancor.data.pack import pack
from ancor.data.partition import Partition
from ancor.data.registry import DATASETS
from ancor.errors import MissingPartition
from ancor.runtime.devices import Runtime
from ancor.training.resolve import resolve
from ancor.training.run import Launch, train
from tests.made import write
from tests.refusals import refuses

PAIRS = Hierarchy.from_names({"pug": "dog", "lab": "dog", "oak": "tree", "elm": "tree"})


class Items(Dataset):
    """Gives items of a list, and counts which were asked for; an exception is raised."""

    def __init__(self, items: list) -> None:
        self.items, self.asked = items, []

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        self.asked.append(index)
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


def gray(value: int, shape: tuple[int, ...] = (3, 8, 8)) -> torch.Tensor:
    return torch.full(shape, value, dtype=torch.uint8)


def of_tensors(images: list, labels: list) -> Dataset:
    return TensorDataset(torch.stack(images), torch.tensor(labels))


def of_floats(images: list, labels: list) -> Dataset:
    return Items([(image / 255, label) for image, label in zip(images, labels, strict=True)])


def of_pictures(images: list, labels: list) -> Dataset:
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    return Items(list(zip(pictures, labels, strict=True)))


def of_images_alone(images: list, labels: list) -> Dataset:
    return Items([image[0] for image in images])  # (H, W)


FORMS = {
    "tensors": (of_tensors, 2, False),
    "floats": (of_floats, 0, False),
    "pictures": (of_pictures, 2, False),
    "images alone": (of_images_alone, 0, True),
}


def outcome(monkeypatch, folder, load, workers: int) -> tuple[dict, dict]:
    """Train two epochs on a partition's first images, evaluate; return weights and the report."""
    spec = replace(DATASETS["digits"], reader=load)
    monkeypatch.setitem(DATASETS, "own", spec)
    given = {"dataset": "own", "mode": "coarse", "epochs": 2, "workers": workers}
    config, _ = resolve(given | {"batch_size": 64, "queue_length": 32, "val_episodes": 4})
    train(config, Launch(folder, Runtime.named("cpu")))
    report = folder / "report.json"
    command = f"--model_path {folder}/model_best.pth.tar --partition test --n_test_runs 5"
    command += f" --num-workers {workers} --json {report} --cls Cosine"
    assert evaluate.main(command.split()) == 0
    state = torch.load(folder / "last.pth.tar", weights_only=True)["state_dict"]
    return state, _accuracies(json.loads(report.read_text()))


def _accuracies(report) -> list:
    """List every accuracy of a report, wherever it stands."""
    if isinstance(report, dict):
        own = [value for name, value in report.items() if name == "accuracy"]
        return own + [one for value in report.values() for one in _accuracies(value)]
    return [one for value in report for one in _accuracies(value)] if type(report) is list else []


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What the digits' own array partition gives."""
    with pytest.MonkeyPatch.context() as patch:
        yield outcome(patch, tmp_path_factory.mktemp("array"), few, 0)


def few(partition: str) -> Partition:
    whole = digits.load(partition)
    return whole.subset(np.arange(200))


@pytest.mark.parametrize("form", FORMS)
def test_training_and_evaluation_are_those_of_the_same_images_in_an_array(
    form, expected, tmp_path, monkeypatch
):
    make, workers, told = FORMS[form]

    def load(partition: str) -> Partition:
        known = few(partition)
        images = [known.images[i].contiguous() for i in range(len(known))]
        labels = known.fine_labels.tolist()
        source = make(images, labels)
        fine = labels if told else None
        return Partition.from_dataset(source, fine, known.hierarchy, dataset="own", name=partition)

    state, report = outcome(monkeypatch, tmp_path / "run", load, workers)
    assert state.keys() == expected[0].keys()
    assert all(torch.equal(tensor, expected[0][name]) for name, tensor in state.items())
    assert report == expected[1]
    assert len(report) >= 2


def test_the_python_door_takes_one():
    """`ancor.train` and `ancor.evaluate` of a dataset give what they give of its array."""

    def both(make) -> list:
        train_on, test_on = make("train"), make("test")
        settings = {"arch": "conv4", "image_size": 32, "epochs": 1, "batch_size": 64}
        encoder = ancor.train(train_on, workers=0, queue_length=32, **settings)
        found = ancor.evaluate(encoder, test_on, n_test_runs=5)
        return [(one.mode, one.accuracy) for one in found]

    def made(partition: str) -> Partition:
        known = few(partition)
        images = [known.images[i].contiguous() for i in range(len(known))]
        source = of_pictures(images, known.fine_labels.tolist())
        return Partition.from_dataset(source, None, known.hierarchy, name=partition)

    assert both(made) == both(lambda partition: replace(few(partition), dataset="own"))


def test_image_files_are_read_as_a_folder_reads_them(tmp_path):
    """The same pixels as `folder` gives: upright by EXIF, RGB, whatever the size."""
    from ancor.data.config import DataConfig

    for number, fine in enumerate(["dog/pug", "tree/oak"]):
        path = write(tmp_path / "test" / fine / "1.png", number, (12, 10 + number))
        turned = Image.open(path).convert("L")
        exif = Image.Exif()
        exif[0x0112] = 6
        turned.save(path, exif=exif)
    folder = DataConfig("folder", root=str(tmp_path)).load("test")
    names = [folder.images.name(i) for i in range(2)]

    class Files(Items):
        def __getitem__(self, index):
            return Image.open(self.items[index])

    own = Partition.from_dataset(Files(names), ["pug", "oak"], PAIRS)
    for index in range(2):
        ours, theirs = np.asarray(own.images[index]), np.asarray(folder.images[index])
        assert np.array_equal(ours, theirs)
    assert own.fine_labels.tolist() == [0, 2]
    assert own.coarse_labels.tolist() == [0, 1]


def test_images_are_read_when_they_are_asked_for():
    items = Items([(gray(n), n % 4) for n in range(100)])
    own = Partition.from_dataset(items, [n % 4 for n in range(100)], PAIRS, content_id="v1")
    own.fingerprint("fine")
    assert set(items.asked) == {0, 50, 99}  # looked at when it was made
    items.asked.clear()
    own.images[7]
    own.subset(np.array([3, 8])).images[1]
    assert items.asked == [7, 8]


def test_a_fingerprint_changes_with_any_image_or_label():
    def made(values, labels=(0, 1, 2, 3, 0), **more):
        items = Items([(gray(v), 0) for v in values])
        return Partition.from_dataset(items, labels, PAIRS, **more).fingerprint("fine")

    base = made([1, 2, 3, 4, 5])
    assert base == made([1, 2, 3, 4, 5])
    assert base != made([1, 2, 3, 9, 5])
    assert base != made([1, 2, 3, 4, 5], (0, 1, 2, 3, 1))
    assert made([1, 2, 3, 4, 5], content_id="a") != made([1, 2, 3, 4, 5], content_id="b")
    items = Items([gray(v) for v in range(4)])
    first, second = (
        Partition.from_dataset(Subset(items, chosen), [0, 1], PAIRS) for chosen in ([0, 1], [0, 2])
    )
    assert first.fingerprint("fine") != second.fingerprint("fine")


def test_coarse_labels_are_enough():
    own = Partition.from_dataset(
        Items([(gray(1), "b"), (gray(2), "a")]), None, Hierarchy(("a", "b"))
    )
    assert own.coarse_labels.tolist() == [1, 0]
    assert own.fine_labels is None
    with refuses("'train'", "'own'", "--mode coarse"):
        own.labels("fine")


BAD_ITEMS = {
    "broken file": (OSError("truncated"), "truncated"),
    "lost file": (FileNotFoundError(2, "No such file"), "No such file"),
    "key": (KeyError("image"), "'image'"),
    "text": ("a.png", "str"),
    "array": (np.zeros((8, 8, 3), np.uint8), "ndarray"),
    "record": ({"image": gray(1)}, "dict"),
    "ints": (torch.ones(3, 8, 8, dtype=torch.int64), "int64"),
    "channels last": (gray(1, (8, 8, 3)), "(8, 8, 3)"),
    "four channels": (gray(1, (4, 8, 8)), "(4, 8, 8)"),
    "a batch": (gray(1, (1, 3, 8, 8)), "(1, 3, 8, 8)"),
    "bytes as floats": (255 * torch.ones(3, 8, 8), "255"),
    "normalized": (torch.randn(3, 8, 8), "0 to 1"),
    "nan": (torch.full((3, 8, 8), torch.nan), "nan"),
    "no pixel": (gray(1, (3, 0, 8)), "8 x 0"),
    "long": (gray(1, (3, 1, 800)), "800 x 1"),
    "another shape": (gray(1, (3, 8, 9)), "9 x 8"),
    "another shape, picture": (Image.new("RGB", (9, 8)), "9 x 8"),
}


@pytest.mark.parametrize("kind", BAD_ITEMS)
@pytest.mark.parametrize("labeled", [False, True])
def test_an_item_that_is_no_image_is_named(kind, labeled):
    item, word = BAD_ITEMS[kind]
    bad = (item, 0) if labeled and not isinstance(item, Exception) else item
    items = Items([gray(n) for n in range(5)] + [bad])
    own = Partition.from_dataset(items, [0] * 6, PAIRS, dataset="mine", name="test", side=8)
    own.images[4]
    with refuses(word, "item 5", "'test'", "'mine'"):
        own.images[5]


class Stream(IterableDataset):
    def __iter__(self):
        return iter([gray(1)])


class Flips(Items):
    def __getitem__(self, index):
        return self.items[index] + torch.randint(0, 200, (1,), dtype=torch.uint8)


TWO = [gray(1), gray(2)]
REFUSED = {
    "too few labels": (Items(TWO), [0], ["1 labels", "2 items"]),
    "too many labels": (Items(TWO), [0, 1, 2], ["3 labels", "2 items"]),
    "outside": (Items(TWO), [0, 4], ["label 4", "item 1", "0 to 3"]),
    "below": (Items(TWO), [-1, 0], ["label -1", "item 0"]),
    "floats": (Items(TWO), [0.0, 1.0], ["float64"]),
    "one-hot": (Items(TWO), np.eye(2, dtype=int), ["(2, 2)"]),
    "unknown name": (Items(TWO), ["pug", "pgu"], ["'pgu'", "pug"]),
    "no labels": (Items(TWO), None, ["item 0", "Tensor", "`fine`"]),
    "no second label": (Items([(TWO[0], 0), (TWO[1],)]), None, ["item 1", "tuple"]),
    "no items": (Items([]), [], ["no items"]),
    "stream": (Stream(), [0], ["Stream"]),
    "random": (Flips(TWO), [0, 1], ["item 0", "random"]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_dataset_that_will_not_do_is_refused(kind):
    source, fine, words = REFUSED[kind]
    with refuses("'mine'", *words):
        Partition.from_dataset(source, fine, PAIRS, dataset="mine")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_item_ends_a_run_in_one_line_or_is_left_out(workers, tmp_path, monkeypatch):
    """Also where a loading process meets it."""

    def load(partition: str) -> Partition:
        if partition != "train":
            raise MissingPartition("there is only train")
        items = Items([(gray(n % 200, (32, 32)), n % 4) for n in range(12)])
        items.items[7] = OSError("cut off")
        return Partition.from_dataset(
            items, [n % 4 for n in range(12)], PAIRS, dataset="own", content_id="1"
        )

    monkeypatch.setitem(DATASETS, "own", replace(DATASETS["digits"], reader=load))
    given = {"dataset": "own", "mode": "fine", "epochs": 1, "workers": workers, "batch_size": 4}
    given |= {"queue_length": 4}
    launch = Launch(tmp_path / "run", Runtime.named("cpu"))
    with refuses("item 7", "'train'", "'own'", "cut off"):
        train(resolve(given)[0], launch)
    skipping = resolve(given | {"skip_bad_images": True})[0]
    train(skipping, replace(launch, folder=tmp_path / "again"))


def test_the_side_that_transforms_presume_is_checked(monkeypatch):
    """An image of another size would be stacked with others, or be shown at a wrong scale."""

    def load(partition: str) -> Partition:
        return Partition.from_dataset(Items([gray(1, (32, 30))]), [0], PAIRS, dataset="own")

    monkeypatch.setitem(DATASETS, "own", replace(DATASETS["digits"], reader=load))
    with refuses("item 0", "'own'", "30 x 32", "32 x 32", "`native_size`"):
        DataConfig("own").load("test").images[0]


class Archive(Dataset):
    """Images behind one another, read at a place that all who read share."""

    def __init__(self, count: int) -> None:
        self.place, self.count = 0, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        self.place = index
        time.sleep(1e-4)  # where another thread may go on
        return gray(self.place, (3, 32, 32))


def test_threads_ask_one_after_the_other(tmp_path, monkeypatch):
    """`check-data`, packing and shares read in threads: each got another's image."""
    monkeypatch.setattr(scan, "CHUNK", 2)
    images = Partition.from_dataset(Archive(60), [n % 4 for n in range(60)], PAIRS).images
    digests = [finding.digest for finding in scan.findings(images, threads=4)]
    assert len(set(digests)) == 60
    assert digests == [scan.inspect(images, n).digest for n in range(60)]

    def load(partition: str) -> Partition:
        if partition != "train":
            raise MissingPartition("there is only train")
        return Partition.from_dataset(Archive(60), [n % 4 for n in range(60)], PAIRS, dataset="own")

    monkeypatch.setitem(DATASETS, "own", replace(DATASETS["digits"], reader=load))
    file = pack(DataConfig("own"), PackConfig(), str(tmp_path / "x.pack"))
    stored = [int(file.stored(n)[0]) for n in range(60)]
    assert stored == list(range(60))
