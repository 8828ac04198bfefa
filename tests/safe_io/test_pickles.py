"""Pickles from the internet: plain data comes through, everything else is refused by name."""

import codecs
import collections
import functools
import os
import pickle
import re
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from ancor.safe_io import pickles
from tests.refusals import refuses


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class CallWithState(Call):
    """Pickles as a plain object, with the call hidden in its state."""

    def __reduce__(self):
        return collections.OrderedDict, (), {"x": Call(self.function, *self.args)}


def unicode4(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def object_array(item) -> np.ndarray:
    array = np.empty(3, dtype=object)
    array[1] = item
    return array


def payloads(target) -> dict[str, bytes]:
    """Pickles that write the file `target` when read plainly, by the form of the call."""
    name = str(target)
    shell = f"echo x > {name}"
    write = Call(os.system, shell)
    code = f"open({name!r}, 'w').write('x')"
    map_arguments = unicode4(name) + unicode4("uint8") + unicode4("w+") + b"K\x00K\x01\x85"
    made = {
        f"reduce, protocol {protocol}": pickle.dumps(write, protocol) for protocol in range(6)
    } | {
        "global of Python 2": b"cposix\nsystem\n(" + unicode4(shell) + b"tR.",
        "inst": b"(" + unicode4(shell) + b"iposix\nsystem\n.",
        "obj": b"(cposix\nsystem\n" + unicode4(shell) + b"o.",
        "eval": pickle.dumps(Call(eval, code)),
        "exec": pickle.dumps(Call(exec, code)),
        "Python 2's builtins": b"c__builtin__\neval\n(" + unicode4(code) + b"tR.",
        "open": pickle.dumps(Call(open, name, "w")),
        "file class": b"\x80\x02c_io\nFileIO\n(" + unicode4(name) + unicode4("w") + b"tR.",
        "process class": b"\x80\x02csubprocess\nPopen\n("
        + unicode4(f"/bin/sh -c '{shell}'")
        + b"I-1\nNNNNNI01\nI01\ntR.",
        "subprocess": pickle.dumps(Call(subprocess.check_call, ["/bin/sh", "-c", shell])),
        "getattr chain": pickle.dumps(Call(getattr, "x", "upper")),
        "value of a dict": pickle.dumps({"label_specific": write}),
        "key of a dict": pickle.dumps([{1: 2}, (write,)]),
        "set": pickle.dumps([{1, 2}, {"x": [write]}]),
        "object array": pickle.dumps(object_array(write)),
        "object array, protocol 2": pickle.dumps(object_array(write), 2),
        "array within a dict": pickle.dumps({"data": [object_array((write,))]}),
        "state": pickle.dumps(CallWithState(os.system, shell)),
        "NumPy's own file writer": pickle.dumps(Call(np.save, name + ".npy", 1)),
        "method by a dotted name": b"\x80\x04"
        + b"\x8c\x05numpy\x8c\x0endarray.tofile\x93"
        + pickle.dumps(np.zeros(1), 4)[2:-1]
        + unicode4(name)
        + b"\x86R.",
        "memory map": pickle.dumps(Call(np.memmap, name, "uint8", "w+", 0, (1,))),
        "newobj": b"\x80\x02cnumpy\nmemmap\n(" + map_arguments + b"t\x81.",
        "newobj_ex": b"\x80\x04cnumpy\nmemmap\n(" + map_arguments + b"t}\x92.",
        "other codecs": pickle.dumps(Call(codecs.open, name, "w")),
        "partial": pickle.dumps(Call(functools.partial(os.system, shell))),
        "import": pickle.dumps(Call(__import__, "antigravity")),
        "copyreg": b"ccopyreg\n_reconstructor\n(c_io\nFileIO\nc__builtin__\nobject\nNtR.",
        "memo": b"cposix\nsystem\nq\x000(h\x00" + unicode4(shell) + b"o.",
    }
    return made


FORMS = list(payloads("x"))
NAME = re.compile(r"'\w+(\.\w+)+'")  # that a pickle asks for, as the refusal tells it
# These only reach for a function: plainly read they write nothing, and are refused all the same.
WITHOUT_EFFECT = {"getattr chain", "import", "copyreg"}


def test_there_are_at_least_twenty_forms_that_write():
    assert len(set(FORMS) - WITHOUT_EFFECT) >= 20


@pytest.mark.parametrize("form", FORMS)
def test_payload_is_refused_by_name_and_not_run(form, tmp_path):
    target = tmp_path / "written"
    file = tmp_path / "train_labels.pkl"
    file.write_bytes(payloads(target)[form])
    with refuses("train_labels.pkl'", NAME):
        pickles.load(file)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("form", sorted(set(FORMS) - WITHOUT_EFFECT))
def test_payload_would_write_if_read_plainly(form, tmp_path):
    file = tmp_path / "payload"
    file.write_bytes(payloads(tmp_path / "written")[form])
    script = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
    subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, timeout=60)
    for _ in range(100):
        if len(list(tmp_path.iterdir())) > 1:
            return
        time.sleep(0.02)
    pytest.fail("the payload is a dud")


