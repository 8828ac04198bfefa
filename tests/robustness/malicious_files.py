"""Files made to run something where they are read, or to write outside their place, or to fill it.

The calls would leave the file `target`, or one whose name begins like it, where they are made.
"""

import io
import json
import marshal
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.checkpoints.test_state_dicts import in_zip
from tests.safe_io.test_pickles import payloads, unicode4

MAGIC = 0x1950A86A20F9469CFC6C  # of torch's older form


def call(module: str, name: str, *args) -> bytes:
    """A pickle that calls a function; in an older protocol, where names stand as lines."""
    arguments = pickle.dumps(tuple(args), 2)[2:-1]
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + arguments + b"R."


def call_by_stack(module: str, name: str, *args) -> bytes:
    """The same in a newer protocol, where names stand on the stack."""
    names = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    return b"\x80\x04" + names + b"\x93" + pickle.dumps(tuple(args), 2)[2:-1] + b"R."


def calls(target: Path) -> dict[str, tuple]:
    """What to call, by a name for it: module, function, arguments."""
    name = str(target)
    shell, code = f"echo x > {name}", f"open({name!r}, 'w').write('x')"
    argv = ["/bin/sh", "-c", shell]
    script = target.with_suffix(".script.py")
    inner = call("posix", "system", shell)
    return {
        "posix": ("posix", "system", shell),
        "nt": ("nt", "system", shell),
        "os": ("os", "system", shell),
        "os.popen": ("os", "popen", shell),
        "os.spawn": ("os", "spawnv", 0, "/bin/sh", argv),
        "os.posix_spawn": ("posix", "posix_spawn", "/bin/sh", argv, {}),
        "os.exec": ("posix", "execv", "/bin/sh", argv),
        "os.mkdir": ("posix", "mkdir", name),
        "os.makedirs": ("os", "makedirs", name + "/a/b"),
        "os.mkfifo": ("posix", "mkfifo", name),
        "os.symlink": ("posix", "symlink", "/etc/passwd", name),
        "os.open": ("posix", "open", name, 0o101),
        "os.putenv": ("os", "putenv", "CANARY", name),
        "pty": ("pty", "spawn", argv),
        "Popen": ("subprocess", "Popen", argv),
        "subprocess.run": ("subprocess", "run", argv),
        "subprocess.call": ("subprocess", "call", argv),
        "check_output": ("subprocess", "check_output", argv),
        "getoutput": ("subprocess", "getoutput", shell),
        "spawnv_passfds": ("multiprocessing.util", "spawnv_passfds", "/bin/sh", argv, ()),
        "distutils": ("setuptools._distutils.spawn", "spawn", argv),
        "eval": ("builtins", "eval", code),
        "exec": ("builtins", "exec", code),
        "old eval": ("__builtin__", "eval", code),
        "compile": ("builtins", "compile", code, "x", "exec"),
        "import": ("builtins", "__import__", "antigravity"),
        "getattr": ("builtins", "getattr", "x", "__class__"),
        "globals": ("builtins", "globals"),
        "breakpoint": ("builtins", "breakpoint"),
        "open": ("builtins", "open", name, "w"),
        "io.open": ("io", "open", name, "w"),
        "FileIO": ("_io", "FileIO", name, "w"),
        "codecs": ("codecs", "open", name, "w"),
        "gzip": ("gzip", "open", name, "w"),
        "bz2": ("bz2", "open", name, "w"),
        "lzma": ("lzma", "open", name, "w"),
        "zipfile": ("zipfile", "ZipFile", name, "w"),
        "tarfile": ("tarfile", "open", name, "w"),
        "wave": ("wave", "open", name, "w"),
        "shelve": ("shelve", "open", name),
        "dbm": ("dbm.dumb", "open", name, "n"),
        "sqlite": ("sqlite3", "connect", name),
        "copyfile": ("shutil", "copyfile", "/etc/hostname", name),
        "urlretrieve": ("urllib.request", "urlretrieve", "file:///etc/hostname", name),
        "log file": ("logging", "FileHandler", name),
        "rotating log": ("logging.handlers", "RotatingFileHandler", name),
        "temporary folder": ("tempfile", "mkdtemp", "x", name, str(target.parent)),
        "run_path": ("runpy", "run_path", str(script)),
        "run_module": ("runpy", "run_module", "antigravity"),
        "import_module": ("importlib", "import_module", "antigravity"),
        "source loader": ("importlib.machinery", "SourceFileLoader", "x", str(script)),
        "timeit": ("timeit", "timeit", code, "pass"),
        "profile": ("cProfile", "run", code),
        "slow profile": ("profile", "run", code),
        "doctest": ("doctest", "debug_script", code),
        "interpreter": ("code", "InteractiveConsole", {}),
        "marshal": ("marshal", "loads", marshal.dumps(compile(code, "x", "exec"))),
        "pickle in pickle": ("pickle", "loads", inner),
        "C pickle in pickle": ("_pickle", "loads", inner),
        "torch in torch": ("torch.storage", "_load_from_bytes", old_torch(inner)),
        "torch.load": ("torch.serialization", "load", str(script) + ".pth"),
        "torch.save": ("torch.serialization", "save", 1, name),
        "hub": ("torch.hub", "_load_local", str(script.parent), "canary"),
        "hub from the net": ("torch.hub", "load", "someone/something", "model"),
        "torch.jit": ("torch.jit._serialization", "load", str(script) + ".pth"),
        "extension": ("torch.utils.cpp_extension", "load_inline", "x", code),
        "torch's processes": ("torch.multiprocessing.spawn", "spawn", None),
        "torch rpc": ("torch.distributed.rpc.internal", "_run_function", inner),
        "torch's library": ("torch._ops", "_OpNamespace", name),
        "torch's module": ("torch.nn.modules.module", "Module"),
        "torch's file": ("torch._C", "PyTorchFileWriter", name),
        "from_file": ("torch._C", "UntypedStorage._from_file", name),
        "numpy.load": ("numpy", "load", str(script) + ".npy", None, True),
        "numpy.save": ("numpy", "save", name, 1),
        "numpy.savetxt": ("numpy", "savetxt", name, [1]),
        "numpy.memmap": ("numpy", "memmap", name, "uint8", "w+", 0, (1,)),
        "runstring": ("numpy.testing._private.utils", "runstring", code, {}),
        "joblib": ("joblib.numpy_pickle", "load", str(script) + ".pkl"),
        "ctypes": ("ctypes", "CDLL", name),
        "webbrowser": ("webbrowser", "open", "http://127.0.0.1:9"),
        "socket": ("socket", "create_connection", ("127.0.0.1", 9)),
        "sys.exit": ("sys", "exit", 0),
        "abort": ("posix", "_exit", 0),
        "kill": ("posix", "kill", 0, 0),
        "recursion": ("sys", "setrecursionlimit", 10),
        "ourselves": ("ancor.training.read_run", "read_run", name),
        "our unpickler": ("ancor.safe_io.pickles", "loads", inner, "x"),
        "our stand-in": ("ancor.safe_io.weights", "load", name),
        "partial": ("functools", "partial", len, "x"),
        "reduce": ("functools", "reduce", len, [1]),
        "methodcaller": ("operator", "methodcaller", "system", shell),
        "attrgetter": ("operator", "attrgetter", "system"),
        "namespace": ("types", "SimpleNamespace"),
        "code": ("types", "CodeType"),
        "weak": ("weakref", "finalize", len, len),
    }  # fmt: skip


