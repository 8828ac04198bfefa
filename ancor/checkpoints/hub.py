"""Published weights on this machine: from a cache, else over the network."""

import os
import re
import shutil
import ssl
import sys
import time
from http.client import HTTPException
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from types import ModuleType
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch

from ancor.errors import InputError
from ancor.models.libraries import Published
from ancor.models.names import HUB, library_of
from ancor.safe_io.writing import atomic_write

SHARED = "model.safetensors"  # the file of a pushed encoder
TORCH = "https://download.pytorch.org"  # has the weights of torchvision
NO_NETWORK = "no network"
SECONDS = 3.0  # that a host may take to answer
STALLED = 30.0  # seconds without a byte, after which a download is given up
CLIENTS = ("httpx", "httpx2")  # of the Hugging Face hub, by its version


def fetched(weights: Published) -> Path:
    """Return the file of published weights, fetched if no cache has it.

    The caches are the Hugging Face hub's (HF_HOME) and torch's (TORCH_HOME).

    Raises:
        InputError: it is in no cache and cannot be fetched; within seconds without a network.
    """
    if weights.repository:
        found = _of_hub(weights)
        if found is not None:
            return found
    if weights.url:
        return _of_url(weights)
    raise InputError(f"the weights {weights.name} have no address; give a file of them")


def shared(source: str) -> Path:
    """Return the file of an encoder that was pushed to the hub, fetched if no cache has it.

    Args:
        source: `hf-hub:OWNER/NAME`, or `hf-hub:OWNER/NAME@REVISION`.

    Raises:
        InputError: it is named otherwise, or cannot be had; see `fetched`.
    """
    repository = source.removeprefix(HUB)
    check_repository(repository.partition("@")[0])
    require()
    return fetched(Published(source, repository=repository, file=SHARED))


def check_repository(name: str) -> None:
    """Raise an InputError where a repository's name is not of the form OWNER/NAME."""
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII):
        raise InputError(f"repository {name!r:.200}: expected OWNER/NAME")


def require() -> ModuleType:
    """Return the hub's client; InputError where it is not installed."""
    if find_spec("huggingface_hub") is None:
        raise InputError("the hub needs huggingface_hub: pip install 'ancor-toolkit[hub]'")
    return import_module("huggingface_hub")


def endpoint() -> str:
    """Return the address of the hub that the client speaks to."""
    return import_module("huggingface_hub.constants").ENDPOINT


def _of_hub(weights: Published) -> Path | None:
    """Return the file in the hub's cache, or fetch it; None: a URL is known, and the hub fails."""
    if find_spec("huggingface_hub") is None:
        return None
    hub = require()
    repository, _, revision = weights.repository.partition("@")
    place = {"repo_id": repository, "filename": weights.file, "revision": revision or None}
    found = hub.try_to_load_from_cache(**place)
    if isinstance(found, str):
        return Path(found)
    if weights.url and _url_path(weights.url).exists():
        return _url_path(weights.url)
    try:
        check_answers(hub.hf_hub_url(**place))
        return Path(hub.hf_hub_download(**place, etag_timeout=SECONDS))
    except network_errors() as error:
        raise _not_here(weights, f"{repository}/{weights.file} on the hub", error) from error


def _of_url(weights: Published) -> Path:
    path = _url_path(weights.url)
    if path.exists():
        return path
    try:
        check_answers(weights.url)
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(weights.url, path)
    except network_errors() as error:
        raise _not_here(weights, weights.url, error) from error
    return path


def _url_path(url: str) -> Path:
    """Return where torch keeps what it fetches from a URL."""
    return _torch_cache() / os.path.basename(urlsplit(url).path)


def _torch_cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _not_here(weights: Published, place: str, error: Exception) -> InputError:
    why = str(error).strip().partition("\n")[0]
    given = "its path" if weights.name.startswith(HUB) else "`pretrained` its path"
    return InputError(
        f"the weights {weights.name} are not on this machine, and {place} cannot be fetched "
        f"({why:.100}); fetch it elsewhere, and give {given}"
    )


def network_errors() -> tuple[type[Exception], ...]:
    """List what a download may raise; the hub's own client has errors of its own."""
    loaded = (sys.modules[name] for name in CLIENTS if name in sys.modules)
    return OSError, ValueError, RuntimeError, HTTPException, *(c.HTTPError for c in loaded)


def _download(url: str, path: Path) -> None:
    """Fetch a file; it is there under its name if it is whole."""
    with urlopen(url, timeout=STALLED) as answer, atomic_write(path) as file:
        shutil.copyfileobj(answer, file)
        expected = answer.headers["Content-Length"]
        if expected is not None and file.tell() != int(expected):
            raise OSError(f"{file.tell()} of {expected} bytes came")


def ask_ahead(arch: str) -> None:
    """Ask the host of a library's weights for an answer, while the library is imported.

    `check_answers` then has not to wait for it. Nobody is asked where a cache has weights under
    the backbone's name.

    Args:
        arch: the backbone's name.
    """
    of, name = library_of(arch)
    if of == "torchvision":
        host, kept = TORCH, _torch_cache().glob(f"{name.partition('.')[0]}*")
    elif of == "timm" and find_spec("huggingface_hub") is not None:
        host, cache = endpoint(), Path(import_module("huggingface_hub.constants").HF_HUB_CACHE)
        kept = cache.glob(f"models--timm--{name}*")
    else:
        return
    if next(kept, None) is None:
        _AHEAD[_host(host)] = _Question(host)


def check_answers(url: str) -> None:
    """Raise an OSError where nothing comes from a URL's host, or the proxy on the way, in time.

    The libraries would try again for most of a minute.
    """
    ahead = _AHEAD.pop(_host(url), None)
    silent = ahead is not None and ahead.trouble() == NO_NETWORK
    trouble = NO_NETWORK if silent else _Question(url).trouble()
    if trouble:
        raise OSError(trouble)


class _Question:
    """What keeps a host from answering, asked in a thread: looking up a name has no limit."""

    def __init__(self, url: str) -> None:
        self._trouble, self._until = NO_NETWORK, time.monotonic() + SECONDS
        self._thread = Thread(target=self._ask, args=(url,), daemon=True)
        self._thread.start()

    def trouble(self) -> str:
        """Wait for the answer, in all `SECONDS`, and return what is wrong; '': nothing."""
        self._thread.join(max(0.0, self._until - time.monotonic()))
        return self._trouble

    def _ask(self, url: str) -> None:
        try:
            urlopen(Request(url, method="HEAD"), timeout=SECONDS).close()
            self._trouble = ""
        except HTTPError as error:  # others, such as one for a name that is not there, are answers
            waits = error.code >= 500 or error.code == 429
            self._trouble = f"{error.code} {error.reason}" if waits else ""
        except (OSError, HTTPException) as error:
            if isinstance(getattr(error, "reason", error), ssl.SSLError):
                self._trouble = ""  # the libraries know other certificates


def _host(url: str) -> str:
    return urlsplit(url).netloc


_AHEAD: dict[str, _Question] = {}  # by host
