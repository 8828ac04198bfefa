"""The page's server: where it listens, under which address, and until when."""

import os
import secrets
import socket
from pathlib import Path
from typing import Any

from ancor.data.partition import Partition
from ancor.errors import InputError
from ancor.evaluation.models import Model
from ancor.fewshot.labeling import kept, pictures
from ancor.fewshot.labeling.session import Session

try:
    import uvicorn

    from ancor.fewshot.app.guard import LOOPBACK, Guard
    from ancor.fewshot.app.routes import Routes, build
except ImportError:  # the extra "app"
    uvicorn = None


def require_packages() -> None:
    """Raise an InputError where the packages of the extra "app" are not installed."""
    if uvicorn is None:
        raise InputError("the page needs Starlette and uvicorn: pip install 'ancor-toolkit[app]'")


def read_session(model: Model, partition: Partition, folder: Path, **options: Any) -> Session:
    """Begin a session, or go on with the one in the folder; `options` are of `pictures.read`."""
    if model.data is not None and model.data.root is not None:
        kept.prepare(folder, model.data.root)  # before time is spent on features
    return Session(pictures.read(model, partition, **options), folder)


class Server:
    """Listens at once, until its block ends; what is asked waits for `run`.

    Args:
        host: name or number of a network interface of this machine. Where it is another than the
            loopback's, a browser has to hold a token, which is in `address` and in nothing else.
        port: 0: one that is free.

    Attributes:
        address: what to open in a browser.

    Raises:
        InputError: there is no such interface, or the port is taken.
    """

    def __init__(self, host: str, port: int) -> None:
        require_packages()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self.socket = socket.create_server((host, port), family=family)
        except (OSError, OverflowError) as error:  # the latter of a port that is none
            known = isinstance(error, OSError) and error.errno and error.errno > 0
            reason = os.strerror(error.errno) if known else error
            raise InputError(
                f"cannot listen at `host` {host} `port` {port} ({reason}); give another port, or 0 "
                "for a free one"
            ) from error
        self._token = None if host in LOOPBACK else secrets.token_urlsafe(24)
        name = socket.gethostname() if host in ("0.0.0.0", "::") else host
        place = f"[{name}]" if ":" in name else name
        self.address = f"http://{place}:{self.socket.getsockname()[1]}/"
        if self._token is not None:
            self.address += f"?token={self._token}"

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def run(self, session: Session, encoder: str, start: str = "") -> None:
        """Serve a session's page until the user interrupts.

        Args:
            session: whose labels.
            encoder: what the page calls the encoder.
            start: what a command of training adds to start from the encoder, quoted for a shell.
        """
        app = Guard(build(Routes(session, encoder, start)), self._token)
        config = uvicorn.Config(
            app,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        try:
            uvicorn.Server(config).run(sockets=[self.socket])
        except KeyboardInterrupt:  # the way to end it
            return