def tricks(target: Path) -> dict[str, bytes]:
    """Pickles that reach for a function by a way around, or ask for what there is not."""
    shell = f"echo x > {target}"
    system = b"cposix\nsystem\n"
    run = system + unicode4(shell) + b"\x85R"
    ordered = b"ccollections\nOrderedDict\n)R"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n"
    return {
        "dropped": run + b"0N.",
        "in a state": ordered + b"}" + unicode4("x") + run + b"sb.",
        "slots": ordered + b"N}" + unicode4("__class__") + run + b"s\x86b.",
        "class by state": ordered + b"}" + unicode4("__class__") + system + b"sb.",
        "reduce by state": ordered + b"}" + unicode4("__reduce__") + system + b"sb.",
        "state of a class": b"ccollections\nOrderedDict\n}" + unicode4("x") + system + b"sb.",
        "state of a function": b"c_codecs\nencode\n}" + unicode4("__code__") + system + b"sb.",
        "item": ordered + unicode4("x") + run + b"s.",
        "key": b"}" + run + b"Ns.",
        "append": b"]" + run + b"a.",
        "memo": system + b"q\x01" + b"0h\x01" + unicode4(shell) + b"\x85R.",
        "large memo": system + b"r\x10\0\0\0" + b"0j\x10\0\0\0" + unicode4(shell) + b"\x85R.",
        "extension 1": b"\x82\x01.",
        "extension 4": b"\x84\x01\x00\x00\x00.",
        "persistent": b"\x80\x02" + system + unicode4(shell) + b"\x85RQ.",
        "persistent, in text": b"Pposix.system\n.",
        "persistent storage": b"\x80\x02(" + unicode4("storage") + system + unicode4("0")
        + unicode4("cpu") + b"K\x01tQ.",
        "place of a storage": b"\x80\x02(" + unicode4("storage") + b"ctorch\nFloatStorage\n"
        + unicode4("../../" + target.name) + unicode4("cpu") + b"K\x01tQ.",
        "tensor of a function": tensor + b"(" + run + b"K\x00)N\x89" + ordered + b"tR.",
        "hooks of a tensor": tensor + b"(NK\x00))\x89" + run + b"tR.",
        "parameter": b"ctorch._utils\n_rebuild_parameter\n(N\x89" + run + b"tR.",
        "type of a tensor": b"ctorch._tensor\n_rebuild_from_type_v2\n(" + system
        + b"cbuiltins\nlist\n" + unicode4(shell) + b"\x85NtR.",
        "new object": b"\x80\x02" + system + unicode4(shell) + b"\x85\x81.",
        "new object, by names": b"\x80\x04" + system + b")}\x92.",
        "obj": b"(" + system + unicode4(shell) + b"o.",
        "inst": b"(" + unicode4(shell) + b"iposix\nsystem\n.",
        "dotted": b"\x80\x04\x8c\x0bcollections\x8c\x19OrderedDict.__class__.mro\x93)R.",
        "dotted far": b"\x80\x04\x8c\x05torch\x8c\x17serialization.os.system\x93"
        + unicode4(shell) + b"\x85R.",
        "copyreg": b"ccopyreg\n_reconstructor\n(c_io\nFileIO\nc__builtin__\nobject\nNtR.",
        "frame beyond": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f" + run + b".",
        "frame in frame": b"\x80\x04\x95\x40\0\0\0\0\0\0\0\x95\x40\0\0\0\0\0\0\0" + run + b".",
        "two pickles": pickle.dumps({}) + run + b".",
        "twice": pickle.dumps([1]) + b"\x80\x02" + run + b".",
        "long number": b"\x80\x02\x8b\xff\xff\xff\x7f.",
        "long negative": b"\x80\x02\x8b\xff\xff\xff\xff.",
        "long string": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x3f.",
        "long bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x3f.",
        "long bytearray": b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x3f.",
        "out of band": b"\x80\x05\x97.",
        "empty stack": b"\x80\x02R.",
        "marks": b"(" * 100_000 + b".",
        "nested": b"]" * 50_000 + b"a" * 49_999 + b".",
        "laughs": laughs(30),
        "itself": b"]q\0h\0a.",
        "itself in a dict": b"}q\0" + unicode4("fine_labels") + b"h\0s.",
        "bad text": b"\x80\x02X\x02\0\0\0\xff\xfe.",
        "bad number": b"I12x\n.",
        "evil number": b"I__import__('os')\n.",
        "evil string": b"S'\\x41' + open('x')\n.",
        "no protocol": b"\x80\xff.",
        "no end": b"\x80\x02]",
        "array of functions": object_array_with(target),
        "array without end": b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"(J\xff\xff\xff\x7f\x85" + unicode4("b") + b"tR.",
        "dtype": b"cnumpy\ndtype\n(" + unicode4("O8") + b"\x89\x88tR.",
        "dtype of fields": b"cnumpy\ndtype\n(]" + run + b"a\x89\x88tR.",
        "scalar": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(" + unicode4("O8")
        + b"\x89\x88tR" + run + b"tR.",
    }  # fmt: skip


def laughs(depth: int) -> bytes:
    """Lists in lists, two in each: a hundred bytes that stand for 2 ** depth numbers."""
    content = b"\x80\x02]K\x01a" + b"q\x00"
    for level in range(depth):
        content += b"0]h" + bytes([level]) + b"ah" + bytes([level]) + b"aq" + bytes([level + 1])
    return b"\x80\x02}" + unicode4("fine_labels") + content[2:] + b"s."


def object_array_with(target: Path) -> bytes:
    return payloads(target)["object array"]


def old_torch(content: bytes) -> bytes:
    """A pickle in the place of the object in torch's older form."""
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, 1001, info))
    return head + content + pickle.dumps([], 2)


