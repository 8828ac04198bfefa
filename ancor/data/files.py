"""Finding a dataset's files under its root, and fetching them."""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import features

from ancor.errors import InputError, capped
from ancor.runtime.lazy import Lazy
from ancor.safe_io.own_files import hint

datasets = Lazy("torchvision.datasets")  # takes long to import, and only downloads need it

# What is read: the readers of Pillow that only decode (its PostScript reader, for one, runs a
# program), and the ends of names that folders are searched for.
KINDS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
}
ENDS = tuple(end for ends in KINDS.values() for end in ends)
OPTIONAL = {"AVIF": "avif", "JPEG2000": "jpg_2000"}  # what Pillow calls them; not always built in
HOW_TO_READ = {
    "HEIF": "pip install pillow-heif to read them",
    **dict.fromkeys(OPTIONAL, "install a newer Pillow to read them"),
}
# What systems leave in folders, beside names that begin with a dot.
LITTER = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found"}


@cache
def formats() -> tuple[str, ...]:
    """Name the `KINDS` that can be read here."""
    known = {**features.modules, **features.codecs}
    lacking = {kind for kind, name in OPTIONAL.items() if not (name in known and _has(name))}
    if heif_version() is None:
        lacking.add("HEIF")
    return tuple(kind for kind in KINDS if kind not in lacking)


@cache
def heif_version() -> str | None:
    """Have Pillow read HEIC by pillow-heif, and return its version; None: it is not installed."""
    try:
        import pillow_heif
    except ImportError:
        return None
    pillow_heif.register_heif_opener()
    return pillow_heif.__version__


def _has(feature: str) -> bool:
    return bool(features.check(feature))


@cache
def extensions() -> tuple[str, ...]:
    """List the ends of the names of image files that can be read here."""
    return tuple(end for kind in formats() for end in KINDS[kind])


class Listing(NamedTuple):
    """A folder's images, subfolders and files that are not read: their names, sorted."""

    images: list[str]
    folders: list[str]
    others: list[str]


