"""What the draws of this folder found, each by name: once a traceback, now one line."""

import errno
import gzip
import os
import pickle
import re
import warnings
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from ancor.checkpoints import checkpoint
from ancor.cli.check_data import main as check_data
from ancor.cli.train import main as train
from ancor.cli.tsne import main as tsne
from ancor.data.config import DataConfig
from ancor.data.decode import decode
from ancor.data.hierarchy import Hierarchy
from ancor.data.partition import Partition
from ancor.errors import MissingPartition
from ancor.methods.config import AncorConfig
from ancor.models.config import EncoderConfig
from ancor.safe_io import pickles, weights
from tests.conftest import QUICK as BASE
from tests.made import aircraft, tiered, write
from tests.refusals import one_line, refused, refuses
from tests.robustness import malicious_files as crafted
from tests.robustness import odd_files
from tests.robustness.fixtures import QUICK
from tests.robustness.harness import commands, keep

TRAIN = ["train", "--dataset", "digits", *QUICK, "--output-dir", "out"]
EVAL = ["eval", "--model-path", "MODEL", "--n-test-runs", "2", "--n-queries", "2"]
# Command lines, each with words of the line that ends it.
LINES = [
    ([*TRAIN, "--image-size", "1000000000"], ["--image-size 1000000000", "16 to 4096"]),
    ([*TRAIN, "--image-size", "8"], ["--image-size 8", "16 to 4096"]),
    ([*TRAIN, "--cst-dim", "1000000000000"], ["--cst-dim 1000000000000", "1 to 1000000"]),
    ([*TRAIN, "-j", "1000000"], ["--workers 1000000", "0 to"]),
    ([*TRAIN, "--multiprocessing-distributed", "--nproc", "1000000"], ["--nproc 1000000"]),
    ([*TRAIN, "--multiprocessing-distributed", "--nproc", "0"], ["--nproc 0"]),
    ([*EVAL, "-j", "1000000"], ["--num-workers 1000000", "0 to"]),
    ([*EVAL, "--n-test-runs", "10000000000"], ["10000000000", "1000000"]),
    ([*EVAL, "--n-aug-support-samples", "1000000000"], ["--n-augmentations 1000000000"]),
    ([*EVAL, "--support-views", "1000000000"], ["--support-views 1000000000"]),
    ([*EVAL, "--std", "1e-46", "1e-46", "1e-46"], ["features", "finite"]),
    (["tsne", *EVAL[1:3], "--std", "1e-300", "1", "1", "--output-dir", "out"], ["finite"]),
    ([*EVAL, "--csv="], ["--csv: ''"]),
    ([*TRAIN, "--data", ""], ["--data/--data-root: ''"]),
    (["predict", *EVAL[1:3], "--support", "", "--query", "x"], ["--support: ''"]),
    ([*EVAL, "--csv=--"], ["--csv '--'"]),
    ([*EVAL, "--model-path", "a" * 300], ["a" * 300 + "'"]),
    ([*TRAIN, "--output-dir", "a" * 300], [os.strerror(errno.ENAMETOOLONG), re.compile("'a{250}")]),
    ([*EVAL, "a\nb"], [r" a\nb"]),
    ([*EVAL, "--data-root", "a\nb\u2028c", "--dataset", "folder"], [r"a\nb\u2028c'"]),
    (["export", "--model-path", "", "--to", "onnx"], ["--model-path: ''"]),
    (["inspect", "\udcff\x1b[31m"], [r"\udcff\x1b[31m'"]),
]


@pytest.mark.parametrize(
    ("line", "words"), LINES, ids=[f"{line[0]} {words[0]:.40}" for line, words in LINES]
)
def test_command_line(line, words, new_room, shelf):
    name, *rest = line
    model = str(shelf / "models/digits/model_best.pth.tar")
    with new_room() as room:
        argv = [model if word == "MODEL" else word for word in rest]
        ended = keep(commands()[name].main, argv, room, ["out", "a" * 300])
    assert ended.status in (1, 2)
    one_line(ended.err, *words)


@pytest.mark.parametrize("seed", ["-1", str(10**12)])
def test_any_seed_draws_a_picture(seed, new_room, shelf):
    model = str(shelf / "models/digits/model_best.pth.tar")
    line = ["--model-path", model, "--n-queries", "2", "--seed", seed, "--output-dir", "out"]
    with new_room() as room:
        assert keep(commands()["tsne"].main, line, room, ["out"]).status == 0