def zipped(members: dict[str, bytes], packed: bool = False) -> bytes:
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def linked(target: Path) -> bytes:
    """A zip file with a symbolic link to a folder, and a file in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("archive/link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, str(target.parent))
        archive.writestr("archive/link/" + target.name, b"x")
    return buffer.getvalue()


def tarred(target: Path, kind: str) -> bytes:
    """A tar file of the form that torch once wrote, with a member that leads out of it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            content = call("posix", "system", f"echo x > {target}")
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        info = tarfile.TarInfo("../" * 12 + str(target)[1:] if kind == "up" else str(target))
        if kind == "link":
            info = tarfile.TarInfo("storages")
            info.type, info.linkname = tarfile.SYMTYPE, str(target)
        archive.addfile(info)
    return buffer.getvalue()


def archives(target: Path) -> dict[str, bytes]:
    """Zip and tar files that would leave their place, or fill it."""
    up = "../" * 12 + str(target)[1:]
    evil = call("posix", "system", f"echo x > {target}")
    whole = in_zip(pickle.dumps({}, 2))
    return {
        "up.pth": zipped({up: b"x", "archive/data.pkl": evil}),
        "up, plain.pth": zipped({up: b"x", "archive/data.pkl": b"}.", "archive/version": b"3"}),
        "root.pth": zipped({str(target): b"x", "archive/data.pkl": b"}."}),
        "backslash.pth": zipped({"..\\..\\x": b"x", "archive/data.pkl": evil}),
        "twice.pth": zipped({"archive/data.pkl": b"}.", "b/data.pkl": evil}),
        "link.pth": linked(target),
        "bomb.pth": zipped({"archive/data.pkl": bytes(30 * 2**20)}, packed=True),
        "bomb, code.pth": zipped(
            {"archive/data.pkl": evil, "archive/code/x.py": b"1"}, packed=True
        ),
        "script.pth": zipped(
            {"archive/data.pkl": evil, "archive/constants.pkl": evil, "archive/code/a.py": b"x"}
        ),
        "cut.pth": whole[:-30],
        "wrong end.pth": whole[:-22] + whole[-22:].replace(b"\0", b"\xff"),
        "no pickle.pth": zipped({"archive/version": b"3"}),
        "no member.pth": zipped({}),
        "up.tar": tarred(target, "up"),
        "root.tar": tarred(target, "root"),
        "link.tar": tarred(target, "link"),
    }


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor_files() -> dict[str, bytes]:
    """Files in the form of safetensors that point outside themselves, or at each other's parts."""

    def one(**changed) -> bytes:
        entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changed}
        return safetensors({"conv1.weight": entry}, bytes(8))

    overlapping = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in ("a", "b")
    }
    return {
        "outside": one(data_offsets=[0, 2**40], shape=[2**38]),
        "before": one(data_offsets=[-8, 0]),
        "backwards": one(data_offsets=[8, 0]),
        "negative shape": one(shape=[-1, -2]),
        "shape wraps": one(shape=[2**32, 2**32], data_offsets=[0, 0]),
        "no bytes, large": one(shape=[0, 2**62], data_offsets=[0, 0]),
        "no bytes, many": one(shape=[0] * 100, data_offsets=[0, 0]),
        "fractions": one(shape=[1.5], data_offsets=[0, 6]),
        "words": one(shape="ab", data_offsets=["0", "8"]),
        "type": one(dtype=["F32"]),
        "unknown type": one(dtype="posix.system"),
        "overlapping": safetensors(overlapping, bytes(8)),
        "giant header": safetensors(b"{}", length=2**63),
        "header of all": safetensors(b"{}", length=2**31),
        "deep header": safetensors(b'{"a":' * 50_000),
        "long numbers": safetensors(b'{"a": ' + b"9" * 10_000 + b"}"),
        "list": safetensors([1, 2]),
        "number": safetensors(3),
        "nothing": safetensors({"a": None}),
        "twice": safetensors(b'{"a": 1, "a": 2}'),
        "bad text": safetensors(b"\xff\xfe{}"),
        "a pickle": call("posix", "system", "true"),
    }