def listing(folder: Path | str, links_matter: bool = True) -> Listing:
    """List a folder; links are followed. What systems leave there and hidden entries are left out.

    A hidden file that is named like an image, and a hidden folder that holds images, count among
    what is not read.

    Args:
        folder: its path.
        links_matter: whether links that lead nowhere, or back, are errors.

    Raises:
        InputError: the folder cannot be read, or an entry is a link that leads nowhere or back to
            a folder that it is in.
    """
    images, folders, others = [], [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name, hidden = entry.name.lower(), entry.name.startswith(".")
                picture = name.endswith(extensions())
                # "._x.jpg" is what macOS keeps about x.jpg.
                if name in LITTER or name.startswith("._"):
                    continue
                if hidden and not picture:
                    if entry.is_dir() and _holds_images(entry.path):
                        others.append(f"{entry.name}/")
                    continue
                if links_matter and entry.is_symlink():
                    _check_link(entry.path, folder)
                if entry.is_dir():
                    if not hidden:
                        folders.append(entry.name)
                else:
                    read = picture and not hidden and entry.is_file()
                    (images if read else others).append(entry.name)
    except OSError as error:
        raise InputError(
            f"cannot read the folder {str(folder)!r} ({error.strerror}); check the path and its "
            "permissions"
        ) from error
    return Listing(sorted(images), sorted(folders), sorted(others))


def _holds_images(folder: str, depth: int = 2) -> bool:
    """Return whether images are in a folder, or in a folder of it."""
    try:
        with os.scandir(folder) as entries:
            inside = list(entries)
    except OSError:
        return False
    return any(entry.name.lower().endswith(extensions()) for entry in inside) or any(
        _holds_images(entry.path, depth - 1) for entry in inside if depth > 1 and entry.is_dir()
    )


def folders_below(root: Path | str, apart: Collection[str] = ()) -> Iterator[tuple[str, Listing]]:
    """Yield each folder below a root, and itself, once: its real path and what it holds.

    Links that lead out of the root are followed to no folder but those of `apart`.

    Raises:
        InputError: a folder cannot be read.
    """
    home = os.path.realpath(root)
    waiting, seen = [home, *apart], set()
    while waiting:
        folder = waiting.pop()
        outside = folder not in apart and os.path.commonpath([home, folder]) != home
        if folder in seen or outside:
            continue
        seen.add(folder)
        inside = listing(folder, links_matter=False)
        waiting += [os.path.realpath(os.path.join(folder, name)) for name in inside.folders]
        yield folder, inside


def left_out(names: Iterable[str]) -> list[str]:
    """Return the lines on what is not read: hidden folders; files, and what reads their kinds.

    Args:
        names: theirs, of folders with a slash behind; without any there is no line.
    """
    names = list(names)
    hidden = [name for name in names if name.endswith("/")]
    counts = Counter(_kind(name) for name in names if not name.endswith("/"))
    lines = (
        [f"hidden folders of images are not read: {capped(map(repr, hidden))}"] if hidden else []
    )
    if not counts:
        return lines
    advice = [
        f"; {ends[0]}: {HOW_TO_READ[kind]}"
        for kind, ends in KINDS.items()
        if kind not in formats() and counts.keys() & set(ends)
    ]
    files = f"{counts.total()} file{'s are' if counts.total() > 1 else ' is'} not read"
    most = [f"{count} {kind}" for kind, count in counts.most_common(5)]
    more = [f"{len(counts) - 5} more kinds"] if len(counts) > 5 else []
    return [*lines, f"{files}: {', '.join(most + more)}{''.join(advice)}"]


def _kind(name: str) -> str:
    if name.startswith("."):
        return "hidden"
    end = os.path.splitext(name)[1].lower()
    return (end if end.isprintable() else repr(end)) or "without an extension"


def _check_link(path: str, folder: Path | str) -> None:
    target, home = os.path.realpath(path), os.path.realpath(folder)
    if not os.path.exists(target):
        raise InputError(f"{path!r} is a link that leads nowhere or to itself; remove it")
    if os.path.commonpath([target, home]) == target:
        raise InputError(
            f"{path!r} is a link to a folder that it is in, {target!r}: a loop; remove the link"
        )


def required_root(dataset: str, root: str | None, layout: str) -> Path:
    """Return the folder of a dataset; InputError where none is given or it does not exist.

    Args:
        dataset: its name.
        root: the folder.
        layout: what has to be in it, for the message.
    """
    if root is None:
        raise InputError(
            f"{dataset} needs `root` DIR, a folder that holds {layout}; or give another `dataset`: "
            "digits needs no files"
        )
    if not Path(root).is_dir():
        raise InputError(
            f"`root` {root!r}: expected a folder that holds {layout}{hint(Path(root))}"
        )
    return Path(root)


def download(dataset: str, root: str | None, reader: str, **options: object) -> None:
    """Fetch a dataset into `root` by the torchvision dataset of the name `reader`.

    Raises:
        InputError: no root is given, or fetching failed.
    """
    if root is None:
        raise InputError("`download` needs `root`, the folder to put the files into")
    try:
        getattr(datasets, reader)(root, download=True, **options)
    except (OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{dataset} could not be downloaded into {root!r} ({reason}); "
            "try again, or put the files there by hand"
        ) from error


def clone(dataset: str, root: str | None, address: str, name: str) -> None:
    """Fetch the newest state of a git repository as the folder `name` in `root`, whole or not.

    Raises:
        InputError: no root is given, git is not installed, or fetching failed.
    """
    if root is None:
        raise InputError("`download` needs `root`, the folder to put the files into")
    by_hand = f"git clone {address} in {root!r} by hand"
    if shutil.which("git") is None:
        raise InputError(f"{dataset} is downloaded by git, which is not installed; {by_hand}")
    if (Path(root) / name).exists():
        raise InputError(
            f"{str(Path(root) / name)!r} is there already and does not hold all of {dataset}; "
            "remove it, or name another `root`"
        )
    Path(root).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".clone-") as place:
        done = subprocess.run(
            shlex.split(f"git clone -q --depth 1 {shlex.quote(address)} {name}"),
            cwd=place,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            raise InputError(
                f"{dataset} could not be downloaded from {address} into {root!r} ({said[-1]}); "
                f"try again, or {by_hand}"
            )
        os.rename(os.path.join(place, name), Path(root) / name)
