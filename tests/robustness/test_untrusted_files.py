"""Files from strangers: none becomes more than it holds, ends in a traceback, or widens a flag.

Each reading ends in a value or in one line. D22, D23 and D24 are lines of an issue.
"""

import copy
import io
import json
import os
import pickle
import random
import struct
import time
import zipfile

import numpy as np
import pytest
import torch

from ancor.checkpoints import checkpoint
from ancor.cli.compare import main as compare
from ancor.cli.eval import main as evaluate
from ancor.cli.inspect import main as inspect
from ancor.cli.train import main as train
from ancor.errors import InputError
from ancor.evaluation.feature_cache import FeatureCache
from ancor.fewshot import saved as fewshot_file
from ancor.fewshot.estimator import FewShotClassifier
from ancor.safe_io import bounded, npz, pickles, weights
from ancor.training import read_run
from tests.made import tiered, write
from tests.refusals import one_line, refuses, tells
from tests.robustness import malicious_files as crafted
from tests.robustness import odd_values
from tests.robustness.fixtures import QUICK
from tests.robustness.harness import commands, keep
from tests.robustness.sizes import SEED, TORTURE
from tests.robustness.test_malicious import changed, leaves
from tests.safe_io.test_pickles import unicode4

EVAL = ["--n-test-runs", "2", "--n-queries", "2", "--cls", "NN", "--partition", "validation"]


@pytest.fixture
def soon():
    """Fails what takes longer than any refusal should."""
    start = time.perf_counter()
    yield
    assert time.perf_counter() - start < 20  # what it catches took 48 s and more


def saved(content, path, **options):
    torch.save(content, path, **options)
    return path


# D23: what a file may become.


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(()).expand(2**28),
        torch.empty(0, 2**40),
        torch.ones(1).as_strided((2**14, 2**14), (0, 0)),
    ],
    ids=["one number", "no number", "both strides"],
)
def test_a_small_file_holds_no_large_tensor(tensor, new, tmp_path, soon):
    """D23: a checkpoint of 1.7 kB with a stride-0 tensor took 1.3 GB."""
    options = {"_use_new_zipfile_serialization": new}
    path = saved({"state_dict": {"conv1.weight": tensor}}, tmp_path / "x.pth", **options)
    assert path.stat().st_size < 2000
    with refuses(repr(str(path)), "larger"):
        weights.load(path)


def test_many_tensors_together_are_bounded_too(tmp_path, soon):
    """D23: each of them within the bound, all of them beyond it; one tensor twice counts once."""
    one = torch.ones(1).expand(2**20)
    path = saved({str(n): one for n in range(100)}, tmp_path / "x.pth")
    assert len(weights.load(path)) == 100
    path = saved({str(n): torch.ones(1).expand(2**20) for n in range(100)}, tmp_path / "x.pth")
    with refuses(repr(str(path)), "larger"):
        weights.load(path)


def test_members_of_an_archive_do_not_overlap(tmp_path, soon):
    """D23: a hundred names for the bytes of one."""
    path = saved({"a": torch.ones(2**18)}, tmp_path / "x.pth")
    with zipfile.ZipFile(path, "a") as archive:
        (one,) = (m for m in archive.infolist() if m.filename.endswith("data/0"))
        for number in range(100):
            other = copy.copy(one)
            other.filename = other.orig_filename = f"x/data/{number + 1}"
            archive.filelist.append(other)
        archive._didModify = True
    with refuses(repr(str(path)), "unpack"):
        weights.load(path)


def test_a_storage_is_as_large_as_it_says(tmp_path, soon):
    """D23: beyond its bytes lies the memory of the process."""
    for new in (True, False):
        options = {"_use_new_zipfile_serialization": new}
        path = saved({"a": torch.ones(4)}, tmp_path / "x.pth", **options)
        many = b"J" + struct.pack("<i", 2**28)
        text = path.read_bytes()
        assert text.count(b"K\x04") >= 2
        if new:
            with zipfile.ZipFile(path) as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
            members["x/data.pkl"] = members["x/data.pkl"].replace(b"K\x04", many)
            path.write_bytes(crafted.zipped(members))
        else:
            path.write_bytes(text.replace(b"K\x04", many))
        with refuses(repr(str(path)), "numbers"):
            weights.load(path)