PLAIN = [
    {"label_specific": [1, 2, 3], "x": (1, 2.5, None, True, "Übung", b"\x89PNG", b"")},
    [{1, 2}, frozenset({3}), bytearray(b"ab"), 2**80, 1 + 2j, collections.OrderedDict(a=1)],
    [np.arange(6, dtype=np.uint8).reshape(2, 3), np.float32(1.5), np.int64(-3), np.str_("name")],
    [np.arange(4.0, dtype=">f8"), np.array(["a", "bcd"]), np.array([b"ab", b"c"]), np.array(True)],
    object_array(b"\x89PNG"),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
]


def same(ours, plain) -> bool:
    if isinstance(plain, np.ndarray):
        return (
            ours.dtype == plain.dtype and ours.shape == plain.shape and bool((ours == plain).all())
        )
    if isinstance(plain, list | tuple):
        return all(same(a, b) for a, b in zip(ours, plain, strict=True))
    return type(ours) is type(plain) and ours == plain


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", PLAIN)
def test_plain_data_comes_through(value, protocol):
    content = pickle.dumps(value, protocol)
    assert same(pickles.loads(content, "x"), pickle.loads(content))


def test_names_of_older_numpy():
    new = pickle.dumps(np.arange(5), 2)
    for old, current in ((b"numpy.core", b"numpy._core"), (b"numpy._core", b"numpy.core")):
        assert pickles.loads(new.replace(current, old), "x").tolist() == [0, 1, 2, 3, 4]


def test_dict_and_array_of_python_2():
    """What cPickle of Python 2 writes at protocol 2: str as SHORT_BINSTRING."""
    pixels = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x07\xfftb"
    )
    content = b"\x80\x02}(U\x0bfine_labels]K\x05aU\x04data" + pixels + b"u."
    read = pickles.text_keys(pickles.loads(content, "x"), "x")
    assert read["fine_labels"] == [5]
    assert read["data"].tolist() == [7, 255]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", []),
        (pickle.dumps(list(range(1000)))[:-20], []),
        (b"\x80\x05\x95\xff\xff\xff\xff\xff\xff\xff\x7f.", []),
        (b"P1\n.", ["outside"]),
        (b"\x82\x01.", ["code 1"]),
        (b"c_codecs\nencode\n(" + unicode4("x") + unicode4("rot13") + b"tR.", ["'rot13'"]),
        (b"c_codecs\nencode\n(NN}tb.", []),
        (b"c__builtin__\nset\n}b.", ["state"]),
        (pickle.dumps(np.zeros(2, dtype=[("a", "f4")])), ["'V4'"]),
        (pickle.dumps(np.zeros(4), 2).replace(b"K\x04\x85", b"K\x05\x85"), ["shape"]),
    ],
)
def test_broken_files_are_one_line(content, words):
    with refuses("'some/file.pkl'", *words):
        pickles.loads(content, "some/file.pkl")