def array_files(target: Path) -> dict[str, bytes]:
    """.npz files with pickles in them, or that unpack to more than there is."""

    def npy(header: str, content: bytes = b"") -> bytes:
        text = header.encode() + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content

    evil = call("posix", "system", f"echo x > {target}")
    plain = "{{'descr': {}, 'fortran_order': False, 'shape': {}}}"
    code = f"__import__('os').system('echo x > {target}')"
    made = {
        "objects": npy(plain.format("'|O'", "(1,)"), evil),
        "objects in fields": npy(plain.format("[('a', '|O')]", "(1,)"), evil),
        "code as header": npy(code),
        "code as type": npy(plain.format(code, "(1,)")),
        "large": npy(plain.format("'|u1'", "(99999999, 84, 84, 3)")),
        "wraps": npy(plain.format("'|u1'", "(4294967296, 4294967296, 1, 3)")),
        "negative": npy(plain.format("'|u1'", "(-1, 84, 84, 3)")),
        "deep header": npy("(" * 5000),
        "no array": b"just text",
        "a pickle": evil,
    }
    files = {name: zipped({"images.npy": content}) for name, content in made.items()}
    files["bomb"] = zipped({"images.npy": bytes(30 * 2**20)}, packed=True)
    files["up"] = zipped({"../" * 12 + str(target)[1:]: b"x", "images.npy": made["objects"]})
    files["no zip"] = evil
    return files


