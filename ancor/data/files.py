"""Finding a dataset's files under its root, and fetching them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ancor.errors import InputError
from ancor.safe_io.own_files import hint

if TYPE_CHECKING:
    from ancor.data.catalog import DataConfig

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


class Listing(NamedTuple):
    """What lies in a folder: names of images and of subfolders, both sorted."""

    images: list[str]
    folders: list[str]


def listing(folder: Path | str) -> Listing:
    """List a folder. Hidden entries and files of other kinds are left out; links are followed.

    Raises:
        InputError: the folder cannot be read, or an entry is a link that leads nowhere or back to
            a folder that it lies in.
    """
    images, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():
                    _check_link(entry.path, folder)
                if entry.is_dir():
                    folders.append(entry.name)
                elif entry.name.lower().endswith(EXTENSIONS) and entry.is_file():
                    images.append(entry.name)
    except OSError as error:
        raise InputError(
            f"cannot read the folder {str(folder)!r} ({error.strerror}); check the path and its "
            "permissions"
        ) from error
    return Listing(sorted(images), sorted(folders))


def _check_link(path: str, folder: Path | str) -> None:
    target, home = os.path.realpath(path), os.path.realpath(folder)
    if not os.path.exists(target):
        raise InputError(f"{path!r} is a link that leads nowhere or to itself; remove it")
    if os.path.commonpath([target, home]) == target:
        raise InputError(
            f"{path!r} is a link to a folder that it lies in, {target!r}: a loop; remove the link"
        )


def required_root(config: "DataConfig", layout: str) -> Path:
    """Return the folder of `--data`; InputError where none is given or it does not exist.

    Args:
        config: the DataConfig.
        layout: what has to lie there, for the message.
    """
    if config.root is None:
        raise InputError(f"{config.dataset} needs --data DIR, a folder that holds {layout}")
    root = Path(config.root)
    if not root.is_dir():
        raise InputError(
            f"--data {str(root)!r} is no folder; {config.dataset} needs one with {layout}"
            f"{hint(root)}"
        )
    return root


def download(config: "DataConfig", reader: str, **options: object) -> None:
    """Fetch a dataset into `config.root` by the torchvision dataset of the name `reader`.

    Raises:
        InputError: no root is given, or fetching failed.
    """
    import torchvision

    if config.root is None:
        raise InputError("--download needs --data DIR, the folder to put the files into")
    try:
        getattr(torchvision.datasets, reader)(config.root, download=True, **options)
    except (OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{config.dataset} could not be downloaded into {config.root!r} ({reason}); "
            "try again, or put the files there by hand"
        ) from error
