"""Files that one process at a time may write."""

import errno
from typing import IO

from ancor.errors import InputError

try:
    import fcntl
except ImportError:  # Windows: two processes that write one thing are not told apart
    fcntl = None


def lock(file: IO, what: str) -> None:
    """Lock a file against other processes, where the system can, as long as it is open.

    The kernel releases the lock when the process ends, however it ends, and does not hand it on to
    child processes. It does so too when the process closes the file by any handle: so the file
    should be one that nothing else opens.

    Args:
        file: what is locked.
        what: the setting that names what is written, and its value, for messages.

    Raises:
        InputError: another process holds it, or the file system knows no locks.
    """
    if fcntl is None:
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise InputError(
                f"another process is writing {what}; wait for it, stop it, or name another"
            ) from error
        raise InputError(
            f"{what} cannot be locked ({error.strerror}); name one on another file system"
        ) from error
