"""Small datasets of every layout, whole, odd and broken, written into a folder by a drawn plan."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from tests.made import cifar100, tiered, write
from tests.robustness.fixtures import ODD_NAMES
from tests.robustness.odd_files import idx_files, images, tables, write_all

IMAGES, TABLES, IDX = images(), tables(), idx_files()
NAMES = ("a", "b", "c d", ".hidden", "-x", "con", "café", "\udcff\udcfe", "x" * 200, *ODD_NAMES)
SUFFIXES = (".png", ".jpg", ".JPEG", ".tiff", ".webp", ".gif", ".txt", "", ".png.gz")
BROKEN = (
    "floats",
    "32-bit",
    "empty",
    "text",
    "zeros",
    "cut",
    "JPEG's",
    "changed",
    "no pixels",
    "huge",
)
BROKEN += ("one row", "one column", "large", "bomb", "TIFF bomb", "PostScript", "SVG", "pickle")
SOUND = [name for name in IMAGES if not name.startswith(BROKEN)]
# Values that stand where a pickle should have something else.
VALUES = (
    *(None, 1, -1, 2.5, "x", b"x", [], {}, (), [1, "a"], [[1], [2, 3]], [None] * 6, {"x": 1}),
    *(np.zeros(0), np.zeros(6), np.arange(6), np.zeros((2, 3)), np.array(3), np.array("a")),
    *(np.array([1, None, "x"], dtype=object), np.full(6, 2**62), [2**70] * 6, [-1] * 6, "x" * 6),
    *(
        np.zeros((6, 3072), np.float32),
        np.zeros((6, 3071), np.uint8),
        np.zeros((0, 3072), np.uint8),
    ),
)


@st.composite
def folder_tree(draw, root: Path) -> list[str]:
    """Folders of classes, with files of every kind, sometimes links and files in odd places."""
    layout = draw(st.sampled_from((*["divided"] * 4, *["bare"] * 3, "deep", "nothing")))
    parts = {"divided": ("train", "val", "test"), "bare": ("",), "deep": ("train", "val")}
    sound = draw(st.booleans())
    content = st.sampled_from(SOUND if sound else [*SOUND * 5, *IMAGES])
    suffix = st.sampled_from(SUFFIXES[:4] if sound else [*SUFFIXES[:4] * 5, *SUFFIXES])
    count = st.sampled_from((5, 9) if sound else (0, 1, 3, 5))
    for part in parts.get(layout, ()):
        for coarse in draw(
            st.lists(st.sampled_from(NAMES), min_size=int(sound), max_size=3, unique=True)
        ):
            levels = 1 if part in ("train", "") else 2
            levels += layout == "deep" and draw(st.booleans())
            for fine in range(1 if levels == 1 else 2):
                place = root / part / coarse
                for depth in range(levels - 1):
                    place /= f"{coarse[:50]} {fine} {depth}"
                place.mkdir(parents=True, exist_ok=True)
                for number in range(draw(count)):
                    name = f"{number}{draw(suffix)}"
                    (place / name).write_bytes(IMAGES[draw(content)])
    root.mkdir(exist_ok=True)
    for _ in range(draw(st.sampled_from((0, 0, 0, 0, 1, 2)))):
        _spoil(draw, root)
    return ["--dataset", "folder", "--image-size", "16"]


def _spoil(draw, root: Path) -> None:
    """Put something odd into one of the folders."""
    folders = sorted(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())
    folder = draw(st.sampled_from([root, *folders]))
    kind = draw(st.sampled_from(("loop", "up", "nowhere", "out", "file", "pipe", "dir", "secret")))
    target = {"loop": "loop.png", "up": "..", "nowhere": "nothing", "out": "/etc", "secret": "/"}
    try:
        if kind == "file":
            (folder / "stray.png").write_bytes(IMAGES["whole PNG"])
        elif kind == "dir":
            (folder / "folder.png").mkdir()
        elif kind == "pipe":
            os.mkfifo(folder / "pipe.png")
        elif kind == "secret":
            (folder / "secret.png").write_bytes(IMAGES["whole PNG"])
            os.chmod(folder / "secret.png", 0)
        else:
            os.symlink(target[kind], folder / ("loop.png" if kind == "loop" else kind))
    except FileExistsError:
        pass


@st.composite
def table(draw, root: Path) -> list[str]:
    """A labels.csv with images beside it."""
    content = st.sampled_from(SOUND if draw(st.booleans()) else [*SOUND * 5, *IMAGES])
    for number in range(10):
        name = draw(content)
        path = root / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(IMAGES[name])
    content = bytearray(TABLES[draw(st.sampled_from([*["whole"] * 30, *TABLES]))])
    for _ in range(draw(st.sampled_from((0, 0, 0, 0, 1, 3)))):
        if content:
            at = draw(st.integers(0, len(content) - 1))
            content[at] = draw(st.sampled_from(b'\0\n\r",/.\\ \xff\x80x'))
    (root / "labels.csv").write_bytes(content)
    line = ["--dataset", "folder", "--image-size", "16"]
    return [*line, "--allow-outside-root"] if draw(st.integers(0, 9)) == 5 else line


@st.composite
def idx_set(draw, root: Path) -> list[str]:
    """Fashion-MNIST's four files."""
    root.mkdir()
    for part in ("train", "t10k"):
        for kind, name in (("images", "images-idx3"), ("labels", "labels-idx1")):
            content = IDX[draw(st.sampled_from([*[kind] * 60, *IDX]))]
            packed = draw(st.booleans()) if content[:2] != b"\x1f\x8b" else True
            if draw(st.integers(0, 39)) == 7:
                continue
            (root / f"{part}-{name}-ubyte{'.gz' if packed else ''}").write_bytes(
                content if not packed or content[:2] == b"\x1f\x8b" else _gzip(content)
            )
    return ["--dataset", "fashion-mnist"]