def test_page_escapes_names_of_runs_and_classes(tmp_path):
    pytest.importorskip("bokeh")
    script = "<script>alert(1)<"
    data, run = tmp_path / "data", tmp_path / script
    for part in ("train", "val"):
        for number in range(12):
            name = f"{script} {number % 2}"
            fine = name if part == "val" else ""
            write(data / part / name / fine / f"{number}.png", number)
    flags = ["--dataset", "folder", "--data", str(data), "--image-size", "16"]
    assert train([*QUICK, *flags, "--quiet", "--output-dir", str(run)]) == 0
    model = str(run / "model_best.pth.tar")
    line = ["--model-path", model, "--n-queries", "2", "--html", "--output-dir", str(tmp_path)]
    assert tsne(line) == 0
    (page,) = tmp_path.glob("*.html")
    text = page.read_text(encoding="utf-8")
    assert "alert(1)" in text
    assert script not in text


def test_a_class_of_bytes_that_are_no_text_is_told(new_room, shelf):
    with new_room() as room:
        folder = room.root / "data" / "train" / "\udcff"
        folder.mkdir(parents=True)
        (folder / "1.txt").write_bytes(b"")
        ended = keep(check_data, ["--data", str(room.root / "data")], room, [])
    assert ended.status == 1
    assert r"\udcff" in ended.out


@pytest.mark.parametrize("name", ["large header", "huge header", "bomb", "TIFF bomb"])
def test_more_pixels_than_pillow_thinks_sound_are_an_error(name):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with refuses("'x.png'", "pixels", re.compile("89478485|178956970")):
            decode(odd_files.images()[name], "x.png")
    assert not warned


def test_the_limit_of_pixels_is_pillows(monkeypatch):
    content = odd_files.encoded(1, (20, 20))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 399)
    with refuses("'x.png'", "20 x 20", "399"):
        decode(content, "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    assert decode(content, "x.png").size == (20, 20)


@pytest.mark.parametrize("name", ["wraps to nothing", "huge", "gzip, cut", "text"])
def test_idx_file(name, tmp_path):
    content = odd_files.idx_files()[name]
    packed = ".gz" if content[:2] == b"\x1f\x8b" else ""
    (tmp_path / f"train-images-idx3-ubyte{packed}").write_bytes(content)
    with refuses(f"train-images-idx3-ubyte{packed}'"):
        DataConfig("fashion-mnist", str(tmp_path)).load("train")


def test_idx_archive_is_read_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("ancor.data.datasets.fashion_mnist.LARGEST", 1000)
    content = odd_files.idx(8, (2000, 1, 1), bytes(2000))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    with refuses("train-images-idx3-ubyte.gz'", "IDX"):
        DataConfig("fashion-mnist", str(tmp_path)).load("train")


def test_partition_without_an_image_is_missing(tmp_path):
    files = odd_files.idx_files()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(files["no image"])
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(files["no label"])
    with refuses("'train'", "'fashion-mnist'", "no image", kind=MissingPartition):
        DataConfig("fashion-mnist", str(tmp_path)).load("train")


def test_label_lists_are_not_unfolded():
    value = pickles.loads(crafted.laughs(10), "x")["fine_labels"]
    assert pickles.whole_numbers(value) is None
    with refuses("'x'", "larger"):
        pickles.loads(crafted.laughs(30), "x")
    assert pickles.whole_numbers([1, 2**70]) is None
    assert pickles.whole_numbers([1, "2"]) is None
    assert pickles.whole_numbers([1, np.uint8(2)]).tolist() == [1, 2]
    assert pickles.whole_numbers(np.arange(3, dtype=np.uint8)).dtype == np.int64


def test_tiered_labels_have_a_largest_number(tmp_path):
    tiered(tmp_path)
    labels = {"label_specific": np.full(12, 2**62), "label_general": np.zeros(12, int)}
    (tmp_path / "train_labels.pkl").write_bytes(pickle.dumps(labels))
    with refuses("train_labels.pkl'", "'label_specific'", "1000000"):
        DataConfig("tiered", str(tmp_path)).load("train")


@pytest.mark.parametrize("name", list(crafted.array_files(odd_files.Path("x"))))
def test_array_file(name, tmp_path):
    tiered(tmp_path)
    (tmp_path / "train_images_png.pkl").unlink()
    content = crafted.array_files(tmp_path / "x")[name]
    (tmp_path / "train_images.npz").write_bytes(content)
    with refuses("train_images.npz'", "'images'"):
        DataConfig("tiered", str(tmp_path)).load("train")


def test_aircraft_list_of_other_bytes(tmp_path):
    aircraft(tmp_path)
    data = tmp_path / "fgvc-aircraft-2013b" / "data"
    (data / "images_variant_train.txt").write_bytes(b"\xff\xfe\n")
    with refuses("FGVC-Aircraft", repr(str(tmp_path)), "0xff"):
        DataConfig("aircraft", str(tmp_path)).load("train")


def test_packed_weights_are_refused_before_they_are_unpacked(tmp_path):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**20))
    with refuses(repr(str(path)), "unpack"):
        weights.load(path)