def array(shape: bytes, content: bytes = b"") -> bytes:
    """A pickle of an array of bytes: NumPy's own way, with any shape."""
    start = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    kind = b"cnumpy\ndtype\n" + unicode4("u1") + b"K\x00K\x01\x87R"
    return (
        start
        + b"(K\x01"
        + shape
        + kind
        + b"\x89B"
        + struct.pack("<I", len(content))
        + content
        + b"tb."
    )


MILLIONS = b"J" + struct.pack("<i", 50_000_000)
BOMBS = {
    "items of no size": array(MILLIONS + b"K\x00\x86"),
    "items of no size, from a buffer": b"\x80\x02cnumpy.core.numeric\n_frombuffer\n(C\x00cnumpy\n"
    b"dtype\n" + unicode4("u1") + b"K\x00K\x01\x87R" + MILLIONS + b"K\x00\x86"
    + unicode4("C") + b"tR.",
    "shared lists": crafted.laughs(60),
    "shared tuples as a key": b"\x80\x02}K\x01\x85" + b"q\x000h\x00h\x00\x86" * 40 + b"K\x01s.",
    "a deep tuple as a key": b"\x80\x02}K\x01" + b"\x85" * 500_000 + b"K\x01s.",
    "shared tuples in a set": b"\x80\x04\x8f(K\x01\x85" + b"q\x000h\x00h\x00\x86" * 40 + b"\x90.",
    "a far place in the memo": b"\x80\x02K\x01r\xff\xff\xff\x7f.",
    "copies": b"\x80\x02]q\x010B" + struct.pack("<I", 2**20) + bytes(2**20) + b"q\x000"
    + b"h\x01" + b"c__builtin__\nbytearray\nh\x00\x85Ra" * 2000 + b".",
    "sets": b"\x80\x04]" + b"\x8fa" * 2_000_000 + b".",
    "a long number": pickle.dumps(10**400),
    "itself": b"\x80\x02]q\x00h\x00a.",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_pickle_stays_small(name, soon):
    """D23: 183 bytes with 50 million items of no size took 48 s; shared lists never ended."""
    if name == "a far place in the memo":
        assert pickles.loads(BOMBS[name], "x") == 1
        return
    with refuses("'x'", "pickle"):
        pickles.loads(BOMBS[name], "x")


def test_a_large_pickle_of_pixels_is_read(soon):
    """D23: the bounds grow with the file."""
    batch = {"data": np.zeros((5000, 3072), np.uint8), "labels": list(range(300_000))}
    for protocol in (2, 4):
        found = pickles.loads(pickle.dumps(batch, protocol), "x")
        assert found["labels"] == batch["labels"]
        assert (found["data"] == batch["data"]).all()


def test_arrays_of_an_archive_are_bounded_together(monkeypatch, soon):
    """D23: packed, many in one archive, or with rows of no size."""
    monkeypatch.setattr(bounded, "FLOOR", 2**20)
    many = {str(n): np.zeros(2**19, np.uint8) for n in range(20)}
    for arrays, word in ((many, "bytes"), ({"images": np.empty((2**40, 0))}, "rows")):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        with refuses(word, kind=ValueError):
            npz.load(buffer)


def test_tensors_of_safetensors_do_not_share_bytes(tmp_path, soon):
    """D23: a thousand names for the same bytes."""
    data = bytes(2**20)
    entry = {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}
    path = tmp_path / "x.safetensors"
    path.write_bytes(crafted.safetensors({str(n): entry for n in range(1000)}, data))
    with refuses(repr(str(path))):
        weights.load(path)


@pytest.mark.parametrize("count", [1, 2])
def test_headers_of_safetensors_are_plain_and_small(tmp_path, monkeypatch, count):
    """D23: a shape of millions of axes, and thousands of tensors of nothing."""
    monkeypatch.setattr(bounded, "FLOOR", 2**20)
    entry = {"dtype": "U8", "shape": [0] * 100_000, "data_offsets": [0, 0]}
    small = {**entry, "shape": [0]}
    header = {"a": entry} if count == 1 else {str(n): small for n in range(10_000)}
    path = tmp_path / "x.safetensors"
    path.write_bytes(crafted.safetensors(header))
    with refuses(repr(str(path)), "larger"):
        weights.load(path)


def test_tensors_of_safetensors_outlive_their_file(tmp_path):
    """A file that is cut off after it was read takes nothing away."""
    path = tmp_path / os.fsdecode(b"x\xff.safetensors")
    entry = {"dtype": "U8", "shape": [2**20], "data_offsets": [0, 2**20]}
    path.write_bytes(crafted.safetensors({"a": entry}, b"\1" * 2**20))
    tensors = weights.load(path)
    os.truncate(path, 0)
    assert tensors["a"].sum() == 2**20


# D24: values that are not plain.


@pytest.fixture(scope="module")
def contents(shelf):
    folder = shelf / "models" / "digits"
    return {name: checkpoint.read(folder / f"{name}.pth.tar") for name in ("model_best", "last")}


def cases(content: dict) -> list[tuple]:
    """List (place, name, other value) for each place but most of the weights."""
    rest = {
        name: value for name, value in content.items() if name not in ("state_dict", "checksum")
    }
    names = list(content["state_dict"])
    chosen = [n for n in names if "queue" in n or ".fc." in n or n.endswith("tracked")][:8]
    places = [*leaves(rest), ("state_dict",), *(("state_dict", n) for n in names[:2] + chosen)]
    found = []
    for place in places:
        now = content
        for key in place:
            now = now[key]
        shape = tuple(now.shape) if isinstance(now, torch.Tensor) else (2, 3)
        for name, value in {**odd_values.values(), **odd_values.tensors(shape)}.items():
            found.append((place, name, value))
    return found


def write_changed(content: dict, place: tuple, value: object, path) -> bool:
    """Write a changed checkpoint without a checksum (format 1); False: torch writes no such."""
    other = {name: inner for name, inner in content.items() if name != "checksum"}
    other["config"] = {**other["config"], "format": 1}
    try:
        torch.save(changed(other, place, value) if place else value, path)
    except (RuntimeError, NotImplementedError, pickle.PicklingError, AttributeError):
        return False
    return True


def test_checkpoints_with_odd_values_end_in_a_value_or_a_line(contents, new_room):
    """D24: 52 of 475 readings ended in tracebacks."""
    every = cases(contents["model_best"])
    rng = random.Random(SEED if TORTURE else 0)
    for place, name, value in every if TORTURE else rng.sample(every, 60):
        with new_room() as room:
            path = room.root / "x.pth.tar"
            if not write_changed(contents["model_best"], place, value, path):
                continue
            ended = keep(inspect, [str(path)], room, [])
            assert all(c.isprintable() or c == "\n" for c in ended.out), (place, name)
            line = ["--model-path", str(path), *EVAL]
            if TORTURE or place[:1] == ("config",):
                keep(evaluate, line, room, [])


def test_resumed_runs_of_odd_values_end_in_a_line(contents, new_room):
    """D24: the same of what only a resumed run reads; a momentum of one number broke the heap."""
    every = cases(contents["last"])
    places = ("optimizer", "progress", "best_accs", "state_dict")
    rng = random.Random(SEED if TORTURE else 0)
    chosen = [case for case in every if case[0][:1] and case[0][0] in places]
    chosen = every if TORTURE else rng.sample(chosen, 12)
    (first,) = [c for c in every if c[0] == ("optimizer", "state", 0, "momentum_buffer")
                and c[1] == "one number"]  # fmt: skip
    for place, _, value in [first, *chosen]:
        with new_room() as room:
            path = room.root / "x.pth.tar"
            if write_changed(contents["last"], place, value, path):
                line = ["--resume", str(path), "--output-dir", "out", "--max-steps", "2"]
                keep(train, line, room, ["out"])


BASE = {"encoder": {}, "method": {}, "data": {"dataset": "digits"}, "training": {}}
TEXTS = {
    "a list": "[1, 2]",
    "a word": '"x"',
    "a number": "3",
    "400 digits": json.dumps(BASE).replace("{}}", '{"lr": 1' + "0" * 400 + "}}"),
    "400 digits, whole": json.dumps(BASE).replace("{}}", '{"epochs": 1' + "0" * 400 + "}}"),
    "no number": json.dumps(BASE).replace("{}}", '{"lr": NaN}}'),
    "infinite": json.dumps(BASE).replace("{}}", '{"gamma": Infinity}}'),
    "twice": json.dumps(BASE).replace("{}}", '{"lr": 1, "lr": 2}}'),
    "deep": "[" * 100_000,
    "NUL in a path": json.dumps({**BASE, "data": {"dataset": "folder", "root": "a\0b"}}),
    "NUL in a name": json.dumps({**BASE, "encoder": {"head": "a\0b"}}),
    "a section of numbers": json.dumps({**BASE, "data": [1]}),
}


@pytest.mark.parametrize("name", TEXTS)
def test_configurations_end_in_a_line(name, new_room):
    """D24: --config with JSON that is no object, numbers of 400 digits, NUL."""
    with new_room() as room:
        path = room.root / "config.json"
        path.write_text(TEXTS[name], encoding="utf-8")
        ended = keep(train, ["--config", str(path), "--mode", "coarse"], room, [])
        assert ended.status == 2
        for text in (TEXTS[name], json.dumps(BASE)):  # of a run, and of its figures
            path.write_text(text, encoding="utf-8")
            (room.root / "metrics.jsonl").write_text(TEXTS[name], encoding="utf-8")
            assert keep(compare, [str(room.root)], room, []).status == 2


def test_no_flag_takes_a_nul(new_room):
    """D24: every path flag was 'ValueError: embedded null byte'."""
    lines = {
        "eval": "--model-path",
        "train": "--output-dir",
        "predict": "--query",
        "tsne": "--data",
    }
    for name, flag in lines.items():
        for argv in ([flag, "a\0b"], [f"{flag}=a\0b"]):
            with new_room() as room:
                ended = keep(commands()[name].main, argv, room, [])
            assert ended.status == 2
            one_line(ended.err, r"a\x00b'", "NUL")
    for read in (FewShotClassifier.load, checkpoint.load_encoder, read_run.read_run):
        with pytest.raises(InputError):
            read("a\0b")


@pytest.mark.parametrize("rows", [2**60, -1, "x", None, 1.5, 10**400, [1]], ids="{!r:.9}".format)
def test_a_cache_header_of_any_rows_is_computed_again(rows, tmp_path, caplog):
    """D24: a header with 2^60 rows."""
    cache = FeatureCache(tmp_path, {"x": 1}, width=3)
    pairs = np.array([[0, -1], [1, -1]])

    def compute(pairs):
        yield torch.ones(len(pairs), 3)

    def features():
        return torch.cat(list(cache.stream(pairs, compute)))

    before = features()
    (path,) = tmp_path.glob("*/*.features")
    header, _, rest = path.read_bytes().partition(b"\n")
    text = json.dumps({**json.loads(header), "rows": rows})
    path.write_bytes(text.encode() + b"\n" + rest)
    assert torch.equal(features(), before)
    assert tells(caplog.text, repr(path.name))


def test_saved_classifier_of_a_larger_encoder_takes_no_memory(shelf, tmp_path, soon):
    """D23: sizes in a file of a few kilobytes, for a network of gigabytes."""
    about, arrays = fewshot_file.read(shelf / "models/classes.ancor")
    config = {**about["encoder"]["config"], "dim": 10**6, "num_classes": 10**6}
    path = tmp_path / "x.ancor"
    fewshot_file.write(path, {**about, "encoder": {**about["encoder"], "config": config}}, arrays)
    with refuses(repr(str(path)), "encoder"):
        FewShotClassifier.load(path)


# D22: text, and what a file allows.

STEER = "\x1b[2J\x1b]0;title\a\r\n\u202eleft\u2028\x9b1m"


def test_text_of_a_checkpoint_is_told_on_its_line(contents, new_room, tmp_path):
    """D22: inspect printed a checkpoint's strings raw; the others that tell of it do not either."""
    config = contents["model_best"]["config"]
    other = {
        **contents["model_best"],
        "config": {**config, "format": 1, "selected_on": STEER, "encoder": config["encoder"]},
        "state_dict": {
            **contents["model_best"]["state_dict"],
            f"module.encoder_q.{STEER}": torch.ones(1),
        },
    }
    del other["checksum"]
    with new_room() as room:
        for data in (config["data"], {**config["data"], "dataset": STEER}):
            other["config"]["data"] = data
            path = saved(other, room.root / "x.pth.tar")
            for main, line in (
                (inspect, [str(path)]),
                (evaluate, ["--model-path", str(path), *EVAL]),
            ):
                ended = keep(main, line, room, [])
                text = (ended.out + ended.err).replace("\n", "")
                assert text.isprintable()
                assert STEER not in ended.out
        run = room.root / STEER.replace("/", "")
        run.mkdir()
        (run / "config.json").write_text(json.dumps({STEER: STEER, "data": {"root": STEER}}))
        (run / "metrics.jsonl").write_text(
            json.dumps({"kind": STEER, "step": 1, f"validation/{STEER}": 1})
        )
        digits = str(room.shelf / "models" / "digits")
        ended = keep(compare, [str(run), digits], room, ["compare.png"])
        assert ended.out.replace("\n", "").isprintable()


def outside(folder) -> None:
    """A folder of images whose labels.csv names files beside the folder."""
    lines = ["path,coarse,fine,partition"]
    for number in range(24):
        write(folder.parent / f"{number}.png", number, (16, 16))
        part = "train" if number < 8 else "val"
        lines.append(f"../{number}.png,c{number % 2},f{number % 2},{part}")
    folder.mkdir()
    (folder / "labels.csv").write_text("\n".join(lines))


def test_no_file_allows_what_a_flag_does_not(new_room):
    """D22: `allow_outside_root: true` in a stranger's checkpoint opened files outside --data."""
    with new_room() as room:
        outside(room.root / "data")
        flags = [*QUICK, "--dataset", "folder", "--data", str(room.root / "data"), "--quiet"]
        flags += ["--image-size", "16", "--output-dir", str(room.root / "run")]
        assert train([*flags, "--allow-outside-root"]) == 0
        best, last = (str(room.root / "run" / f"{n}.pth.tar") for n in ("model_best", "last"))
        config = str(room.root / "run" / "config.json")
        resumed = ["--resume", last, "--output-dir", "out", "--max-steps", "2"]
        again = ["--config", config, "--output-dir", "out", "--max-steps", "1"]
        shots = ["--model-path", best, *EVAL]
        for main, line in ((evaluate, shots), (train, resumed), (train, again)):
            ended = keep(main, line, room, ["out"])
            assert ended.status == 2
            one_line(ended.err, "labels.csv", "--allow-outside-root")
            ended = keep(main, [*line, "--allow-outside-root"], room, ["out"])
            assert ended.status == 0
        content = checkpoint.read(last)
        assert content["config"]["data"]["allow_outside_root"]


def test_what_a_file_leaves_out_is_told(contents, new_room):
    """D22: images that cannot be read are left out by the flag alone; a line says so."""
    other = copy.deepcopy(contents["model_best"])
    del other["checksum"]
    other["config"]["format"] = 1
    other["config"]["data"]["skip_bad_images"] = True
    with new_room() as room:
        path = saved(other, room.root / "x.pth.tar")
        ended = keep(evaluate, ["--model-path", str(path), *EVAL], room, [])
        assert tells(ended.out, "--skip-bad-images")
        line = ["--model-path", str(path), *EVAL, "--skip-bad-images"]
        assert not tells(keep(evaluate, line, room, []).out, "--skip-bad-images")


def test_tiered_pickle_of_no_sized_images_is_refused(tmp_path, soon):
    """D23, as a user meets it."""
    tiered(tmp_path, images=2)
    (tmp_path / "train_images_png.pkl").write_bytes(BOMBS["items of no size"])
    from ancor.data.config import DataConfig

    with refuses("train_images_png.pkl'", "50000000"):
        DataConfig("tiered", str(tmp_path)).load("train")