def _gzip(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content, 1)


@st.composite
def cifar(draw, root: Path) -> list[str]:
    """CIFAR-100's pickles with something else in a place or two, or cut off."""
    cifar100(root, images=1)
    folder = root / "cifar-100-python"
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 2)))):
        path = folder / draw(st.sampled_from(("train", "test", "meta")))
        _change_pickle(draw, path)
    return ["--dataset", "cifar100"]


@st.composite
def tiered_set(draw, root: Path) -> list[str]:
    """tieredImageNet's pickles or .npz files with something else in a place or two, or cut off."""
    tiered(root, images=6, as_array=draw(st.booleans()))
    if draw(st.booleans()):
        for part in ("train", "val"):
            (root / f"{part}_images_png.pkl").unlink()
            shape = draw(
                st.sampled_from([(24, 84, 84, 3)] * 4 + [(24, 3), (0, 84, 84, 3), (9, 1, 1, 3)])
            )
            kind = draw(st.sampled_from((np.uint8, np.uint8, np.uint8, np.float32, object)))
            np.savez(root / f"{part}_images.npz", images=np.zeros(shape, kind))
    for _ in range(draw(st.sampled_from((0, 1, 1, 2)))):
        _change_pickle(draw, draw(st.sampled_from(sorted(root.glob("*")))))
    return ["--dataset", "tiered"]


def _change_pickle(draw, path: Path) -> None:
    """Cut a file, change a byte, or exchange a value of the dict or list in it."""
    content = path.read_bytes()
    kind = draw(st.sampled_from(("value", "value", "value", "cut", "byte", "whole", "image")))
    if kind == "cut" or not content or (kind != "byte" and path.suffix == ".npz"):
        path.write_bytes(content[: draw(st.integers(0, len(content)))])
    elif kind == "byte":
        at = draw(st.integers(0, min(len(content) - 1, 400)))
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
    else:
        try:
            value = pickle.loads(content)
        except Exception:  # changed before
            return
        other = draw(st.sampled_from(VALUES))
        if kind == "whole":
            value = other
        elif isinstance(value, dict) and value:
            value[draw(st.sampled_from(sorted(value, key=str)))] = other
        elif isinstance(value, list) and value:
            odd = IMAGES[draw(st.sampled_from(sorted(IMAGES)))]
            value[draw(st.integers(0, len(value) - 1))] = odd if kind == "image" else other
        path.write_bytes(pickle.dumps(value, draw(st.integers(2, 5))))


@st.composite
def imagenet_set(draw, root: Path) -> list[str]:
    """Folders of BREEDS' classes that are nearly all missing, and hierarchy files that are none."""
    for wnid in draw(
        st.lists(st.sampled_from(("n01484850", "n02085620", "x", "\udcff")), max_size=3)
    ):
        write(root / draw(st.sampled_from(("train", "val"))) / wnid / "1.JPEG")
    root.mkdir(exist_ok=True)
    info = {
        "dataset_class_info.json": b"[]",
        "class_hierarchy.txt": b"a b\n",
        "node_names.txt": b"a\tb\n",
    }
    odd = (b"", b"\xff\xfe", b"{", b'[[0, "x"]]', b"a a\n", b"\0\n", b"a b\nb a\n", b"1\t2\t3\n")
    if draw(st.booleans()):
        for name in info:
            if draw(st.integers(0, 2)):
                info[name] = draw(st.sampled_from(odd))
        write_all(root / "BREEDS", info)
    line = ["--dataset", draw(st.sampled_from(("living17", "breeds"))), "--image-size", "16"]
    return [*line, "--breeds-level", draw(st.sampled_from(("0", "1", "3")))]


@st.composite
def aircraft_set(draw, root: Path) -> list[str]:
    """FGVC-Aircraft's lists, whole or changed."""
    from tests.made import aircraft

    aircraft(root, images=2)
    data = root / "fgvc-aircraft-2013b" / "data"
    for _ in range(draw(st.sampled_from((0, 1, 2)))):
        path = draw(st.sampled_from(sorted(data.glob("*.txt"))))
        odd = (
            b"",
            b"\xff\xff\n",
            b"000000\n",
            b"../../x 707\n",
            b"\0\n",
            b"1 2 3\n",
            b"000001 707-320\n",
        )
        path.write_bytes(
            draw(st.sampled_from(odd)) + draw(st.sampled_from((b"", path.read_bytes())))
        )
    if draw(st.booleans()):
        path = draw(st.sampled_from(sorted((data / "images").glob("*.jpg"))))
        path.write_bytes(IMAGES[draw(st.sampled_from(sorted(IMAGES)))])
    return ["--dataset", "aircraft", "--image-size", "16"]


LAYOUTS: dict[str, Callable] = {
    "folders": folder_tree,
    "labels.csv": table,
    "IDX": idx_set,
    "CIFAR": cifar,
    "tiered": tiered_set,
    "ImageNet": imagenet_set,
    "Aircraft": aircraft_set,
}