def configs(target: Path) -> dict[str, bytes]:
    """JSON where a run's settings are expected: other types, other sizes, code."""
    code = f"__import__('os').system('echo x > {target}')"
    base = {"encoder": {}, "method": {}, "data": {"dataset": "digits"}, "training": {}}

    def changed(section: str, **values) -> bytes:
        return json.dumps({**base, section: {**base[section], **values}}).encode()

    return {
        "code": code.encode(),
        "pickle": call("posix", "system", f"echo x > {target}"),
        "deep": b"[" * 100_000,
        "infinite": b'{"encoder": Infinity}',
        "many digits": b"9" * 10_000,
        "code as a name": changed("data", dataset=code),
        "code as a number": changed("training", epochs=code),
        "number as a path": changed("data", root=3),
        "list as a path": changed("data", root=[1]),
        "NUL in a path": changed("data", root="a\0b"),
        "object as a number": changed("encoder", dim={"__class__": code}),
        "large": changed("encoder", dim=10**15),
        "large queue": changed("method", queue_length=10**18),
        "sections": b'{"encoder": [], "method": 1, "data": "x", "training": null}',
        "name of a file": changed("training", pretrained=str(target)),
    }


def prepare(target: Path) -> None:
    """Write the files that some calls would read."""
    script = target.with_suffix(".script.py")
    code = f"open({str(target)!r}, 'w').write('x')\ndef canary(): pass\n"
    inner = call("posix", "system", f"echo x > {target}")
    script.write_text(code)
    (script.parent / "hubconf.py").write_text(code)
    Path(f"{script}.pth").write_bytes(old_torch(inner))
    Path(f"{script}.pkl").write_bytes(inner)
    Path(f"{script}.npy").write_bytes(
        b"\x93NUMPY\x01\x00\x3a\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n" + inner
    )


def pickles(target: Path) -> Iterator[tuple[str, bytes]]:
    """All pickles, each once, by name."""
    yield from ((f"form: {name}", content) for name, content in payloads(target).items())
    for number, (name, parts) in enumerate(calls(target).items()):
        yield f"call: {name}", (call, call_by_stack)[number % 2](*parts)
    yield from ((f"trick: {name}", content) for name, content in tricks(target).items())


WRAPPED: tuple[Callable[[bytes], bytes], ...] = (bytes, in_zip, old_torch)
