"""Published weights on this machine: from a cache, else over the network."""

import contextlib
import os
import socket
import sys
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import torch

from ancor.errors import InputError
from ancor.models.libraries import Published

SECONDS = 3.0  # that a host may take to answer


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


def _of_hub(weights: Published) -> Path | None:
    """Return the file in the hub's cache, or fetch it; None: a URL is known, and the hub fails."""
    try:
        import huggingface_hub as hub
    except ImportError:
        return None
    repository, _, revision = weights.repository.partition("@")
    place = {"repo_id": repository, "filename": weights.file, "revision": revision or None}
    found = hub.try_to_load_from_cache(**place)
    if isinstance(found, str):
        return Path(found)
    if weights.url and _url_path(weights.url).exists():
        return _url_path(weights.url)
    try:
        if not _answers(hub.constants.ENDPOINT):
            raise OSError("no network")
        return Path(hub.hf_hub_download(**place, etag_timeout=SECONDS))
    except _network_errors() as error:
        raise _not_here(weights, f"{repository}/{weights.file} on the hub", error) from error


def _of_url(weights: Published) -> Path:
    path = _url_path(weights.url)
    if path.exists():
        return path
    try:
        if not _answers(weights.url):
            raise OSError("no network")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(weights.url, str(path), progress=False)
    except _network_errors() as error:
        raise _not_here(weights, weights.url, error) from error
    return path


def _url_path(url: str) -> Path:
    """Return where torch keeps what it fetches from a URL."""
    return Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(urlsplit(url).path)


def _not_here(weights: Published, place: str, error: Exception) -> InputError:
    why = str(error).strip().partition("\n")[0]
    return InputError(
        f"the weights {weights.name} are not on this machine, and {place} cannot be fetched "
        f"({why:.100}); fetch it elsewhere, and give `pretrained` its path"
    )


def _network_errors() -> tuple[type[Exception], ...]:
    """List what a download may raise; the hub's own client has errors of its own."""
    client = getattr(sys.modules.get("httpx"), "HTTPError", OSError)
    return OSError, ValueError, RuntimeError, client


def _answers(url: str) -> bool:
    """Return whether a URL's host, or the proxy on the way to it, takes connections in time.

    The libraries would try again for most of a minute; looking up a name has no limit of its own.
    """
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    reached: list[bool] = []

    def reach() -> None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((parts.hostname or "", port), timeout=SECONDS),
        ):
            reached.append(True)

    thread = Thread(target=reach, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return bool(reached)