@pytest.mark.parametrize("dim", [0, -1, 10**15, 1.5, "x", True, None])
def test_size_of_an_encoder_is_a_number_within_bounds(dim):
    for field, name in (("dim", "`dim`"), ("num_classes", "number of classes")):
        with refuses(f"{name} {dim!r}", re.compile("1 to 1000000|int")):
            EncoderConfig(**{field: dim})


def test_config_nested_without_end(tmp_path, new_room):
    with new_room() as room:
        path = room.root / "config.json"
        path.write_bytes(b"[" * 100_000)
        ended = keep(commands()["train"].main, ["--config", str(path)], room, [])
    one_line(ended.err, "config.json'")


@pytest.mark.parametrize("names", [7, [1, 2, 3, 4, 5], np.zeros((5, 2)), {"a": 1}, None, b"abcde"])
def test_class_names_of_tiered_that_are_none_become_numbers(names, tmp_path):
    tiered(tmp_path)
    path = next(tmp_path.rglob("train_labels.pkl"))
    content = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({**content, "label_specific_str": names}))
    hierarchy = DataConfig("tiered", str(tmp_path)).load("train").hierarchy
    assert hierarchy.fine_names == tuple(f"train class {n}" for n in range(hierarchy.num_fine))


def test_a_label_beyond_the_classes_is_told():
    hierarchy = Hierarchy(("a",), ("x", "y"), (0, 0))
    for labels in ([0, 1, 2], [-1, 0]):
        with refuses("'train'", "'set'", f"{min(labels)} to {max(labels)}", "0 to 1"):
            Partition.from_fine("set", "train", [None] * len(labels), labels, hierarchy)


@pytest.mark.parametrize("length", ["long", "", True, 1.5, 0])
def test_queue_length_is_a_number_or_auto(length):
    with refuses(f"`queue_length` {length}", "auto"):
        AncorConfig(queue_length=length).check("seq")


@pytest.mark.parametrize("step", [2**63, 2**70 + 1])
def test_a_count_of_steps_that_no_run_reaches_is_told(step, quick_run, tmp_path, capsys):
    content = checkpoint.read(quick_run / "last.pth.tar")
    content["progress"]["step"] = step
    checkpoint.save(content, tmp_path / "last.pth.tar")
    resume = ["--resume", str(tmp_path / "last.pth.tar"), "--output-dir", str(tmp_path / "run")]
    refused(train, [*BASE, *resume], capsys, repr(resume[1]))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", [("data", "root"), ("method", "name")])
def test_a_list_in_place_of_a_word_is_told(place, quick_run, tmp_path, capsys):
    section, name = place
    content = checkpoint.read(quick_run / "last.pth.tar")
    content["config"][section][name] = []
    checkpoint.save(content, tmp_path / "last.pth.tar")
    resume = ["--resume", str(tmp_path / "last.pth.tar"), "--output-dir", str(tmp_path / "run")]
    words = ["'root'", "[]"] if name == "root" else ["[]", "ancor"]
    refused(train, ["--epochs", "2", *resume], capsys, *words)


@pytest.mark.parametrize("told", [torch.ones(1, requires_grad=True), "1", None, torch.ones(2)])
def test_a_best_accuracy_that_is_no_number_is_told(told, quick_run, tmp_path, capsys):
    """A tensor with a gradient brought two lines of torch's beside the one."""
    content = checkpoint.read(quick_run / "last.pth.tar")
    content["best_accs"] = [told]
    checkpoint.save(content, tmp_path / "last.pth.tar")
    resume = ["--resume", str(tmp_path / "last.pth.tar"), "--output-dir", str(tmp_path / "run")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(train, [*BASE, *resume], capsys, "last.pth.tar")


@pytest.mark.parametrize("name", ["clocks", "meter", "scaler"])
def test_a_tensor_in_place_of_a_table_is_told(name, quick_run, tmp_path, capsys):
    """Indexed by a word, it brought a line of torch's beside the one."""
    content = checkpoint.read(quick_run / "last.pth.tar")
    content["progress"][name] = torch.tensor(1)
    checkpoint.save(content, tmp_path / "last.pth.tar")
    resume = ["--resume", str(tmp_path / "last.pth.tar"), "--output-dir", str(tmp_path / "run")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(train, [*BASE, *resume], capsys, "last.pth.tar'", name)


@pytest.mark.parametrize("place", [("state",), ("state", 0), ("param_groups", 0)])
def test_a_tensor_in_place_of_an_optimizers_table_is_told(place, quick_run, tmp_path, capsys):
    """As above, and torch read it itself."""
    content = checkpoint.read(quick_run / "last.pth.tar")
    table = content["optimizer"]
    for key in place[:-1]:
        table = table[key]
    table[place[-1]] = torch.tensor(1)
    checkpoint.save(content, tmp_path / "last.pth.tar")
    resume = ["--resume", str(tmp_path / "last.pth.tar"), "--output-dir", str(tmp_path / "run")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(train, [*BASE, *resume], capsys, "last.pth.tar'", "optimizer")
